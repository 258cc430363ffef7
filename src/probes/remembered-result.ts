import type { PodStatus } from '../api/core-v1.ts';
import type { Notes } from '../pod/pod-notes.ts';
import type { WantedProbe } from './compute-probes.ts';
import type { ProbeResult } from './probe-results.ts';

/**
 * The verdict with which a container's probe begins that was there before this keelson: noted by its
 * predecessor, or, where the predecessor was a kubelet or its notes are lost, reported to the API server of
 * the very same container. Liveness is not remembered: a container is alive until it fails anew. `now` is
 * in milliseconds since the epoch.
 */
export function rememberedResult(
  notes: Notes,
  status: PodStatus | undefined,
  { containerId: id, container, type }: WantedProbe,
  now: number,
): ProbeResult | undefined {
  if (type === 'liveness') return undefined;
  const noted = notes.probes?.[id]?.[type];
  if (noted) return type === 'startup' && noted === 'failure' ? undefined : { verdict: noted, message: '', since: now };
  const reported = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])].find(
    (s) => s.name === container.name && s.containerID?.endsWith(`//${id}`),
  );
  const good = type === 'startup' ? reported?.started : reported?.ready;
  return good ? { verdict: 'success', message: '', since: now } : undefined;
}
