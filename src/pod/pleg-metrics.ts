import { type Counter, defaultBuckets, type Histogram, type Registry } from '../lib/metrics.ts';

/** What the PLEG says of its own work. */
export interface PlegMetrics {
  readonly relistDuration: Histogram;
  /** From the beginning of one relist to that of the next. */
  readonly relistInterval: Histogram;
  readonly podRelistDuration: Histogram;
}

export function plegMetrics(registry: Registry): PlegMetrics {
  const histogram = (name: string, help: string) =>
    registry.histogram({ name: `kubelet_pleg_${name}_seconds`, help, buckets: defaultBuckets });
  return {
    relistDuration: histogram('relist_duration', 'How long it took to list the runtime.'),
    relistInterval: histogram('relist_interval', 'Time between two listings of the runtime.'),
    podRelistDuration: histogram('pod_relist_duration', 'How long it took to look at one pod in the runtime.'),
  };
}

export function terminatedContainers(registry: Registry): Counter {
  return registry.counter({
    name: 'kubelet_terminated_containers_total',
    help: 'Containers whose end was seen.',
    labels: ['container_type', 'exit_code', 'reason'],
  });
}
