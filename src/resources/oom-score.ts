import type { Container, Pod } from '../api/core-v1.ts';
import { isMirrorPod, isSidecar, isStaticPod, qosClass, resourcesOf } from '../api/pod.ts';
import { quantityValue } from '../api/quantity.ts';

const guaranteed = -997;
const bestEffort = 1000;
/** Priorities from here on are the system's own. */
const systemCriticalPriority = 2_000_000_000;

/**
 * oom_score_adj of a container: the kernel adds it to the per-mille of memory that the container uses. A burstable one
 * gets 1000 less the per-mille that it requests, so that it dies first when it uses more than it asked for; it stays
 * above every guaranteed and below every best-effort one. What the node itself depends on is spared.
 */
export function oomScoreAdj(pod: Pod, container: Container, memoryCapacityBytes: number): number {
  if (isNodeCritical(pod)) return guaranteed;
  const qos = pod.status?.qosClass ?? qosClass(pod);
  if (qos === 'Guaranteed') return guaranteed;
  if (qos === 'BestEffort') return bestEffort;
  const extra = unclaimedPerContainer(pod);
  const scoreOf = (c: Container) => 1000 - Math.floor((1000 * (memoryRequest(c) + extra)) / memoryCapacityBytes);
  // A sidecar must not die before the containers that it serves.
  const serves = isSidecar(container) && pod.spec.initContainers?.includes(container) === true;
  const score = Math.min(...[container, ...(serves ? pod.spec.containers : [])].map(scoreOf));
  return Math.min(Math.max(score, 1000 + guaranteed), bestEffort - 1);
}

function isNodeCritical(pod: Pod): boolean {
  if (pod.spec.priorityClassName !== 'system-node-critical') return false;
  return isStaticPod(pod) || isMirrorPod(pod) || (pod.spec.priority ?? 0) >= systemCriticalPriority;
}

function memoryRequest(container: Container): number {
  const request = resourcesOf(container, 'requests')['memory'];
  return request === undefined ? 0 : quantityValue(request);
}

/** What the pod as a whole requests beyond its containers' requests is shared among them evenly. */
function unclaimedPerContainer(pod: Pod): number {
  const wholePod = pod.spec.resources?.requests?.['memory'];
  if (wholePod === undefined) return 0;
  const sharing = [...pod.spec.containers, ...(pod.spec.initContainers ?? []).filter(isSidecar)];
  const claimed = sharing.reduce((sum, c) => sum + memoryRequest(c), 0);
  return Math.max(0, Math.floor((quantityValue(wholePod) - claimed) / sharing.length));
}
