import type { Volume } from '../api/core-v1.ts';
import type { Histogram, Registry } from '../lib/metrics.ts';

/** What the work on volumes is counted by. */
export interface VolumeMetrics {
  /** One attempt. */
  readonly operations: Histogram;
  /** One that succeeded. */
  readonly total: Histogram;
}

const attemptBuckets = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];

export function volumeMetrics(registry: Registry): VolumeMetrics {
  return {
    operations: registry.histogram({
      name: 'storage_operation_duration_seconds',
      help: 'How long it took to set up or take down a volume.',
      labels: ['volume_plugin', 'operation_name', 'status', 'migrated'],
      buckets: attemptBuckets,
    }),
    total: registry.histogram({
      name: 'volume_operation_total_seconds',
      help: 'How long it took to set up or take down a volume, where it succeeded.',
      labels: ['plugin_name', 'operation_name'],
      buckets: attemptBuckets,
    }),
  };
}

/** Volumes of pods as they are wanted and as they are there, by plugin. */
export function volumeTotals(
  registry: Registry,
  volumes: () => Iterable<{ readonly plugin: string; readonly isThere: boolean }>,
): void {
  const name = 'volume_manager_total_volumes';
  const labels = ['plugin_name', 'state'];
  registry.collect([{ name, type: 'gauge', help: 'Volumes of the pods on this node.', labels }], (emit) => {
    const desired = new Map<string, number>();
    const actual = new Map<string, number>();
    for (const { plugin, isThere } of volumes()) {
      desired.set(plugin, (desired.get(plugin) ?? 0) + 1);
      if (isThere) actual.set(plugin, (actual.get(plugin) ?? 0) + 1);
    }
    for (const [plugin, count] of actual) emit(name, count, plugin, 'actual_state_of_world');
    for (const [plugin, count] of desired) emit(name, count, plugin, 'desired_state_of_world');
  });
}

const plugins: Readonly<Record<string, string>> = {
  configMap: 'kubernetes.io/configmap',
  downwardAPI: 'kubernetes.io/downward-api',
  emptyDir: 'kubernetes.io/empty-dir',
  ephemeral: 'kubernetes.io/ephemeral',
  hostPath: 'kubernetes.io/host-path',
  image: 'kubernetes.io/image',
  nfs: 'kubernetes.io/nfs',
  persistentVolumeClaim: 'kubernetes.io/persistent-volume-claim',
  projected: 'kubernetes.io/projected',
  secret: 'kubernetes.io/secret',
};

/** Upstream's name for what serves the volume; a claim's is the claim's, whatever volume it is bound to. */
export function pluginOf(volume: Volume | undefined): string {
  const source = Object.keys(volume ?? {}).find((key) => key !== 'name');
  return plugins[source ?? ''] ?? 'unknown';
}
