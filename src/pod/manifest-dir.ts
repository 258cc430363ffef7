import type { ConfigMap, Pod, Secret, Service } from '../api/core-v1.ts';
import { podKey } from '../api/pod.ts';
import type { Clock } from '../lib/clock.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ManifestObject, ManifestProblem } from './decode-manifest.ts';
import { listManifests, type ManifestFile, objectKey, readManifest, sameContent } from './manifest-dir-read.ts';
import { DirectoryWatch } from './manifest-dir-watch.ts';

/** Everything in the directory that can be used, each kind in order of file name. */
export interface ManifestSnapshot {
  readonly pods: readonly Pod[];
  readonly services: readonly Service[];
  readonly configMaps: readonly ConfigMap[];
  readonly secrets: readonly Secret[];
}

export interface ManifestDirOptions {
  /** A directory, or one file. */
  readonly dir: string;
  readonly nodeName: string;
  /** How often everything is looked at again, whatever inotify says. */
  readonly fileCheckFrequencyMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** After an event, as long as others follow: a writer is at work. Milliseconds. */
const quietMs = 10;
const mostQuietRounds = 20;

/**
 * The manifest directory. It owns what the files say: pods, and for a node without an API server Services,
 * ConfigMaps and Secrets. A file that goes takes its objects with it; a file that becomes bad does not, and
 * is named in `problems` and once in the log. Of two objects of one name the first by file name counts.
 */
export class ManifestDir {
  /** Resolves when everything that lay there at the start has been read. */
  readonly synced: Promise<void>;
  readonly #options: ManifestDirOptions;
  readonly #markSynced: () => void;
  readonly #listeners = new Set<() => void>();
  #files: ReadonlyMap<string, ManifestFile> = new Map();
  #snapshot: ManifestSnapshot = { pods: [], services: [], configMaps: [], secrets: [] };
  #problems: readonly ManifestProblem[] = [];
  #said: ReadonlySet<string> = new Set();
  #hasSynced = false;
  #wasThere = true;
  #wake: () => void = () => {};
  #woken = false;

  constructor(options: ManifestDirOptions) {
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#markSynced = resolve;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  snapshot(): ManifestSnapshot {
    return this.#snapshot;
  }

  /** What is wrong in the directory at the moment. */
  problems(): readonly ManifestProblem[] {
    return this.#problems;
  }

  /** Calls the listener after the first scan, and whenever objects or problems have changed. */
  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Reads and watches until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { dir, clock, fileCheckFrequencyMs, log } = this.#options;
    const watch = new DirectoryWatch(dir, () => {
      this.#woken = true;
      this.#wake();
    });
    try {
      while (!signal.aborted) {
        await watch.refresh();
        this.#woken = false;
        await this.scanOnce().catch((error) => {
          log.error({ dir, ...errorFields(error) }, 'the manifest directory cannot be read: its former content stays');
        });
        await this.#nextReason(fileCheckFrequencyMs, signal);
        for (let round = 0; this.#woken && round < mostQuietRounds; round++) {
          this.#woken = false;
          await clock.sleep(quietMs, signal);
        }
      }
    } catch (error) {
      if (!isAbort(error) && !signal.aborted) throw error;
    } finally {
      watch.close();
    }
  }

  /** Waits for an event, but no longer than `ms`. */
  async #nextReason(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#woken || signal.aborted) return;
    const round = new AbortController();
    const end = () => round.abort();
    this.#wake = end;
    signal.addEventListener('abort', end);
    try {
      await this.#options.clock.sleep(ms, round.signal);
    } catch (error) {
      if (!isAbort(error)) throw error;
    } finally {
      signal.removeEventListener('abort', end);
      this.#wake = () => {};
    }
  }

  /** Looks at every file once, and tells the listeners when something is different. */
  async scanOnce(): Promise<void> {
    const { dir, nodeName, clock, log } = this.#options;
    const paths = await listManifests(dir);
    if (!paths && this.#wasThere) log.warn({ dir }, 'the manifest directory is missing: there are no static pods');
    this.#wasThere = paths !== undefined;
    const files = new Map<string, ManifestFile>();
    for (const path of paths ?? []) {
      const read = await readManifest(path, this.#files.get(path), { nodeName, seenAt: clock.now() });
      if (read) files.set(path, read);
    }
    const changed = !this.#hasSynced || !sameContent(files, this.#files);
    this.#files = files;
    if (!changed) return;
    const merged = mergeFiles([...files.values()]);
    this.#snapshot = deepFreeze(merged.snapshot);
    this.#problems = merged.problems;
    this.#report();
    this.#hasSynced = true;
    this.#markSynced();
    for (const listener of this.#listeners) this.#tell(listener);
  }

  #tell(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      this.#options.log.error({ err: messageOf(error) }, 'a listener of the manifest directory failed');
    }
  }

  /** Each problem once, as long as it lasts, and what goes on in spite of it. */
  #report(): void {
    const { log } = this.#options;
    const said = new Set<string>();
    const once = (fields: object, message: string) => {
      const key = JSON.stringify([fields, message]);
      said.add(key);
      if (!this.#said.has(key)) log.warn(fields, message);
    };
    for (const { message, severity, ...place } of this.#problems) {
      once({ ...place, problem: message }, severity === 'refused' ? 'manifest refused' : 'manifest field ignored');
    }
    for (const { file, kept } of this.#files.values()) {
      if (kept > 0) once({ file, objects: kept }, 'manifest is broken: what it held before goes on');
    }
    this.#said = said;
  }
}

/** All files' objects as one; the first of a name counts, and the first Service of an address. */
export function mergeFiles(files: readonly ManifestFile[]): {
  readonly snapshot: ManifestSnapshot;
  readonly problems: readonly ManifestProblem[];
} {
  const owners = new Map<string, string>();
  const kept: ManifestObject[] = [];
  const problems = files.flatMap((file) => file.problems);
  for (const { file, objects } of files) {
    for (const entry of objects) {
      const clash = claimsOf(entry).find(({ key }) => owners.has(key));
      if (clash) {
        problems.push({
          file,
          line: entry.line,
          path: '',
          message: `${clash.what} is in ${owners.get(clash.key)} already`,
          hint: 'rename or remove one of them',
          severity: 'refused',
        });
        continue;
      }
      for (const { key } of claimsOf(entry)) owners.set(key, file);
      kept.push(entry);
    }
  }
  return { snapshot: byKind(kept), problems };
}

/** What only one object may have: its name, a static pod's UID, a Service's addresses. */
function claimsOf(entry: ManifestObject): { readonly key: string; readonly what: string }[] {
  const name = { key: objectKey(entry), what: `${entry.kind} ${podKey(entry.object)}` };
  if (entry.kind === 'Pod') {
    const { uid } = entry.object.metadata;
    return [name, { key: `uid ${uid}`, what: `the UID ${uid}` }];
  }
  if (entry.kind !== 'Service') return [name];
  const addresses = (entry.object.spec.clusterIPs ?? []).filter((ip) => ip !== 'None');
  return [name, ...addresses.map((ip) => ({ key: `ip ${ip}`, what: `a Service with the address ${ip}` }))];
}

function byKind(entries: readonly ManifestObject[]): ManifestSnapshot {
  return {
    pods: entries.flatMap((e) => (e.kind === 'Pod' ? [e.object] : [])),
    services: entries.flatMap((e) => (e.kind === 'Service' ? [e.object] : [])),
    configMaps: entries.flatMap((e) => (e.kind === 'ConfigMap' ? [e.object] : [])),
    secrets: entries.flatMap((e) => (e.kind === 'Secret' ? [e.object] : [])),
  };
}
