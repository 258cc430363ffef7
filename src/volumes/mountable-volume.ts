import type { ImageSpec } from '../api/cri.ts';
import type { ImageVolume } from './compute-volumes.ts';

/** Where the runtime finds a volume that is set up. */
export interface MountableVolume {
  /** '' for what is no folder of the host. */
  readonly hostPath: string;
  /** Made by the node, and only by it, or claimed so: containers get it read-only whatever they ask for. */
  readonly readOnly: boolean;
  /** An image whose files the runtime mounts, and which has to be pulled first. */
  readonly image?: ImageSpec;
  readonly pullPolicy?: ImageVolume['pullPolicy'];
  /** Path of a block device, for `volumeDevices`. */
  readonly device?: string;
}
