import type { Pod, PodStatus } from '../api/core-v1.ts';
import type { LocalPod } from '../proxy/local-slices.ts';
import type { LocalAddress } from '../proxy/withdraw.ts';
import type { PodsHalf } from './pods-half.ts';

/** Pods that have addresses of their own and a status made here: before that nothing is known of them. */
export function* localAddresses({ manager, statuses, workers }: PodsHalf): Generator<LocalAddress> {
  for (const { uid, pod } of manager.all()) {
    const status = statuses.get(uid);
    const phase = workers.view(uid)?.state.phase;
    if (!status || phase === undefined || pod.spec.hostNetwork === true) continue;
    yield {
      ips: status.podIPs?.map((p) => p.ip) ?? [],
      ready: isReady(status),
      terminating: phase !== 'syncing' || pod.metadata.deletionTimestamp !== undefined,
    };
  }
}

const isReady = (status: PodStatus): boolean =>
  status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;

/** What endpoints are made from where nobody else makes them. */
export function localPods({ manager, statuses, workers }: PodsHalf): LocalPod[] {
  return [...manager.all()].map(({ uid, pod }) => {
    const status = statuses.get(uid);
    return {
      namespace: pod.metadata.namespace ?? 'default',
      name: pod.metadata.name,
      labels: pod.metadata.labels ?? {},
      podIps: status?.podIPs?.map((p) => p.ip) ?? [],
      ready: status !== undefined && isReady(status),
      terminating: workers.view(uid)?.state.phase !== 'syncing',
      ports: containerPorts(pod),
    };
  });
}

const containerPorts = (pod: Pod): LocalPod['ports'] =>
  pod.spec.containers
    .flatMap((c) => c.ports ?? [])
    .map(({ name, containerPort, protocol }) => ({
      port: containerPort,
      ...(name ? { name } : {}),
      ...(protocol ? { protocol } : {}),
    }));
