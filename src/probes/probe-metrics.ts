import { defaultBuckets, type Histogram, type Registry } from '../lib/metrics.ts';
import type { ProbeManager } from './probe-manager.ts';
import type { ProbeType } from './probe-results.ts';

/** Labels of `probeDuration`, in order. */
export type ProbeLabels = readonly [type: string, container: string, pod: string, namespace: string];

/** More than a node has probes: three for each of its containers. */
const maxSeries = 5_000;

/** Upstream times what succeeded and what could not be asked; a failure may be nothing but a timeout. */
export function probeDuration(registry: Registry): Histogram {
  return registry.histogram({
    name: 'prober_probe_duration_seconds',
    help: 'How long a probe took to answer.',
    labels: ['probe_type', 'container', 'pod', 'namespace'],
    buckets: defaultBuckets,
    maxSeries,
  });
}

/** How each probe was answered so far, from the manager's own counts. */
export function probeTotals(registry: Registry, manager: () => Pick<ProbeManager, 'counts'>): void {
  const name = 'prober_probe_total';
  const labels = ['probe_type', 'result', 'container', 'pod', 'namespace', 'pod_uid'];
  registry.collect([{ name, type: 'counter', help: 'Answers of probes, by result.', labels }], (emit) => {
    for (const { pod, container, type, counts } of manager().counts()) {
      const { name: podName, namespace = 'default', uid = '' } = pod.metadata;
      for (const result of ['successful', 'failed', 'unknown'] as const)
        if (counts[result] > 0)
          emit(name, counts[result], probeTitles[type], result, container, podName, namespace, uid);
    }
  });
}

/** As events and metrics name them. */
export const probeTitles: Readonly<Record<ProbeType, string>> = {
  liveness: 'Liveness',
  readiness: 'Readiness',
  startup: 'Startup',
};
