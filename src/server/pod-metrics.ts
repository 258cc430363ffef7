import type { Emit, Registry } from '../lib/metrics.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import type { DesiredPod, PodManager } from '../pod/pod-manager.ts';
import type { PodNotes } from '../pod/pod-notes.ts';
import type { PodWorkers } from '../workers/pod-workers.ts';
import type { WorkerState } from '../workers/worker-state.ts';

export interface CountedPods {
  readonly manager: Pick<PodManager, 'all' | 'get'>;
  readonly cache: Pick<PodCache, 'uids' | 'get'>;
  readonly workers: Pick<PodWorkers, 'uids' | 'view'>;
  readonly notes: Pick<PodNotes, 'get'>;
}

const gauge = (name: string, help: string, ...labels: readonly string[]) => ({
  name: `kubelet_${name}`,
  help,
  labels,
  type: 'gauge' as const,
});

/** How many pods and containers there are, of every kind: read from who knows, when somebody asks. */
export function podMetrics(registry: Registry, pods: CountedPods): void {
  registry.collect(
    [
      gauge('desired_pods', 'Pods that should be here.', 'static'),
      gauge('active_pods', 'Pods that have a place here.', 'static'),
      gauge('mirror_pods', 'Static pods that have or will have a mirror at the API server.'),
      gauge('managed_ephemeral_containers', 'Ephemeral containers of the pods that should be here.'),
      gauge('pod_in_progress_resizes', 'Pods whose resources are being changed.'),
    ],
    (emit) => countDesired(pods, emit),
  );
  registry.collect(
    [gauge('working_pods', 'Pods that somebody works on, by how far they are.', 'lifecycle', 'config', 'static')],
    (emit) => countWorkers(pods, emit),
  );
  registry.collect(
    [
      gauge('running_pods', 'Pods with a sandbox that is ready.'),
      gauge('running_containers', 'Containers in the runtime, by state.', 'container_state'),
    ],
    (emit) => countObserved(pods, emit),
  );
}

/** Upstream's label: empty for what came from the API server. */
const staticLabel = ({ source }: DesiredPod): '' | 'true' => (source === 'file' ? 'true' : '');

function countDesired({ manager, workers, notes }: CountedPods, emit: Emit): void {
  const desired = { '': 0, true: 0 };
  const active = { '': 0, true: 0 };
  let ephemeral = 0;
  let resizes = 0;
  for (const pod of manager.all()) {
    const label = staticLabel(pod);
    const phase = workers.view(pod.uid)?.state.phase;
    desired[label]++;
    if (phase === 'syncing' || phase === 'terminating') active[label]++;
    ephemeral += pod.pod.spec.ephemeralContainers?.length ?? 0;
    if (notes.get(pod.uid).resizing) resizes++;
  }
  for (const label of ['', 'true'] as const) {
    emit('kubelet_desired_pods', desired[label], label);
    emit('kubelet_active_pods', active[label], label);
  }
  emit('kubelet_mirror_pods', desired.true);
  emit('kubelet_managed_ephemeral_containers', ephemeral);
  emit('kubelet_pod_in_progress_resizes', resizes);
}

const lifecycles: Readonly<Record<WorkerState['phase'], string>> = {
  syncing: 'sync',
  terminating: 'terminating',
  terminated: 'terminated',
  finished: 'terminated',
};

/** Which pods there may be: wanted, no longer wanted, or known from the runtime alone. */
const kinds: readonly (readonly [config: string, staticLabel: string])[] = [
  ['desired', ''],
  ['desired', 'true'],
  ['orphan', ''],
  ['orphan', 'true'],
  ['runtime_only', 'unknown'],
];

function countWorkers({ manager, workers }: CountedPods, emit: Emit): void {
  const counts = new Map<string, number>();
  for (const uid of workers.uids()) {
    const view = workers.view(uid);
    if (!view) continue;
    const wanted = manager.get(uid);
    const known = wanted ?? view.desired;
    const kind = known ? `${wanted ? 'desired' : 'orphan'} ${staticLabel(known)}` : 'runtime_only unknown';
    const key = `${lifecycles[view.state.phase]} ${kind}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  for (const lifecycle of ['sync', 'terminating', 'terminated'])
    for (const [config, label] of kinds)
      emit('kubelet_working_pods', counts.get(`${lifecycle} ${config} ${label}`) ?? 0, lifecycle, config, label);
}

function countObserved({ cache }: CountedPods, emit: Emit): void {
  let running = 0;
  const states = new Map<string, number>();
  for (const uid of cache.uids()) {
    const observed = cache.get(uid);
    if (observed?.sandboxes.some((s) => s.state === 'ready')) running++;
    for (const { state } of observed?.containers ?? []) states.set(state, (states.get(state) ?? 0) + 1);
  }
  emit('kubelet_running_pods', running);
  for (const [state, count] of states) emit('kubelet_running_containers', count, state);
}
