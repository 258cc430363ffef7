import type { Pod, PodStatus } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import type { LocalPod } from '../proxy/local-slices.ts';
import type { LocalAddress } from '../proxy/withdraw.ts';
import type { WorkerView } from '../workers/pod-workers.ts';
import { isEnding, isStopped } from '../workers/worker-state.ts';
import type { PodsHalf } from './pods-half.ts';

interface Pods {
  readonly cache: Pick<PodsHalf['cache'], 'get'>;
  readonly statuses: Pick<PodsHalf['statuses'], 'get'>;
  readonly workers: Pick<PodsHalf['workers'], 'uids' | 'view'>;
}

/**
 * Pods that have addresses of their own, as the proxy sees them. Those count that a worker has: nothing is known of a
 * pod before, and one that nobody wants any more runs until its worker has stopped it.
 */
export function* localAddresses(pods: Pods): Generator<LocalAddress> {
  for (const uid of pods.workers.uids()) {
    const view = pods.workers.view(uid);
    const ips = view ? ownAddresses(pods, uid, view) : [];
    if (!view || ips.length === 0) continue;
    const status = pods.statuses.get(uid);
    yield { ips, ready: status ? isReady(status) : !isStopped(view.state), terminating: isEnding(view.state) };
  }
}

/** The addresses of one pod, none on the host's network: it shares those of the node with others. */
export function addressesOf(pods: Pods, uid: PodUid): readonly string[] {
  const view = pods.workers.view(uid);
  return view ? ownAddresses(pods, uid, view) : [];
}

/** The addresses of one pod, also on the host's network. */
export const allAddressesOf = ({ statuses }: Pods, uid: PodUid): readonly string[] =>
  statuses.get(uid)?.podIPs?.map((p) => p.ip) ?? [];

/** Of a pod that only the runtime knows, there is no status. */
function ownAddresses({ cache, statuses }: Pods, uid: PodUid, { desired }: WorkerView): readonly string[] {
  if (desired?.pod.spec.hostNetwork === true) return [];
  if (desired) return statuses.get(uid)?.podIPs?.map((p) => p.ip) ?? [];
  const sandbox = cache.get(uid)?.sandboxes[0];
  return sandbox && !sandbox.hostNetwork ? sandbox.ips : [];
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
