import type { PodUid } from '../api/ids.ts';
import type { MountPoint } from '../host/mounts.ts';
import type { RemoteFiles } from '../host/remote-files.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { measureFolder } from './disk-usage.ts';
import { type FilesystemStats, readFilesystemStats } from './filesystems.ts';

/** A volume of a pod that is set up on this node. */
export interface MeasuredVolume {
  readonly name: string;
  readonly path: string;
  /** 'whole': it is a file system of its own, which knows itself; 'files': its files must be counted. */
  readonly by: 'whole' | 'files';
  /** Whether it counts as the pod's share of the node's disk: upstream counts emptyDirs on disk and ConfigMaps. */
  readonly isLocal: boolean;
  readonly claim: { readonly namespace: string; readonly name: string } | undefined;
}

export interface VolumeStats extends FilesystemStats {
  readonly volume: MeasuredVolume;
  readonly inodesUsed: number;
}

export interface VolumeMeterOptions {
  /** Running pods. */
  readonly pods: () => readonly PodUid[];
  readonly volumes: (uid: PodUid) => readonly MeasuredVolume[];
  /** kubelet's volumeStatsAggPeriod; negative: volumes are not measured. */
  readonly periodMs: number;
  readonly files: RemoteFiles;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Measures the pods' volumes once a period, one after another, and remembers: no reader waits for a disk. Nothing tells of
 * files that grow, so this one has to look. A file system that does not answer (a server of the network that is away) is
 * passed over, and not asked again until it has.
 */
export class VolumeMeter {
  readonly #o: VolumeMeterOptions;
  #known = new Map<PodUid, readonly VolumeStats[]>();
  /** Volumes that were told of as silent. */
  #silent: Set<string> = new Set();

  constructor(options: VolumeMeterOptions) {
    this.#o = options;
  }

  /** As of the last look; a pod's are there when all have been measured once. */
  of(uid: PodUid): readonly VolumeStats[] {
    return this.#known.get(uid) ?? [];
  }

  async run(signal: AbortSignal): Promise<void> {
    if (this.#o.periodMs < 0) return;
    while (!signal.aborted) {
      await this.measureAll(signal);
      await this.#o.clock.sleep(this.#o.periodMs, signal);
    }
  }

  async measureAll(signal: AbortSignal): Promise<void> {
    const pods = this.#o.pods();
    // Where it cannot be read, each volume says so for itself.
    const table = pods.length > 0 ? await this.#o.files.table().catch(() => undefined) : undefined;
    const looked = new Set<string>();
    const wanted = new Set(pods);
    for (const uid of this.#known.keys()) if (!wanted.has(uid)) this.#known.delete(uid);
    for (const uid of pods) {
      const measured: VolumeStats[] = [];
      for (const volume of this.#o.volumes(uid)) {
        looked.add(volume.path);
        const stats = await this.#measure(volume, table, signal);
        if (stats) measured.push(stats);
      }
      this.#known.set(uid, measured);
    }
    this.#silent = this.#silent.intersection(looked);
  }

  async #measure(
    volume: MeasuredVolume,
    table: readonly MountPoint[] | undefined,
    signal: AbortSignal,
  ): Promise<VolumeStats | undefined> {
    const { files, clock, log } = this.#o;
    const { path } = volume;
    try {
      const whole = await files.use(path, signal, () => readFilesystemStats(path, clock.now()), table);
      this.#silent.delete(path);
      if (volume.by === 'whole') return { ...whole, volume, inodesUsed: whole.inodes - whole.inodesFree };
      const usage = await measureFolder(path, signal);
      return { ...whole, volume, used: usage.bytes, inodesUsed: usage.inodes };
    } catch (error) {
      if (isAbort(error)) throw error;
      const isNews = error instanceof AgentError && error.code === 'FileSystemSilent' && !this.#silent.has(path);
      if (isNews) this.#silent.add(path);
      // Most others were taken down since they were listed: the next look tells.
      log[isNews ? 'warn' : 'debug']({ volume: volume.name, path, ...errorFields(error) }, 'cannot measure a volume');
      return undefined;
    }
  }
}
