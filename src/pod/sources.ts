import type { Pod } from '../api/core-v1.ts';
import type { PodManager } from './pod-manager.ts';

/** What the pod sources need of the API's pod watch. */
export interface PodFeed {
  readonly hasSynced: boolean;
  readonly store: ReadonlyMap<string, Pod>;
  subscribe(listener: (key: string, pod: Pod | undefined) => void): unknown;
}

/** And of the manifest directory. */
export interface ManifestFeed {
  readonly hasSynced: boolean;
  snapshot(): { readonly pods: readonly Pod[] };
  onChange(listener: () => void): unknown;
}

/**
 * Leads every source of pods into the pod manager. Until each of them has reported once, nothing that
 * is missing may be taken for unwanted: `ready` guards all that removes.
 */
export class PodSources {
  readonly #api: PodFeed | undefined;
  readonly #files: ManifestFeed | undefined;

  constructor(
    manager: PodManager,
    feeds: { readonly api?: PodFeed | undefined; readonly files?: ManifestFeed | undefined },
  ) {
    this.#api = feeds.api;
    this.#files = feeds.files;
    this.#api?.subscribe((key, pod) => manager.setFromApi(key, pod));
    this.#files?.onChange(() => manager.setFromFiles(feeds.files?.snapshot().pods ?? []));
  }

  ready(): boolean {
    return this.#api?.hasSynced !== false && this.#files?.hasSynced !== false;
  }
}
