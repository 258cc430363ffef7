import type { Pod, Volume } from '../api/core-v1.ts';
import type { MeasuredVolume } from '../stats/volume-stats.ts';
import type { MountableVolume } from './mountable-volume.ts';

/**
 * Which of a pod's volumes can be measured, and how. What belongs to the host (hostPath), to the runtime (images) or is a
 * bare device is left out, as upstream leaves it out.
 */
export function computeMeasuredVolumes(
  pod: Pod,
  mounted: ReadonlyMap<string, MountableVolume>,
  podDir: string,
): readonly MeasuredVolume[] {
  return (pod.spec.volumes ?? []).flatMap((volume) => {
    const place = mounted.get(volume.name);
    if (!place?.hostPath || place.device !== undefined || volume.hostPath || volume.image) return [];
    const claim = claimOf(pod, volume);
    // A persistent volume that is a folder of the host lies outside the pod's.
    if (claim && !place.hostPath.startsWith(`${podDir}/`)) return [];
    const inMemory = Boolean(volume.emptyDir?.medium);
    const by = claim || volume.nfs || inMemory ? 'whole' : 'files';
    const isLocal = by === 'files' && Boolean(volume.emptyDir ?? volume.configMap);
    return [{ name: volume.name, path: place.hostPath, by, isLocal, claim }];
  });
}

function claimOf({ metadata }: Pod, volume: Volume): MeasuredVolume['claim'] {
  const namespace = metadata.namespace ?? 'default';
  if (volume.persistentVolumeClaim) return { namespace, name: volume.persistentVolumeClaim.claimName };
  return volume.ephemeral ? { namespace, name: `${metadata.name}-${volume.name}` } : undefined;
}
