import type { Container, ContainerState, ContainerStatus, Pod } from '../api/core-v1.ts';
import { isSidecar } from '../api/pod.ts';
import { waitingReason } from '../api/reasons.ts';
import { newestContainer, type ObservedContainer, type ObservedPod } from '../pod/observed.ts';
import type { ProbeType, ProbeView } from '../probes/probe-results.ts';
import type { ContainerProblem } from '../workers/problems.ts';
import { containerResourceStatus } from './container-resources.ts';
import { containerIdOf, lostState, observedState } from './container-state.ts';

export interface ContainerStatusInput {
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  readonly problems: ReadonlyMap<string, ContainerProblem>;
  readonly probes: ProbeView;
  /** Container whose postStart hook has not ended yet. */
  readonly inPostStart: string | undefined;
  /** What was reported before, so that an outcome does not vanish with the container the runtime removed. */
  readonly previous: readonly ContainerStatus[];
  /** Whether the pod will never start anything again. */
  readonly ending: boolean;
  /** e.g. 'containerd': container ids carry it. */
  readonly runtimeName: string;
}

/** The statuses of `containers`, in the order of the spec. */
export function generateContainerStatuses(
  containers: readonly Container[],
  kind: 'init' | 'regular' | 'ephemeral',
  input: ContainerStatusInput,
): ContainerStatus[] {
  const initializing = (input.pod.spec.initContainers?.length ?? 0) > 0;
  return containers.map((container) => {
    const status = generateStatus(container, initializing, input);
    if (kind === 'ephemeral') return status;
    const started = isStarted(container, status, input);
    const staysUp = kind === 'regular' || isSidecar(container);
    const done = status.state?.terminated?.exitCode === 0;
    return { ...status, ready: staysUp ? started && isReady(container, status, input) : done, started };
  });
}

/** Started: it runs, its postStart hook is over, and its startup probe has succeeded where it has one. */
function isStarted(container: Container, status: ContainerStatus, input: ContainerStatusInput): boolean {
  if (!status.state?.running || input.inPostStart === container.name) return false;
  return !container.startupProbe || verdict(container, 'startup', input, 'started');
}

function isReady(container: Container, status: ContainerStatus, input: ContainerStatusInput): boolean {
  if (!status.state?.running) return false;
  return !container.readinessProbe || verdict(container, 'readiness', input, 'ready');
}

/** Without a result yet, the same container keeps what was reported of it: keelson may just have been restarted. */
function verdict(container: Container, type: ProbeType, input: ContainerStatusInput, field: 'ready' | 'started') {
  const latest = newestContainer(input.observed, container.name);
  if (!latest) return false;
  const result = input.probes(latest.id, type);
  if (result) return result.verdict === 'success';
  const before = input.previous.find((s) => s.name === container.name);
  return before?.containerID === containerIdOf(input.runtimeName, latest.id) && before[field] === true;
}

function generateStatus(container: Container, initializing: boolean, input: ContainerStatusInput): ContainerStatus {
  const runs = input.observed?.containers.filter((c) => c.name === container.name && c.state !== 'created') ?? [];
  const previous = input.previous.find((s) => s.name === container.name);
  const [latest, before] = runs;
  if (!latest) return withoutRun(container, initializing, previous, input);

  const state = observedState(latest, previous, input.runtimeName);
  const problem = input.problems.get(container.name);
  const base = {
    name: container.name,
    restartCount: Math.max(latest.attempt, previous?.restartCount ?? 0),
    image: latest.image,
    imageID: latest.imageRef,
    containerID: containerIdOf(input.runtimeName, latest.id),
    ready: false,
    ...mountStatuses(container, latest),
    ...(latest.user ? { user: { linux: latest.user } } : {}),
    ...(latest.stopSignal ? { stopSignal: latest.stopSignal } : {}),
    ...containerResourceStatus(container, latest.resources?.linux ?? undefined),
  };
  const lastState = before ? observedState(before, undefined, input.runtimeName) : (previous?.lastState ?? {});
  const waits = state.terminated !== undefined && problem !== undefined && !input.ending;
  return waits ? { ...base, state: waitingFor(problem), lastState: state } : { ...base, state, lastState };
}

/** The runtime has no run of it: there was none yet, or it forgot. */
function withoutRun(
  container: Container,
  initializing: boolean,
  previous: ContainerStatus | undefined,
  input: ContainerStatusInput,
): ContainerStatus {
  const base = {
    name: container.name,
    restartCount: previous?.restartCount ?? 0,
    image: container.image ?? '',
    imageID: '',
    ready: false,
    ...mountStatuses(container, undefined),
  };
  const problem = input.problems.get(container.name);
  const reason = initializing ? waitingReason.podInitializing : waitingReason.containerCreating;
  const state = problem && !input.ending ? waitingFor(problem) : { waiting: { reason } };
  // The runtime forgot it, we have not: what ended stays ended, what ran when we last looked is lost.
  if (previous?.state?.terminated) {
    const { terminated } = previous.state;
    return problem && !input.ending
      ? { ...base, state, lastState: { terminated } }
      : { ...previous, ready: false, started: false };
  }
  if (!previous?.state?.running) return { ...base, state, lastState: previous?.lastState ?? {} };
  const lost = lostState(previous.containerID);
  if (input.ending) return { ...previous, ready: false, started: false, state: lost };
  return { ...base, state, lastState: lost, restartCount: base.restartCount + 1 };
}

const waitingFor = ({ reason, message }: ContainerProblem): ContainerState => ({ waiting: { reason, message } });

function mountStatuses(
  container: Container,
  run: ObservedContainer | undefined,
): Pick<ContainerStatus, 'volumeMounts'> {
  if (!container.volumeMounts?.length) return {};
  return {
    volumeMounts: container.volumeMounts.map(({ name, mountPath, readOnly }) => {
      if (!readOnly) return { name, mountPath };
      const recursive = run?.recursiveReadOnly?.includes(mountPath) === true;
      return { name, mountPath, readOnly, recursiveReadOnly: recursive ? 'Enabled' : 'Disabled' };
    }),
  };
}
