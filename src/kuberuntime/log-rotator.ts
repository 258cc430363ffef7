import { createReadStream, createWriteStream, type FSWatcher, watch } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { ContainerId, PodUid } from '../api/ids.ts';
import type { RuntimeService } from '../cri/services.ts';
import { writeError } from '../host/files.ts';
import { aborted } from '../lib/aborted.ts';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { Semaphore } from '../lib/semaphore.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import {
  computeRotation,
  firstLookMs,
  nextLookMs,
  type RotatedFile,
  type RotationLimits,
  rotatedName,
} from './compute-rotation.ts';

export interface LogRotatorOptions extends RotationLimits {
  readonly podLogsDir: string;
  readonly cache: PodCache;
  readonly runtime: Pick<RuntimeService, 'reopenContainerLog'>;
  /** How many logs are rotated at a time. */
  readonly maxWorkers: number;
  /** How long a growing log may be left alone at most; milliseconds. */
  readonly monitorIntervalMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** The log of a container that runs. */
interface Tracked {
  readonly id: ContainerId;
  readonly uid: PodUid;
  readonly path: string;
  size: number;
  /** Monotonic milliseconds. */
  lookedAt: number;
  /** One of the two is there, unless the log is being looked at. */
  watcher: FSWatcher | undefined;
  timer: Disposable | undefined;
  /** What went wrong last, so that it is said once. */
  problem: string | undefined;
}

/**
 * Puts the log of a running container aside when it is full, has the runtime write a new one, and compresses and
 * removes what was put aside before.
 *
 * A log that nobody writes costs nothing: the kernel tells when it grows. From then on it is looked at, the more
 * often the faster it grows, until it has stopped; a chatty container must not wake us with every line.
 */
export class LogRotator {
  readonly #o: LogRotatorOptions;
  readonly #tracked = new Map<ContainerId, Tracked>();
  readonly #turns: Semaphore;
  #signal: AbortSignal | undefined;

  constructor(options: LogRotatorOptions) {
    this.#o = options;
    this.#turns = new Semaphore(options.maxWorkers);
  }

