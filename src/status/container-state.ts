import type { ContainerState, ContainerStatus } from '../api/core-v1.ts';
import { terminatedReason } from '../api/reasons.ts';
import { rfc3339 } from '../lib/timestamps.ts';
import type { ObservedContainer } from '../pod/observed.ts';

/** How container ids are spelled in a status: `containerd://<id>`, with the name of the runtime in front. */
export const containerIdOf = (runtimeName: string, id: string): string => `${runtimeName}://${id}`;

/** The state that the runtime shows. A container whose shim does not answer is lost when it was last seen running. */
export function observedState(
  container: ObservedContainer,
  previous: ContainerStatus | undefined,
  runtimeName: string,
): ContainerState {
  const containerID = containerIdOf(runtimeName, container.id);
  switch (container.state) {
    case 'running':
      return { running: { startedAt: rfc3339(container.startedAt) } };
    case 'created':
      return { waiting: {} };
    case 'unknown': {
      const known = previous?.containerID === containerID ? previous.state : undefined;
      if (known?.running) return lostState(previous?.containerID);
      return known?.terminated ? known : { waiting: {} };
    }
    case 'exited': {
      const message = [container.message, container.terminationMessage].filter(Boolean).join(': ');
      return {
        terminated: {
          exitCode: container.exitCode,
          reason: container.reason || (container.exitCode === 0 ? terminatedReason.completed : terminatedReason.error),
          ...(message ? { message } : {}),
          startedAt: rfc3339(container.startedAt),
          finishedAt: rfc3339(container.finishedAt),
          containerID,
        },
      };
    }
    default:
      return container.state satisfies never;
  }
}

/** How upstream reports a container of which nobody can say how it ended. */
export const lostState = (containerID?: string): ContainerState => ({
  terminated: {
    exitCode: 137,
    reason: terminatedReason.unknown,
    message: 'The container could not be located when the pod was terminated',
    ...(containerID ? { containerID } : {}),
  },
});
