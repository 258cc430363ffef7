import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as cri from '../api/cri.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { atomicWrite, readIfExists } from '../host/files.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/** User ids of the host that pods may be given: `length` of them from `first` on. */
export interface IdRange {
  readonly first: number;
  readonly length: number;
}

export interface UserNamespacesOptions {
  readonly rootDir: string;
  /** How many ids each pod gets; a multiple of 65536. */
  readonly idsPerPod: number;
  readonly maxPods: number;
  /** What the host sets aside for pods; undefined: every id from `idsPerPod` on. */
  readonly subordinate: () => Promise<IdRange | undefined>;
  readonly log: Log;
}

const allIds = 2 ** 32;
const smallest = 65_536;

/**
 * Hands out ranges of user ids to pods with users of their own, no two the same. A pod's range is kept in
 * `<root>/pods/<uid>/userns`, in upstream's form, and goes with the folder: a restart, and a kubelet that
 * takes over, find it there. Nothing is read, and the host's settings are not looked at, before the
 * first such pod.
 */
export class UserNamespaces {
  readonly #o: UserNamespacesOptions;
  readonly #firstIds = new Map<PodUid, number>();
  #range: Promise<IdRange> | undefined;
  /** Where the search for a free range begins: an id that was just given back rests for as long as possible. */
  #next = 0;

  constructor(options: UserNamespacesOptions) {
    this.#o = options;
  }

  /** The pod's user ids, found or newly given. Its folder exists. Fails when there are none left. */
  async take(uid: PodUid): Promise<cri.UserNamespace> {
    this.#range ??= this.#open();
    const range = await this.#range.catch((error: unknown) => {
      // The administrator may mend it.
      this.#range = undefined;
      throw error;
    });
    const known = this.#firstIds.get(uid);
    if (known !== undefined) return this.#mapping(known);
    const first = this.#findFree(range);
    // Taken before the file is written: another pod may come meanwhile.
    this.#firstIds.set(uid, first);
    try {
      await this.#write(uid, first);
    } catch (error) {
      this.#firstIds.delete(uid);
      throw error;
    }
    return this.#mapping(first);
  }

  /** The pod is gone, and nothing of it runs. */
  async release(uid: PodUid): Promise<void> {
    if (!this.#firstIds.delete(uid)) return;
    await rm(this.#file(uid), { force: true });
  }

  async #open(): Promise<IdRange> {
    const range = checkRange(await this.#o.subordinate(), this.#o);
    const folders = await readdir(join(this.#o.rootDir, 'pods')).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    await Promise.all(folders.map((folder) => this.#readOne(podUid(folder))));
    return range;
  }

  async #readOne(uid: PodUid): Promise<void> {
    const path = this.#file(uid);
    const text = await readIfExists(path);
    if (text === undefined) return;
    const first = parseMapping(text, this.#o.idsPerPod);
    // What such a pod runs with is unknown then: it is given a new range when it is next made.
    if (first === undefined) this.#o.log.warn({ podUid: uid, path }, 'the user ids of a pod are not readable');
    else this.#firstIds.set(uid, first);
  }

  #findFree(range: IdRange): number {
    const { idsPerPod } = this.#o;
    const slots = Math.floor(range.length / idsPerPod);
    const taken = new Set(this.#firstIds.values());
    for (let i = 0; i < slots; i++) {
      const slot = (this.#next + i) % slots;
      const first = range.first + slot * idsPerPod;
      if (taken.has(first)) continue;
      this.#next = slot + 1;
      return first;
    }
    throw new AgentError('NoUserIds', 'could not find an empty slot to allocate a user namespace', {
      hint: 'give the user kubelet more ids in /etc/subuid and /etc/subgid',
      retryable: true,
    });
  }

  #write(uid: PodUid, hostId: number): Promise<void> {
    const ids = [{ hostId, containerId: 0, length: this.#o.idsPerPod }];
    return atomicWrite(this.#file(uid), JSON.stringify({ uidMappings: ids, gidMappings: ids }), { mode: 0o600 });
  }

  #mapping(hostId: number): cri.UserNamespace {
    const ids = [{ hostId, containerId: 0, length: this.#o.idsPerPod }];
    return { mode: cri.NamespaceMode.POD, uids: ids, gids: ids };
  }

  #file(uid: PodUid): string {
    return join(this.#o.rootDir, 'pods', uid, 'userns');
  }
}

/** The range to hand out of, or why it is none; the words are upstream's. */
function checkRange(given: IdRange | undefined, { idsPerPod, maxPods }: UserNamespacesOptions): IdRange {
  const refuse = (message: string) =>
    new AgentError('BadUserIds', message, { hint: 'see the lines of the user kubelet in /etc/subuid and /etc/subgid' });
  if (!given) return { first: idsPerPod, length: allIds - idsPerPod };
  const { first, length } = given;
  if (first % idsPerPod !== 0) throw refuse(`kubelet user assigned ID ${first} is not a multiple of ${idsPerPod}`);
  if (first < idsPerPod) throw refuse(`kubelet user assigned ID ${first} must be greater or equal to ${idsPerPod}`);
  if (length % idsPerPod !== 0)
    throw refuse(`kubelet user assigned IDs length ${length} is not a multiple of ${idsPerPod}`);
  if (length / idsPerPod < maxPods) throw refuse(`kubelet user assigned IDs are not enough to support ${maxPods} pods`);
  return given;
}

/** The first id of a stored mapping; undefined when it is not of the form that is written here. */
function parseMapping(text: string, idsPerPod: number): number | undefined {
  try {
    const { uidMappings, gidMappings } = JSON.parse(text);
    const [uids, ...others] = uidMappings;
    const { hostId, containerId, length } = uids;
    const whole = Number.isInteger(hostId) && hostId >= smallest && hostId % smallest === 0 && hostId < allIds;
    const same = JSON.stringify(uidMappings) === JSON.stringify(gidMappings);
    return whole && same && others.length === 0 && containerId === 0 && length === idsPerPod ? hostId : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The ids set aside for the user `kubelet`, from the text of /etc/subuid and /etc/subgid; undefined when
 * neither names it. Both must say the same, in one line.
 */
export function parseSubordinateIds(subuid: string, subgid: string): IdRange | undefined {
  const linesOf = (text: string) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line.startsWith('kubelet:'));
  const [line, ...more] = linesOf(subuid);
  if (line === undefined && linesOf(subgid).length === 0) return undefined;
  const [, first, length] = /^kubelet:(\d+):(\d+)$/.exec(line ?? '') ?? [];
  if (first === undefined || length === undefined || more.length > 0 || linesOf(subgid).join() !== line) {
    throw new AgentError('BadUserIds', 'mismatched subuids and subgids for user "kubelet"', {
      hint: 'give it one line in /etc/subuid and the same one in /etc/subgid, such as kubelet:65536:7208960',
    });
  }
  return { first: Number(first), length: Number(length) };
}

/** Why a handler of the runtime cannot give pods users of their own, in upstream's words; undefined when it can. */
export function userNamespaceRefusal(handler: string, handlers: readonly cri.RuntimeHandler[]): string | undefined {
  const found = handlers.find((h) => (h.name ?? '') === handler);
  if (!found) return `the handler "${handler}" is not known`;
  if (found.features?.userNamespaces) return undefined;
  return `RuntimeClass handler "${handler}" does not support user namespaces`;
}
