import type { Pod, PodStatus } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import type { LocalPod } from '../proxy/local-slices.ts';
import type { LocalPodEndpoints } from '../proxy/withdraw.ts';
import type { WorkerView } from '../workers/pod-workers.ts';
import { isEnding, isStopped } from '../workers/worker-state.ts';
import type { PodsHalf } from './pods-half.ts';

interface Pods {
  readonly manager: Pick<PodsHalf['manager'], 'mirrorOf'>;
  readonly cache: Pick<PodsHalf['cache'], 'get'>;
  readonly statuses: Pick<PodsHalf['statuses'], 'get'>;
  readonly workers: Pick<PodsHalf['workers'], 'uids' | 'view'>;
}

/**
 * Pods as the proxy sees them. Those count that a worker has: nothing is known of a pod before, and one that nobody
 * wants any more runs until its worker has stopped it.
 */
export function* localPodEndpoints(pods: Pods): Generator<LocalPodEndpoints> {
  for (const uid of pods.workers.uids()) {
    const view = pods.workers.view(uid);
    const keys = view ? keysOf(pods, uid, view) : [];
    if (!view || keys.length === 0) continue;
    const status = pods.statuses.get(uid);
    yield { keys, ready: status ? isReady(status) : !isStopped(view.state), terminating: isEnding(view.state) };
  }
}

/** Slices know a static pod by its mirror. */
function keysOf(pods: Pods, uid: PodUid, view: WorkerView): readonly string[] {
  const pod = view.desired?.pod;
  const onHost = pod ? pod.spec.hostNetwork === true : pods.cache.get(uid)?.sandboxes[0]?.hostNetwork === true;
  if (!onHost) return addressesOf(pods, uid);
  return [(pod && pods.manager.mirrorOf(pod)?.uid) ?? uid];
}

/**
 * The addresses of one pod, also on the host's network. Of a pod that only the runtime knows there is no status, and on
 * the host's network the runtime knows no address.
 */
export function addressesOf({ cache, statuses, workers }: Pods, uid: PodUid): readonly string[] {
  const view = workers.view(uid);
  if (!view) return [];
  if (view.desired) return statuses.get(uid)?.podIPs?.map((p) => p.ip) ?? [];
  return cache.get(uid)?.sandboxes[0]?.ips ?? [];
}

const isReady = (status: PodStatus): boolean =>
  status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;

/** What endpoints are made from where nobody else makes them. */
export function* localPods({ statuses, workers }: Pods): Generator<LocalPod> {
  for (const uid of workers.uids()) {
    const view = workers.view(uid);
    const pod = view?.desired?.pod;
    if (!view || !pod) continue;
    const status = statuses.get(uid);
    yield {
      namespace: pod.metadata.namespace ?? 'default',
      name: pod.metadata.name,
      labels: pod.metadata.labels ?? {},
      podIps: status?.podIPs?.map((p) => p.ip) ?? [],
      ready: status !== undefined && isReady(status),
      terminating: isEnding(view.state),
      ports: containerPorts(pod),
    };
  }
}

const containerPorts = (pod: Pod): LocalPod['ports'] =>
  pod.spec.containers
    .flatMap((c) => c.ports ?? [])
    .map(({ name, containerPort, protocol }) => ({
      port: containerPort,
      ...(name ? { name } : {}),
      ...(protocol ? { protocol } : {}),
    }));
