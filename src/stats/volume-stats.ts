import type { PodUid } from '../api/ids.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
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
  readonly clock: Clock;
  readonly log: Log;
}

/** How long a file system may take to answer before the next volume has its turn. */
const answerMs = 5_000;

/**
 * Measures the pods' volumes once a period, one after another, and remembers: no reader waits for a disk. Nothing tells of
 * files that grow, so this one has to look. A file system that does not answer (a server of the network that is away) is
 * passed over, and not asked again until it has.
 */
export class VolumeMeter {
  readonly #o: VolumeMeterOptions;
  #known = new Map<PodUid, readonly VolumeStats[]>();
  readonly #unanswered = new Set<string>();

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
    const wanted = new Set(pods);
    for (const uid of this.#known.keys()) if (!wanted.has(uid)) this.#known.delete(uid);
    for (const uid of pods) {
      const measured: VolumeStats[] = [];
      for (const volume of this.#o.volumes(uid)) {
        const stats = await this.#measure(volume, signal);
        if (stats) measured.push(stats);
      }
      this.#known.set(uid, measured);
    }
  }

  async #measure(volume: MeasuredVolume, signal: AbortSignal): Promise<VolumeStats | undefined> {
    if (this.#unanswered.has(volume.path)) return undefined;
    try {
      const whole = await this.#answer(volume.path, signal);
      if (!whole) return undefined;
      if (volume.by === 'whole') return { ...whole, volume, inodesUsed: whole.inodes - whole.inodesFree };
      const usage = await measureFolder(volume.path, signal);
      return { ...whole, volume, used: usage.bytes, inodesUsed: usage.inodes };
    } catch (error) {
      if (isAbort(error)) throw error;
      // Taken down since it was listed, most likely: the next look tells.
      this.#o.log.debug({ volume: volume.name, path: volume.path, ...errorFields(error) }, 'cannot measure a volume');
      return undefined;
    }
  }

  /** Undefined when there is no answer in time. */
  async #answer(path: string, signal: AbortSignal): Promise<FilesystemStats | undefined> {
    const { clock, log } = this.#o;
    this.#unanswered.add(path);
    const asked = readFilesystemStats(path, clock.now()).finally(() => this.#unanswered.delete(path));
    asked.catch(() => {});
    const over = new AbortController();
    const late = clock.sleep(answerMs, AbortSignal.any([signal, over.signal])).catch(() => undefined);
    const answer = await Promise.race([asked, late]);
    over.abort();
    signal.throwIfAborted();
    if (!answer) log.warn({ path, waitedMs: answerMs }, 'a file system does not answer');
    return answer ?? undefined;
  }
}
