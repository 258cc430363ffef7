import type { ContainerStatus, PodStatus } from '../api/core-v1.ts';
import { HttpError } from './endpoint.ts';

/**
 * The id (`runtime://id`) of the container whose log is meant: the one that runs or has ended, of one that waits the
 * last that ended, and with `previous` the one before. Fails with an HttpError 400 in upstream's words when there
 * is none yet, or none any more.
 */
export function chooseLogContainer(podName: string, status: PodStatus, name: string, previous: boolean): string {
  const here = `container ${JSON.stringify(name)} in pod ${JSON.stringify(podName)}`;
  const found = statusOf(status, name);
  if (!found) throw new HttpError(400, `${here} is not available`);
  const { running, terminated, waiting } = found.state ?? {};
  const last = found.lastState?.terminated;
  if (previous) {
    if (!last?.containerID) throw new HttpError(400, `previous terminated ${here} not found`);
    return last.containerID;
  }
  if (running) return found.containerID ?? '';
  if (terminated ?? last) {
    // One that was made and never started has no log: the one before it is what people look for.
    const id = terminated?.containerID || last?.containerID;
    if (!id) throw new HttpError(400, `${here} is terminated`);
    return id;
  }
  if (waiting) throw new HttpError(400, `${here} is waiting to start: ${whyWaiting(waiting.reason)}`);
  throw new HttpError(400, `${here} is waiting to start - no logs yet`);
}

const statusOf = (status: PodStatus, name: string): ContainerStatus | undefined =>
  [status.containerStatuses, status.initContainerStatuses, status.ephemeralContainerStatuses]
    .flatMap((list) => list ?? [])
    .find((s) => s.name === name);

function whyWaiting(reason: string | undefined): string {
  if (reason === 'ErrImagePull') return "image can't be pulled";
  if (reason === 'ImagePullBackOff') return 'trying and failing to pull image';
  return reason ?? '';
}