  /** Rotates until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#o.maxSize < 0) return;
    this.#signal = signal;
    for (const uid of this.#o.cache.uids()) this.podChanged(uid);
    await aborted(signal);
    for (const tracked of this.#tracked.values()) release(tracked);
    this.#tracked.clear();
  }

  /** The runtime has something new to say of the pod: its containers may have come or gone. */
  podChanged(uid: PodUid): void {
    if (!this.#signal || this.#signal.aborted) return;
    const pod = this.#o.cache.get(uid);
    // What has ended writes no more, and an empty file would be all that is left of its log.
    const running = new Map(pod?.containers.filter((c) => c.state === 'running').map((c) => [c.id, c]));
    for (const tracked of this.#tracked.values()) {
      if (tracked.uid !== uid || running.has(tracked.id)) continue;
      release(tracked);
      this.#tracked.delete(tracked.id);
    }
    for (const { id, name, attempt } of running.values()) {
      if (!pod || this.#tracked.has(id)) continue;
      const path = join(this.#o.podLogsDir, `${pod.namespace}_${pod.name}_${uid}`, name, `${attempt}.log`);
      const tracked: Tracked = {
        id,
        uid,
        path,
        size: 0,
        lookedAt: this.#o.clock.monotonic(),
        watcher: undefined,
        timer: undefined,
        problem: undefined,
      };
      this.#tracked.set(id, tracked);
      this.#lookAfter(tracked, firstLookMs);
    }
  }

  #lookAfter(tracked: Tracked, ms: number): void {
    if (this.#tracked.get(tracked.id) !== tracked) return;
    release(tracked);
    tracked.timer = this.#o.clock.after(ms, () => void this.#look(tracked));
  }

  /** Waits for the log to grow. Where the kernel has no watch left, looks at it now and then. */
  #awaitGrowth(tracked: Tracked): void {
    release(tracked);
    try {
      tracked.watcher = watch(tracked.path, { persistent: false }, () => this.#lookAfter(tracked, firstLookMs));
      tracked.watcher.on('error', () => this.#lookAfter(tracked, this.#o.monitorIntervalMs));
    } catch {
      this.#lookAfter(tracked, this.#o.monitorIntervalMs);
    }
  }

  async #look(tracked: Tracked): Promise<void> {
    const { clock, maxSize, monitorIntervalMs, log } = this.#o;
    release(tracked);
    const signal = this.#signal;
    if (!signal || signal.aborted) return;
    try {
      const now = clock.monotonic();
      const { size } = await stat(tracked.path);
      const growth = { bytes: size - tracked.size, elapsedMs: now - tracked.lookedAt };
      tracked.size = size;
      tracked.lookedAt = now;
      if (size >= maxSize) {
        await this.#turns.run(signal, () => this.rotate(tracked.id, tracked.path, signal));
        tracked.size = 0;
        this.#again(tracked, nextLookMs(0, growth, maxSize, monitorIntervalMs));
      } else this.#again(tracked, nextLookMs(size, growth, maxSize, monitorIntervalMs));
      tracked.problem = undefined;
    } catch (error) {
      if (signal.aborted || this.#tracked.get(tracked.id) !== tracked) return;
      if (errnoOf(error) === 'ENOENT') await this.#reopen(tracked, signal);
      else if (tracked.problem !== messageOf(error)) {
        tracked.problem = messageOf(error);
        log.warn({ container: tracked.id, path: tracked.path, ...errorFields(error) }, 'cannot rotate a log');
      }
      this.#lookAfter(tracked, monitorIntervalMs);
    }
  }

  #again(tracked: Tracked, ms: number | undefined): void {
    if (this.#tracked.get(tracked.id) !== tracked) return;
    if (ms === undefined) this.#awaitGrowth(tracked);
    else this.#lookAfter(tracked, ms);
  }

  /** Somebody has removed the file: the runtime writes where nobody can read. */
  async #reopen(tracked: Tracked, signal: AbortSignal): Promise<void> {
    await this.#o.runtime.reopenContainerLog(tracked.id, signal).catch((error: unknown) => {
      if (!signal.aborted) this.#o.log.debug({ container: tracked.id, ...errorFields(error) }, 'cannot reopen a log');
    });
  }

  /**
   * Puts the file aside and has the runtime open a new one; when it does not, the file is put back, to be tried
   * again. On a full disk that works too: only compressing needs room, and is left out then.
   */
  async rotate(id: ContainerId, path: string, signal: AbortSignal): Promise<void> {
    const { clock, runtime, log } = this.#o;
    const folder = dirname(path);
    const names = await readdir(folder);
    const aside = join(folder, rotatedName(basename(path), clock.now(), names));
    await rename(path, aside);
    try {
      await runtime.reopenContainerLog(id, signal);
    } catch (error) {
      await rename(aside, path);
      throw error;
    }
    log.debug({ container: id, file: aside }, 'log rotated');
    const { remove, compress } = computeRotation(await rotatedFiles(path), this.#o);
    await Promise.all(remove.map((name) => rm(join(folder, name), { force: true, recursive: true })));
    for (const name of compress) {
      await compressLog(join(folder, name), signal).catch((error: unknown) => {
        if (!signal.aborted) log.warn({ file: name, ...errorFields(error) }, 'cannot compress a log');
      });
    }
  }
}

function release(tracked: Tracked): void {
  tracked.watcher?.close();
  tracked.timer?.[Symbol.dispose]();
  tracked.watcher = undefined;
  tracked.timer = undefined;
}

async function rotatedFiles(path: string): Promise<RotatedFile[]> {
  const folder = dirname(path);
  const names = (await readdir(folder)).filter((name) => name.startsWith(`${basename(path)}.`));
  return Promise.all(names.map(async (name) => ({ name, bytes: (await stat(join(folder, name))).size })));
}

/** Leaves either the file or its compressed form, never half of one. Fails with code DiskFull when there is no room. */
async function compressLog(path: string, signal: AbortSignal): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    const { mode } = await stat(path);
    await pipeline(createReadStream(path), createGzip(), createWriteStream(temporary, { mode: mode & 0o777 }), {
      signal,
    });
    await rename(temporary, `${path}.gz`);
    await rm(path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw writeError(path, error);
  }
}
