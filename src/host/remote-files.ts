import { realpath } from 'node:fs/promises';
import type { Clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { Semaphore } from '../lib/semaphore.ts';
import type { MountPoint, Mounts } from './mounts.ts';

/** File systems behind which a server or a program may be away: what asks for a file waits until it is back. */
const remoteType = /^(nfs4?|cifs|smb\d*|smbfs|ceph|9p|lustre|gpfs|beegfs|afs|autofs|fuse|fuseblk|fuse\..+)$/;
/** How many of Node's four threads may wait for such file systems: the others are for the host's own files. */
const maxWaiting = 2;
const answerMs = 10_000;

/** On which mount a path lies, without looking at it: the deepest one above it, and of several there the last. */
export function mountOf<M extends MountPoint>(mounts: readonly M[], path: string): M | undefined {
  let found: M | undefined;
  for (const mount of mounts) {
    const { target } = mount;
    const isAbove = target === '/' || path === target || path.startsWith(`${target}/`);
    if (isAbove && target.length >= (found?.target.length ?? 0)) found = mount;
  }
  return found;
}

export interface RemoteFilesOptions {
  readonly mounts: Pick<Mounts, 'list'>;
  /** Where the pods' volumes are. */
  readonly rootDir: string;
  readonly clock: Clock;
}

/**
 * Work on files that may lie on a file system of the network, or of a program. Such a one can leave a call unanswered
 * for hours; nothing ends the call, which holds one of the few threads that all file work of the process shares. So
 * only a part of the threads is for them, one file system that does not answer is not asked again until it has, and
 * nobody waits for longer than ten seconds.
 */
export class RemoteFiles {
  readonly #o: RemoteFilesOptions;
  readonly #slots = new Semaphore(maxWaiting);
  /** Devices of file systems that owe an answer. */
  readonly #silent = new Set<string>();
  #realRoot: Promise<string> | undefined;

  constructor(options: RemoteFilesOptions) {
    this.#o = options;
  }

  /** The mount table as of now, for many calls of `use` in a row: on a full node reading it takes milliseconds. */
  table(): Promise<readonly MountPoint[]> {
    return this.#o.mounts.list();
  }

  /**
   * Does `work` on `path`, which is below the root directory or a real path. `work` gets a signal: once that is aborted
   * an answer comes too late, and no more is to be done. Fails with code FileSystemSilent when there is none in time.
   */
  async use<T>(
    path: string,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
    table?: readonly MountPoint[],
  ): Promise<T> {
    signal.throwIfAborted();
    const mount = mountOf(table ?? (await this.table()), await this.#real(path));
    if (!mount || !remoteType.test(mount.type)) return work(signal);
    const { device } = mount;
    if (this.#silent.has(device)) throw silent(path, mount);
    let begun = false;
    const late = new AbortController();
    const both = AbortSignal.any([signal, late.signal]);
    using _ = this.#o.clock.after(answerMs, () => late.abort(begun ? silent(path, mount) : busy(path)));
    const working = this.#slots.run(both, async () => {
      // It may have fallen silent while we waited for our turn.
      if (this.#silent.has(device)) throw silent(path, mount);
      begun = true;
      const owes = () => this.#silent.add(device);
      both.addEventListener('abort', owes, { once: true });
      try {
        return await work(both);
      } finally {
        both.removeEventListener('abort', owes);
        this.#silent.delete(device);
      }
    });
    // Awaited here: the deadline goes with this scope.
    return await unlessAborted(working, both);
  }

  /** The mount table names no links. Only our own folder may be reached by one without asking those behind it. */
  async #real(path: string): Promise<string> {
    const { rootDir } = this.#o;
    if (!path.startsWith(`${rootDir}/`)) return path;
    this.#realRoot ??= realpath(rootDir).catch(() => rootDir);
    return (await this.#realRoot) + path.slice(rootDir.length);
  }
}

const busy = (path: string): AgentError =>
  new AgentError(
    'FileSystemSilent',
    `${path}: not looked at, because other file systems of the network do not answer`,
    {
      retryable: true,
      hint: 'see which of the mounts of this node have lost their server',
    },
  );

const silent = (path: string, { source, target, type }: MountPoint): AgentError =>
  new AgentError('FileSystemSilent', `${path}: the file system ${source} (${type}) at ${target} does not answer`, {
    retryable: true,
    hint: `see whether its server is there; what cannot come back: umount -f -l ${target}`,
  });

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}
