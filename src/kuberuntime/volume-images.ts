import type { Container, Pod, Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { eventReason } from '../api/reasons.ts';
import type { ContainerVolume } from './generate-mounts.ts';
import type { ImagePuller } from './image-puller.ts';
import { ContainerError } from './sync-error.ts';

type Tell = (type: 'Normal' | 'Warning', reason: string, message: string) => void;

export interface VolumeImagesRequest {
  readonly pod: Pod;
  readonly container: Container;
  readonly volumes: ReadonlyMap<string, ContainerVolume>;
  readonly sandboxConfig: cri.PodSandboxConfig;
  readonly secrets: () => Promise<readonly Secret[]>;
  /** Pulls are told of as the pod's: its containers share the volumes. */
  readonly podEvent: Tell;
  readonly containerEvent: Tell;
}

/**
 * Sees to it that the images which the container mounts are there, and resolves with the volumes, those images in the
 * words of the runtime. Fails with the ContainerError of the pull: the container waits as if it were its own image.
 */
export async function pullVolumeImages(
  request: VolumeImagesRequest,
  puller: Pick<ImagePuller, 'ensureVolumeImage'>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ContainerVolume>> {
  const { pod, container, sandboxConfig, secrets, podEvent, containerEvent } = request;
  const volumes = new Map(request.volumes);
  for (const name of new Set(container.volumeMounts?.map((mount) => mount.name))) {
    const volume = volumes.get(name);
    if (!volume?.image) continue;
    const reference = volume.image.image ?? '';
    const common = { pod, sandboxConfig, secrets, event: podEvent };
    const pulling = puller.ensureVolumeImage({ ...common, volume: name, reference, policy: volume.pullPolicy }, signal);
    const image = await pulling.catch((error: unknown) => {
      if (error instanceof ContainerError) containerEvent('Warning', eventReason.failed, `Error: ${error.code}`);
      throw error;
    });
    const spec = { image: image.id ?? '', userSpecifiedImage: reference };
    volumes.set(name, { ...volume, image: { ...spec, annotations: pod.metadata.annotations ?? {} } });
  }
  return volumes;
}
