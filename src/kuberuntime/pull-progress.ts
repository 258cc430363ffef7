import type { ContentStore, Ingest, LayerSize } from '../cri/containerd-content.ts';
import { isCriCode } from '../cri/services.ts';
import { isAbort } from '../lib/errors.ts';
import type { ImageName } from '../lib/image-name.ts';

/** How much of an image is here. */
export interface PulledBytes {
  readonly bytes: number;
  readonly totalBytes: number;
  /** A layer is being fetched now; otherwise the runtime asks the registry, or unpacks. */
  readonly fetching: boolean;
}

/** Blobs of a repository that are looked into for a manifest, at a time. */
const maxLookedInto = 32;
/** A manifest is small; layers are not, and need no look. */
const maxManifestBytes = 256 * 1024;

/** Tells how far the pull of one image is, by the content store of the runtime. One for each pull. */
export class PullProgress {
  readonly #content: ContentStore;
  readonly #name: ImageName;
  readonly #lookedInto = new Set<string>();
  readonly #manifests: (readonly LayerSize[])[] = [];
  #absent = false;

  constructor(content: ContentStore, name: ImageName) {
    this.#content = content;
    this.#name = name;
  }

  /** Undefined while nothing is known, for ever where the runtime has no such store. Rejects by the signal alone. */
  async look(signal: AbortSignal): Promise<PulledBytes | undefined> {
    if (this.#absent) return undefined;
    try {
      const ingests = await this.#content.ingests(signal);
      const { registry, repository } = this.#name;
      const blobs = await this.#content.blobs(registry, repository, signal);
      await this.#findManifests(blobs, signal);
      return sumUp(this.#manifests, ingests, blobs);
    } catch (error) {
      signal.throwIfAborted();
      if (isAbort(error)) throw error;
      // Progress is a courtesy: without it the pull goes on as well.
      this.#absent = isCriCode(error, 'UNIMPLEMENTED');
      return undefined;
    }
  }

  async #findManifests(blobs: readonly LayerSize[], signal: AbortSignal): Promise<void> {
    const candidates = blobs.filter(({ digest, size }) => size <= maxManifestBytes && !this.#lookedInto.has(digest));
    for (const { digest } of candidates.slice(0, maxLookedInto)) {
      const layers = await this.#content.layersOf(digest, signal);
      this.#lookedInto.add(digest);
      if (layers) this.#manifests.push(layers);
    }
  }
}

/**
 * Adds up the layers of the image that is being fetched: of the repository's manifests the one of which a layer is
 * under way, or else of which something is missing. Undefined when there is none such.
 */
export function sumUp(
  manifests: readonly (readonly LayerSize[])[],
  ingests: readonly Ingest[],
  blobs: readonly LayerSize[],
): PulledBytes | undefined {
  const underWay = new Map(ingests.map(({ digest, offset }) => [digest, offset]));
  const there = new Set(blobs.map(({ digest }) => digest));
  const fetched = manifests.find((layers) => layers.some(({ digest }) => underWay.has(digest)));
  const layers = fetched ?? manifests.find((all) => all.some(({ digest }) => !there.has(digest)));
  if (!layers) return undefined;
  const done = ({ digest, size }: LayerSize) => underWay.get(digest) ?? (there.has(digest) ? size : 0);
  return {
    bytes: layers.reduce((sum, layer) => sum + Math.min(done(layer), layer.size), 0),
    totalBytes: layers.reduce((sum, { size }) => sum + size, 0),
    fetching: fetched !== undefined,
  };
}

/** '120 MiB of 300 MiB' */
export function howFar({ bytes, totalBytes }: { readonly bytes: number; readonly totalBytes: number }): string {
  return `${binary(bytes)} of ${binary(totalBytes)}${bytes >= totalBytes ? ', unpacking' : ''}`;
}

function binary(bytes: number): string {
  const mib = bytes / 1024 / 1024;
  if (mib >= 10_240) return `${(mib / 1024).toFixed(1)} GiB`;
  return mib >= 1 ? `${Math.round(mib)} MiB` : `${Math.ceil(bytes / 1024)} KiB`;
}
