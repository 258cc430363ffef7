import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ResourceRequirements } from '../api/core-v1.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { atomicWrite, readIfExists } from '../host/files.ts';
import { errnoOf, errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/**
 * What keelson has to remember of a pod over a restart and can read nowhere else. Every member may be
 * missing: a pod whose notes are lost is treated as one that was never noted.
 */
export interface Notes {
  /** Verdicts by container id and probe type; a container that has not changed keeps its verdict. */
  readonly probes?: Readonly<Record<string, Readonly<Record<string, 'success' | 'failure'>>>>;
  /** Resources that this node has granted, by container name: what was asked for may be more (KEP-1287). */
  readonly allocated?: Readonly<Record<string, ResourceRequirements>>;
  /** Pod-level resources granted. */
  readonly allocatedPod?: ResourceRequirements;
  /** A resize that was granted and is not carried out to the end yet. */
  readonly resizing?: Resizing | undefined;
  /** Containers whose postStart hook is over, by container id. */
  readonly postStartDone?: readonly string[];
}

export interface Resizing {
  /** metadata.generation of the pod whose wishes were granted. */
  readonly generation: number;
  /** Containers that have to be restarted for it, by container id. */
  readonly restart: readonly string[];
  /** What keeps it from being carried out. */
  readonly error?: string;
}

/** The newest version is written; what changes meanwhile is written once more afterwards. */
interface Entry {
  notes: Notes;
  written: Notes;
  writing: Promise<void> | undefined;
}

const fileName = 'keelson-notes.json';

/**
 * One small file per pod, `<root>/pods/<uid>/keelson-notes.json`, which goes with the pod's folder.
 * Reads come from memory; writes are atomic, one at a time per pod, and are tried again with the next change.
 */
export class PodNotes {
  readonly #podsDir: string;
  readonly #log: Log;
  readonly #entries = new Map<PodUid, Entry>();

  constructor(options: { readonly rootDir: string; readonly log: Log }) {
    this.#podsDir = join(options.rootDir, 'pods');
    this.#log = options.log;
  }

  /** Reads what the previous run has left. A file that cannot be read or is rubbish counts as none. */
  async load(): Promise<void> {
    const folders = await readdir(this.#podsDir).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    await Promise.all(folders.map((folder) => this.#loadOne(podUid(folder))));
  }

  get(uid: PodUid): Notes {
    return this.#entries.get(uid)?.notes ?? {};
  }

  /** Replaces the given members. Does not wait for the disk; `flush` does. */
  note(uid: PodUid, change: Partial<Notes>): void {
    const entry = this.#entries.get(uid) ?? { notes: {}, written: {}, writing: undefined };
    this.#entries.set(uid, entry);
    entry.notes = { ...entry.notes, ...change };
    entry.writing ??= this.#write(uid, entry).finally(() => {
      entry.writing = undefined;
    });
  }

  /** Resolves when everything noted of the pod so far is on disk, or could not be written (which was logged). */
  async flush(uid: PodUid): Promise<void> {
    await this.#entries.get(uid)?.writing;
  }

  /** The pod is gone, or its folder is about to be. */
  async forget(uid: PodUid): Promise<void> {
    const entry = this.#entries.get(uid);
    this.#entries.delete(uid);
    await entry?.writing;
  }

  async #loadOne(uid: PodUid): Promise<void> {
    const path = this.#path(uid);
    try {
      const text = await readIfExists(path);
      if (text === undefined) return;
      const notes: unknown = JSON.parse(text);
      if (typeof notes !== 'object' || notes === null) throw new Error('not an object');
      this.#entries.set(uid, { notes, written: notes, writing: undefined });
    } catch (error) {
      this.#log.warn({ path, ...errorFields(error) }, 'notes of a pod cannot be read, going on without them');
    }
  }

  async #write(uid: PodUid, entry: Entry): Promise<void> {
    while (entry.written !== entry.notes && this.#entries.get(uid) === entry) {
      const { notes } = entry;
      try {
        await atomicWrite(this.#path(uid), JSON.stringify(notes), { mode: 0o600, durable: false });
      } catch (error) {
        // The pod's folder may not be there yet, or no more: what is noted goes on living in memory.
        this.#log.debug({ podUid: uid, ...errorFields(error) }, 'notes of a pod cannot be written');
        return;
      }
      entry.written = notes;
    }
  }

  #path(uid: PodUid): string {
    return join(this.#podsDir, uid, fileName);
  }
}
