import type { Container, EphemeralContainer, Pod } from '../api/core-v1.ts';
import type { ContainerId, SandboxId } from '../api/ids.ts';
import type { ObservedPod, ObservedSandbox } from '../pod/observed.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import type { RestartBackoff } from './restart-backoff.ts';

/** What has to happen so that the runtime matches the pod. Plain data: it logs well and needs no pod to read. */
export interface PodActions {
  readonly createSandbox: { readonly attempt: number } | undefined;
  /** The sandbox to start containers in, when there is one already. */
  readonly sandbox: ObservedSandbox | undefined;
  readonly stopSandboxes: readonly SandboxId[];
  readonly kill: readonly KillAction[];
  /** In this order, each after the one before it has started. */
  readonly start: readonly StartAction[];
  /** Containers that will be started, but not yet. */
  readonly waiting: readonly WaitingAction[];
  readonly removeContainers: readonly RemoveAction[];
  readonly removeSandboxes: readonly SandboxId[];
  /** Crash memory by container name, for the next call. */
  readonly backoffs: ReadonlyMap<string, RestartBackoff>;
  /** Nothing of this pod will ever run again. */
  readonly completed: boolean;
}

/** Why a container is killed while its pod goes on. */
export type KillReason =
  | 'Stray'
  | 'Changed'
  | 'Unknown'
  | 'LivenessProbe'
  | 'StartupProbe'
  | 'FailedPostStartHook'
  | 'RestartAllContainers'
  | 'Resize'
  | 'Terminating';

export interface KillAction {
  readonly id: ContainerId;
  readonly name: string;
  readonly reason: KillReason;
  /** The text of the event. */
  readonly message: string;
  /** For the preStop hook and the end together; 0 leaves the hook out. The runtime is never given less than its minimum. */
  readonly gracePeriodSeconds: number;
}

/** A container that nobody asks for any more. Its log goes with it unless it is to be counted by. */
export interface RemoveAction {
  readonly id: ContainerId;
  readonly name: string;
  readonly attempt: number;
  readonly keepLog?: true;
}

export interface StartAction {
  readonly kind: 'init' | 'container' | 'ephemeral';
  readonly container: Container | EphemeralContainer;
  /** 0 where the runtime knows no earlier run: logs that are left may still tell of some. */
  readonly attempt: number;
  /** The container that an ephemeral one asked to look into, if the runtime has it. */
  readonly targetId?: ContainerId;
}

export interface WaitingAction {
  readonly name: string;
  readonly reason: string;
  readonly message: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
}

export interface ActionInput {
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  readonly probes: ProbeView;
  readonly backoffs: ReadonlyMap<string, RestartBackoff>;
  readonly maxBackoffMs: number;
  /** Containers, by id, that get their new resources only with a new life. */
  readonly restartForResize?: ReadonlySet<string>;
  /** Milliseconds since the epoch. */
  readonly now: number;
}
