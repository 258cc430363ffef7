import type * as cri from '../api/cri.ts';
import type { ImageService, RuntimeService } from '../cri/services.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/** What the runtime alone knows: sizes of writable layers and of the images. */
export interface RuntimeUsage {
  /** By container id. */
  readonly layers: ReadonlyMap<string, LayerUsage>;
  readonly images: FolderUsage | undefined;
  /** Where the runtime keeps containers apart from images; else undefined. */
  readonly containers: FolderUsage | undefined;
}

export interface LayerUsage {
  /** When the runtime measured it: milliseconds since the epoch. */
  readonly at: number;
  readonly bytes: number;
  readonly inodes: number;
}

export interface FolderUsage extends LayerUsage {
  readonly path: string;
}

export interface RuntimeMeterOptions {
  readonly runtime: Pick<RuntimeService, 'listContainerStats' | 'status'>;
  readonly images: Pick<ImageService, 'imageFsInfo'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The runtime itself measures no more often; asking it costs it a call to every shim. */
const freshMs = 10_000;
/** What a reader waits for news before it takes what is known. */
const patienceMs = 25;
/** The first reader has nothing to fall back on. */
const firstPatienceMs = 2_000;

const none: RuntimeUsage = { layers: new Map(), images: undefined, containers: undefined };

/** Asks the runtime at most every ten seconds, and one reader's question serves all. */
export class RuntimeMeter {
  readonly #o: RuntimeMeterOptions;
  #known = none;
  #knownAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  #sandboxImage: string | undefined;
  #askingImage: Promise<void> | undefined;
  readonly #life = new AbortController();

  constructor(options: RuntimeMeterOptions) {
    this.#o = options;
  }

  /** What is known, renewed if it is old and the runtime is quick. Never fails: without an answer it is what was known. */
  async usage(): Promise<RuntimeUsage> {
    const { clock } = this.#o;
    if (clock.monotonic() - this.#knownAt < freshMs) return this.#known;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    await this.#patiently(this.#asking, this.#known === none ? firstPatienceMs : patienceMs);
    return this.#known;
  }

  /** The image that sandboxes run, as the runtime is configured; '' where it does not tell, or not in time. */
  async sandboxImage(): Promise<string> {
    if (this.#sandboxImage === undefined) {
      this.#askingImage ??= this.#askImage().finally(() => {
        this.#askingImage = undefined;
      });
      await this.#patiently(this.#askingImage, firstPatienceMs);
    }
    return this.#sandboxImage ?? '';
  }

  [Symbol.dispose](): void {
    this.#life.abort();
  }

  async #patiently(answer: Promise<void>, ms: number): Promise<void> {
    const over = new AbortController();
    const wait = this.#o.clock.sleep(ms, over.signal).catch(() => {});
    await Promise.race([answer, wait]);
    over.abort();
  }

  async #askImage(): Promise<void> {
    try {
      const { info } = await this.#o.runtime.status(this.#life.signal, true);
      const config = JSON.parse(info?.['config'] ?? '{}') as { readonly sandboxImage?: unknown };
      this.#sandboxImage = typeof config.sandboxImage === 'string' ? config.sandboxImage : '';
    } catch (error) {
      this.#report(error, 'the runtime does not tell its configuration');
    }
  }

  async #ask(): Promise<void> {
    const { runtime, images, clock } = this.#o;
    const { signal } = this.#life;
    try {
      const [stats, fs] = await Promise.all([runtime.listContainerStats({}, signal), images.imageFsInfo(signal)]);
      this.#known = {
        layers: new Map(stats.flatMap(({ attributes, writableLayer }) => layerEntry(attributes?.id, writableLayer))),
        images: folderUsage(fs.imageFilesystems?.[0]),
        containers: folderUsage(fs.containerFilesystems?.[0]),
      };
    } catch (error) {
      this.#report(error, 'the runtime does not tell what containers use');
    }
    // Also after a failure: a runtime that cannot answer is not asked by every scrape.
    this.#knownAt = clock.monotonic();
  }

  #report(error: unknown, what: string): void {
    if (!isAbort(error)) this.#o.log.warn(errorFields(error), what);
  }
}

function layerEntry(id: string | undefined, fs: cri.FilesystemUsage | null | undefined): [string, LayerUsage][] {
  return id && fs ? [[id, layerUsage(fs)]] : [];
}

const layerUsage = (fs: cri.FilesystemUsage): LayerUsage => ({
  at: Math.floor((fs.timestamp ?? 0) / 1_000_000),
  bytes: fs.usedBytes?.value ?? 0,
  inodes: fs.inodesUsed?.value ?? 0,
});

function folderUsage(fs: cri.FilesystemUsage | undefined): FolderUsage | undefined {
  const path = fs?.fsId?.mountpoint;
  return fs && path ? { path, ...layerUsage(fs) } : undefined;
}
