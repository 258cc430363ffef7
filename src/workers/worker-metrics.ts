import type { PodUid } from '../api/ids.ts';
import { containersOf } from '../api/pod.ts';
import type { Clock } from '../lib/clock.ts';
import { type Counter, defaultBuckets, exponentialBuckets, type Histogram, type Registry } from '../lib/metrics.ts';
import type { PodManager, PodSource } from '../pod/pod-manager.ts';
import type { PodSteps } from './pod-workers.ts';

/** What the work on pods is counted by. */
export interface WorkerMetrics {
  readonly stepDuration: Histogram;
  /** From when a pod was first seen to the first look of its worker. */
  readonly startDuration: Histogram;
  readonly containersPerPod: Histogram;
  readonly rejections: Counter;
  readonly restartedPods: Counter;
  readonly orphans: Counter;
}

/** Upstream's label for where a pod comes from: empty for the API server. */
const staticLabel = (source: PodSource): string => (source === 'file' ? 'true' : '');

export function workerMetrics(registry: Registry): WorkerMetrics {
  const restartedPods = registry.counter({
    name: 'kubelet_restarted_pods_total',
    help: 'Pods that were taken away and put back with the same UID.',
    labels: ['static'],
  });
  for (const source of ['api', 'file'] as const) restartedPods.expect(staticLabel(source));
  return {
    restartedPods,
    stepDuration: registry.histogram({
      name: 'kubelet_pod_worker_duration_seconds',
      help: 'How long one look at a pod took, by what it was for.',
      labels: ['operation_type'],
      buckets: defaultBuckets,
    }),
    startDuration: registry.histogram({
      name: 'kubelet_pod_worker_start_duration_seconds',
      help: 'Time from seeing a pod to beginning with it.',
      buckets: defaultBuckets,
    }),
    containersPerPod: registry.histogram({
      name: 'kubelet_containers_per_pod_count',
      help: 'Containers of the pods that came.',
      buckets: exponentialBuckets(1, 2, 5),
    }),
    rejections: registry.counter({
      name: 'kubelet_admission_rejections_total',
      help: 'Pods that may not be here, by reason.',
      labels: ['reason'],
    }),
    orphans: registry.counter({
      name: 'kubelet_orphaned_runtime_pods_total',
      help: 'Pods found in the runtime that nobody wants and nobody knew of.',
    }),
  };
}

/** The same steps, counted and timed. A pod's first sync is a 'create', as upstream names it, any other a 'sync'. */
export function instrumentSteps(
  steps: PodSteps,
  { manager, metrics, clock }: { manager: Pick<PodManager, 'get'>; metrics: WorkerMetrics; clock: Clock },
): PodSteps {
  const begun = new Set<PodUid>();
  const timed = async <T>(operation: string, work: Promise<T>): Promise<T> => {
    const startedAt = clock.monotonic();
    try {
      return await work;
    } finally {
      metrics.stepDuration.observe((clock.monotonic() - startedAt) / 1000, operation);
    }
  };
  return {
    sync: async (desired, memory, signal) => {
      const isFirst = !begun.has(desired.uid);
      if (isFirst) {
        begun.add(desired.uid);
        metrics.startDuration.observe(Math.max(0, clock.now() - desired.seenAt) / 1000);
        metrics.containersPerPod.observe(containersOf(desired.pod).filter((c) => c.type === 'regular').length);
      }
      const outcome = await timed(isFirst ? 'create' : 'sync', steps.sync(desired, memory, signal));
      if (outcome.terminate?.kind === 'rejected') metrics.rejections.inc(outcome.terminate.reason);
      return outcome;
    },
    stop: (uid, desired, grace, signal) => {
      if (!desired && !begun.has(uid)) metrics.orphans.inc();
      begun.add(uid);
      return timed('kill', steps.stop(uid, desired, grace, signal));
    },
    clean: (uid, desired, signal) => timed('sync', steps.clean(uid, desired, signal)),
    purge: async (uid, desired, signal) => {
      await steps.purge(uid, desired, signal);
      begun.delete(uid);
      const again = manager.get(uid);
      if (again) metrics.restartedPods.inc(staticLabel(again.source));
    },
  };
}
