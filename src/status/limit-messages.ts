import type { ContainerState, ContainerStatus, Pod } from '../api/core-v1.ts';

/** Bytes for the last words of all containers of a pod together: a status is stored at every change. */
const maxPodMessageBytes = 12 * 1024;

/** Cuts termination messages so that each container of the pod, of whatever kind, has the same share at most. */
export function limitMessages(statuses: readonly ContainerStatus[], pod: Pod): readonly ContainerStatus[] {
  const { containers, initContainers = [], ephemeralContainers = [] } = pod.spec;
  const count = containers.length + initContainers.length + ephemeralContainers.length;
  const share = Math.floor(maxPodMessageBytes / Math.max(count, 1));
  return statuses.map((status) => {
    const { state, lastState } = status;
    return {
      ...status,
      ...(state ? { state: limited(state, share) } : {}),
      ...(lastState ? { lastState: limited(lastState, share) } : {}),
    };
  });
}

function limited(state: ContainerState, bytes: number): ContainerState {
  const message = state.terminated?.message;
  if (!state.terminated || message === undefined || Buffer.byteLength(message) <= bytes) return state;
  return { ...state, terminated: { ...state.terminated, message: firstBytes(message, bytes) } };
}

/** The beginning of a text, not ending in the middle of a UTF-8 character. */
function firstBytes(text: string, max: number): string {
  const data = Buffer.from(text);
  let end = max;
  while (end > 0 && ((data[end] ?? 0) & 0xc0) === 0x80) end--;
  return data.subarray(0, end).toString('utf8');
}
