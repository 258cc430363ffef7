import type { Container, ContainerState, ContainerStatus, Pod, ResourceRequirements } from '../api/core-v1.ts';
import { terminatedReason, waitingReason } from '../api/reasons.ts';
import { rfc3339 } from '../lib/timestamps.ts';
import type { ObservedContainer, ObservedPod } from '../pod/observed.ts';
import type { ContainerProblem } from '../workers/problems.ts';

export interface ContainerStatusInput {
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  readonly problems: ReadonlyMap<string, ContainerProblem>;
  /** What was reported before, so that an outcome does not vanish with the container the runtime removed. */
  readonly previous: readonly ContainerStatus[];
  /** Whether the pod will never start anything again. */
  readonly ending: boolean;
}

/** The statuses of `containers`, in the order of the spec. */
export function generateContainerStatuses(
  containers: readonly Container[],
  kind: 'init' | 'container',
  input: ContainerStatusInput,
): ContainerStatus[] {
  const initializing = (input.pod.spec.initContainers?.length ?? 0) > 0 && kind === 'container';
  return containers.map((container) => {
    const status = generateStatus(container, initializing, input);
    const running = status.state?.running !== undefined;
    const staysUp = kind === 'container' || container.restartPolicy === 'Always';
    const done = status.state?.terminated?.exitCode === 0;
    return { ...status, ready: staysUp ? running : done, started: running };
  });
}

function generateStatus(container: Container, initializing: boolean, input: ContainerStatusInput): ContainerStatus {
  const runs = input.observed?.containers.filter((c) => c.name === container.name && c.state !== 'created') ?? [];
  const previous = input.previous.find((s) => s.name === container.name);
  const [latest, before] = runs;
  if (!latest) return neverRan(container, initializing, previous, input);

  const state = observedState(latest);
  const problem = input.problems.get(container.name);
  const base = {
    name: container.name,
    restartCount: Math.max(latest.attempt, previous?.restartCount ?? 0),
    image: latest.image,
    imageID: latest.imageRef,
    containerID: `containerd://${latest.id}`,
    ready: false,
    ...mountStatuses(container),
  };
  const lastState = before ? observedState(before) : (previous?.lastState ?? {});
  const isWaiting = state.terminated !== undefined && problem !== undefined && !input.ending;
  if (isWaiting) return { ...base, state: { waiting: { ...problem } }, lastState: state, ...resourceStatus(container) };
  return { ...base, state, lastState, ...resourceStatus(container) };
}

function neverRan(
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
    ...mountStatuses(container),
  };
  // The runtime forgot it, we have not: what ended stays ended, what ran when we last looked is lost.
  if (previous?.state?.terminated) return { ...previous, ready: false };
  if (previous?.state?.running) {
    const lost = lostState(previous);
    return input.ending
      ? { ...previous, ready: false, state: lost }
      : {
          ...base,
          state: waiting(container, initializing, input),
          lastState: lost,
          restartCount: base.restartCount + 1,
        };
  }
  return { ...base, state: waiting(container, initializing, input), lastState: previous?.lastState ?? {} };
}

function waiting(container: Container, initializing: boolean, input: ContainerStatusInput): ContainerState {
  const problem = input.problems.get(container.name);
  const reason = initializing ? waitingReason.podInitializing : waitingReason.containerCreating;
  return { waiting: problem ? { ...problem } : { reason } };
}

/** Upstream reports a container that vanished while it ran with exit code 137 and this reason. */
const lostState = (previous: ContainerStatus): ContainerState => ({
  terminated: {
    exitCode: 137,
    reason: terminatedReason.unknown,
    message: 'The container could not be located when the pod was terminated',
    ...(previous.containerID ? { containerID: previous.containerID } : {}),
  },
});

export function observedState(container: ObservedContainer): ContainerState {
  switch (container.state) {
    case 'running':
      return { running: { startedAt: rfc3339(container.startedAt) } };
    case 'created':
    case 'unknown':
      return { waiting: {} };
    case 'exited': {
      const message = container.terminationMessage || container.message;
      return {
        terminated: {
          exitCode: container.exitCode,
          reason: container.reason || (container.exitCode === 0 ? terminatedReason.completed : terminatedReason.error),
          ...(message ? { message } : {}),
          startedAt: rfc3339(container.startedAt),
          finishedAt: rfc3339(container.finishedAt),
          containerID: `containerd://${container.id}`,
        },
      };
    }
    default:
      return container.state satisfies never;
  }
}

function mountStatuses(container: Container): Pick<ContainerStatus, 'volumeMounts'> {
  if (!container.volumeMounts?.length) return {};
  return {
    volumeMounts: container.volumeMounts.map((mount) => ({
      name: mount.name,
      mountPath: mount.mountPath,
      ...(mount.readOnly ? { readOnly: true, recursiveReadOnly: 'Disabled' } : {}),
    })),
  };
}

function resourceStatus(container: Container): Pick<ContainerStatus, 'resources' | 'allocatedResources'> {
  const requests = container.resources?.requests;
  const resources: ResourceRequirements = {
    ...(container.resources?.limits ? { limits: container.resources.limits } : {}),
    ...(requests ? { requests } : {}),
  };
  return { resources, ...(requests ? { allocatedResources: requests } : {}) };
}
