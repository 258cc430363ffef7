import { longestGraceSeconds } from '../api/pod.ts';

/**
 * The life of one pod on this node, as far as its worker is concerned.
 *
 *   syncing ──deleted, removed, completed, evicted, rejected──► terminating
 *      terminating ──no container runs any more──► terminated
 *         terminated ──volumes and cgroup are gone──► finished
 *
 * Phases only go forward, and the grace period may only shrink. A pod that is wanted again under the
 * same UID goes through them to the end and then begins anew, with a new worker, if it had been removed
 * (a manifest put back); what completed or was deleted stays finished.
 */
export type WorkerState =
  | { readonly phase: 'syncing' }
  | {
      readonly phase: 'terminating';
      /** Milliseconds since the epoch. */
      readonly since: number;
      readonly gracePeriodSeconds: number;
      readonly cause: TerminationCause;
    }
  | { readonly phase: 'terminated'; readonly at: number; readonly cause: TerminationCause }
  | { readonly phase: 'finished'; readonly at: number; readonly cause: TerminationCause };

export type TerminationCause =
  /** The API object carries a deletionTimestamp. */
  | { readonly kind: 'deleted' }
  /** No source has it any more. */
  | { readonly kind: 'removed' }
  /** All its containers ended and none is to be started again. */
  | { readonly kind: 'completed' }
  /** keelson ended it, or never let it in: the pod fails with this reason. */
  | { readonly kind: 'evicted' | 'rejected'; readonly reason: string; readonly message: string };

export type WorkerEvent =
  | { readonly type: 'terminate'; readonly cause: TerminationCause; readonly gracePeriodSeconds: number }
  | { readonly type: 'stopped' }
  | { readonly type: 'cleaned' };

export const initialWorkerState: WorkerState = { phase: 'syncing' };

/** The next state; the same object when the event changes nothing. `now` is in milliseconds since the epoch. */
export function reduceWorker(state: WorkerState, event: WorkerEvent, now: number): WorkerState {
  switch (event.type) {
    case 'terminate':
      return terminate(state, event.cause, Math.min(event.gracePeriodSeconds, longestGraceSeconds), now);
    case 'stopped':
      return state.phase === 'terminating' ? { phase: 'terminated', at: now, cause: state.cause } : state;
    case 'cleaned':
      return state.phase === 'terminated' ? { phase: 'finished', at: now, cause: state.cause } : state;
    default:
      return event satisfies never;
  }
}

function terminate(state: WorkerState, cause: TerminationCause, grace: number, now: number): WorkerState {
  switch (state.phase) {
    case 'syncing':
      return { phase: 'terminating', since: now, gracePeriodSeconds: grace, cause };
    case 'terminating':
      return grace < state.gracePeriodSeconds ? { ...state, gracePeriodSeconds: grace } : state;
    // What ended by itself may be deleted later; the phases do not go back, only the cause is of interest to nobody.
    case 'terminated':
    case 'finished':
      return state;
    default:
      return state satisfies never;
  }
}

/** Whether the pod's outcome is fixed: nothing of it will be started again. */
export const isEnding = (state: WorkerState): boolean => state.phase !== 'syncing';
export const isStopped = (state: WorkerState): boolean => state.phase === 'terminated' || state.phase === 'finished';
