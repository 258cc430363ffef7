import type { AdminPod, AdminPodList } from '../admin/admin-api.ts';
import { AdminServer } from '../admin/admin-server.ts';
import { type DescribeInput, describePod } from '../admin/describe-pod.ts';
import type { PodUid } from '../api/ids.ts';
import type { Config } from '../config/config.ts';
import { systemClock as clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { rfc3339 } from '../lib/timestamps.ts';
import type { FindPod } from '../proxy/trace-question.ts';
import type { PodsHalf } from './pods-half.ts';
import { serviceAnswers } from './service-answers.ts';
import type { ServicesHalf } from './services-half.ts';

/** What answers people on this machine. */
export function buildAdmin(config: Config, pods: PodsHalf, services: ServicesHalf, log: Log): AdminServer {
  const { socket } = config.keelson.admin;
  const findPod: FindPod = (namespace, name) => podAddresses(pods, namespace, name);
  const { proxier, slicesOf } = services;
  const asked = { proxier, slicesOf, services: () => services.services(), findPod };
  return new AdminServer({ socket, answers: { '/v1/pods': () => listPods(pods), ...serviceAnswers(asked) }, log });
}

function podAddresses({ manager, statuses }: PodsHalf, namespace: string, name: string): ReturnType<FindPod> {
  for (const { uid, pod } of manager.all()) {
    if (pod.metadata.name !== name || (pod.metadata.namespace ?? 'default') !== namespace) continue;
    if (pod.spec.hostNetwork === true) return 'hostNetwork';
    return statuses.get(uid)?.podIPs?.map(({ ip }) => ip) ?? [];
  }
  return undefined;
}

/** Every pod that is wanted or not gone yet, by namespace and name. */
function listPods({ manager, cache, workers, statuses, probes }: PodsHalf): AdminPodList {
  const uids = new Set<PodUid>([...[...manager.all()].map((d) => d.uid), ...workers.uids()]);
  const items = [...uids].flatMap((uid) => {
    const view = workers.view(uid);
    const desired = manager.get(uid) ?? view?.desired;
    if (!desired) return [];
    const { pod, source } = desired;
    const status = statuses.get(uid) ?? pod.status ?? {};
    const stopping = view !== undefined && view.state.phase !== 'syncing';
    const explanation = statuses.explain(uid);
    const lastAnswer: DescribeInput['lastAnswer'] = (container, type) => probes.last(container, type);
    const views = { observed: cache.get(uid), probes: probes.view, lastAnswer };
    return [describePod({ pod, source, status, ...views, explanation, stopping })];
  });
  const key = (pod: AdminPod) => `${pod.namespace}/${pod.name}/${pod.uid}`;
  return { now: rfc3339(clock.now()), items: items.sort((a, b) => (key(a) < key(b) ? -1 : 1)) };
}
