import type { Container, EphemeralContainer } from '../api/core-v1.ts';
import { waitingReason } from '../api/reasons.ts';
import { goDuration } from '../lib/go-duration.ts';
import type { ObservedContainer } from '../pod/observed.ts';
import type { ActionInput, KillAction, KillReason, StartAction, WaitingAction } from './pod-actions.ts';
import {
  type NextRestart,
  newDefinition,
  nextReplacement,
  nextRestart,
  type RestartBackoff,
} from './restart-backoff.ts';

/** What is to become of one container. */
export type Verdict =
  /** It runs, and may. */
  | { readonly type: 'running' }
  /** It has ended and is not started again. */
  | { readonly type: 'done'; readonly failed: boolean }
  /** It is killed and not started again. */
  | { readonly type: 'kill'; readonly kill: KillAction }
  /** It is started, after what stands in its place was killed. */
  | {
      readonly type: 'start';
      readonly start: StartAction;
      readonly kill?: KillAction;
      readonly memory?: RestartBackoff;
    }
  /** It will be started later. */
  | {
      readonly type: 'wait';
      readonly wait: WaitingAction;
      readonly kill?: KillAction;
      readonly memory?: RestartBackoff;
    };

type Kind = StartAction['kind'];

export const startNow = (kind: Kind, container: Container | EphemeralContainer, attempt: number): Verdict => ({
  type: 'start',
  start: { kind, container, attempt },
});

/** Starts a container whose definition or resources are others than those of its last run: at once, whatever became of that. */
export const startChanged = (kind: Kind, container: Container, last: ObservedContainer): Verdict => ({
  type: 'start',
  start: { kind, container, attempt: last.attempt + 1 },
  memory: newDefinition(last.state === 'exited' ? last : undefined),
});

/** Starts a container that has ended, now or when its back-off is over. */
export function startAgain(input: ActionInput, kind: Kind, container: Container, last: ObservedContainer): Verdict {
  const start: StartAction = { kind, container, attempt: last.attempt + 1 };
  const next = nextRestart(input.backoffs.get(container.name), last, input.maxBackoffMs);
  const wait = waitFor(input, container.name, next);
  return wait ? { type: 'wait', wait, memory: next.backoff } : { type: 'start', start, memory: next.backoff };
}

/**
 * Kills a container and starts it anew in the same pass. The run that ends only now does not count yet:
 * whether there is a delay follows from the end before it, as upstream does it. Where there is one, the look
 * after this one finds the run ended, and counts it then.
 */
export function replace(input: ActionInput, kind: Kind, container: Container, kill: KillAction): Verdict {
  const { name } = container;
  const runs = input.observed?.containers.filter((c) => c.name === name) ?? [];
  const attempt = (runs[0]?.attempt ?? -1) + 1;
  const start: StartAction = { kind, container, attempt };
  const changes = kill.reason === 'Changed' || kill.reason === 'Resize';
  if (changes && runs[0]) return { ...startChanged(kind, container, runs[0]), kill } as Verdict;
  const before = runs.find((c) => c.state === 'exited');
  if (!before) return { type: 'start', start, kill };
  const next = nextReplacement(input.backoffs.get(name), before, input.maxBackoffMs);
  const wait = waitFor(input, name, next);
  return wait ? { type: 'wait', wait, kill } : { type: 'start', start, kill, memory: next.backoff };
}

/** How the container waits for its next start; undefined when its time has come. */
function waitFor(input: ActionInput, name: string, next: NextRestart): WaitingAction | undefined {
  // A wait that is longer than its own delay ends in a future that somebody set the clock back from.
  const clockWentBack = next.notBefore - input.now > next.delayMs;
  if (next.notBefore <= input.now || clockWentBack) return undefined;
  const { name: pod, namespace, uid } = input.pod.metadata;
  const message = `back-off ${goDuration(next.delayMs)} restarting failed container=${name} pod=${pod}_${namespace}(${uid})`;
  return { name, reason: waitingReason.crashLoopBackOff, message, notBefore: next.notBefore };
}

/** A kill, with the grace period that its reason gives (upstream's order: deletion, probe, pod). */
export function killAction(
  input: Pick<ActionInput, 'pod'>,
  last: Pick<ObservedContainer, 'id' | 'name'>,
  reason: KillReason,
  message: string,
  container?: Container,
): KillAction {
  const { metadata, spec } = input.pod;
  const ofProbe =
    reason === 'LivenessProbe'
      ? container?.livenessProbe?.terminationGracePeriodSeconds
      : reason === 'StartupProbe'
        ? container?.startupProbe?.terminationGracePeriodSeconds
        : undefined;
  const gracePeriodSeconds =
    metadata.deletionGracePeriodSeconds ?? ofProbe ?? spec.terminationGracePeriodSeconds ?? defaultGraceSeconds;
  return { id: last.id, name: last.name, reason, message, gracePeriodSeconds };
}

/** The API's own default. */
const defaultGraceSeconds = 30;
