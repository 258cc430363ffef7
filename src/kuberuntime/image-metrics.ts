import type { Counter, Histogram, Registry } from '../lib/metrics.ts';

/** What the work on images is counted by. */
export interface ImageMetrics {
  readonly ensured: Counter;
  readonly pullDuration: Histogram;
  readonly volumesRequested: Counter;
  readonly volumesMounted: Counter;
  readonly volumeErrors: Counter;
}

export function imageMetrics(registry: Registry): ImageMetrics {
  const volumes = (name: string, help: string) =>
    registry.counter({ name: `kubelet_image_volume_${name}_total`, help });
  return {
    ensured: registry.counter({
      name: 'kubelet_image_manager_ensure_image_requests_total',
      help: 'Images that containers asked for.',
      labels: ['pull_policy', 'present_locally', 'pull_required'],
    }),
    pullDuration: registry.histogram({
      name: 'kubelet_image_pull_duration_seconds',
      help: 'How long pulls took, by the size of the image.',
      labels: ['image_size_in_bytes'],
      buckets: [1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600],
    }),
    volumesRequested: volumes('requested', 'Images that containers asked to have mounted.'),
    volumesMounted: volumes('mounted_succeed', 'Images that were mounted.'),
    volumeErrors: volumes('mounted_errors', 'Images that could not be mounted.'),
  };
}

const mega = 1024 * 1024;
const giga = 1024 * mega;
/** Up to so many bytes an image is of this size, as upstream divides them. */
const sizes: readonly (readonly [number, string])[] = [
  [10 * mega, '0-10MB'],
  [100 * mega, '10MB-100MB'],
  [500 * mega, '100MB-500MB'],
  [giga, '500MB-1GB'],
  [5 * giga, '1GB-5GB'],
  [10 * giga, '5GB-10GB'],
  [20 * giga, '10GB-20GB'],
  [30 * giga, '20GB-30GB'],
  [40 * giga, '30GB-40GB'],
  [60 * giga, '40GB-60GB'],
  [100 * giga, '60GB-100GB'],
];

export function imageSizeLabel(bytes: number): string {
  if (bytes <= 0) return 'N/A';
  return sizes.find(([limit]) => bytes < limit)?.[1] ?? 'GT100GB';
}
