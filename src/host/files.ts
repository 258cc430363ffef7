import { randomBytes } from 'node:crypto';
import { lstat, open, readFile, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { AgentError, errnoOf } from '../lib/errors.ts';
import { mountsUnder, readMountInfo } from './mount-table.ts';

export interface WriteOptions {
  /** Permission bits, whatever the umask; default 0o644. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Whether the file must survive a power cut once the call has returned. Default true; false for what is rebuilt at start. */
  readonly durable?: boolean;
}

/**
 * Replaces the file in one step: a reader sees the old content or the new, never half of it, and a full disk leaves the
 * old one. The folder must exist. Fails with code DiskFull, or with the system's error as cause.
 */
export async function atomicWrite(path: string, data: string | Uint8Array, options: WriteOptions = {}): Promise<void> {
  const durable = options.durable ?? true;
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(data);
      if (options.uid !== undefined || options.gid !== undefined) {
        await file.chown(options.uid ?? -1, options.gid ?? -1);
      }
      await file.chmod(options.mode ?? 0o644);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    if (durable) await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw writeError(path, error);
  }
}

/** Makes the entries of a folder (a rename, a removal) durable. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Names the path in an error of the file system: DiskFull with what to do, or WriteFailed. */
export function writeError(path: string, cause: unknown): AgentError {
  if (cause instanceof AgentError) return cause;
  const errno = errnoOf(cause);
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new AgentError('DiskFull', `cannot write ${path}: no space left on its file system`, {
      retryable: true,
      hint: `free space or inodes: df -h ${dirname(path)}; df -i ${dirname(path)}`,
    });
  }
  return new AgentError('WriteFailed', `cannot write ${path}`, { cause });
}

/** The file as UTF-8, or undefined when there is none. */
export async function readIfExists(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/**
 * Removes a file or folder with everything in it; one that is gone is a success. Refuses with code MountedBelow when
 * anything is mounted at `path` or below: what is mounted there is somebody's data, and a bind mount of the same file
 * system would not even be seen by a walk that compares devices. A symbolic link is removed, not followed.
 */
export async function removeTree(path: string): Promise<void> {
  const entry = resolve(path);
  let parent: string;
  try {
    // The mount table holds real paths; the last component itself may be a link, which is what goes.
    parent = await realpath(dirname(entry));
    await lstat(entry);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return;
    throw error;
  }
  const real = join(parent, basename(entry));
  const mounted = mountsUnder(await readMountInfo(), real);
  if (mounted.length) {
    const targets = mounted.map((m) => m.target);
    throw new AgentError('MountedBelow', `will not remove ${path}: still mounted: ${targets.slice(0, 5).join(', ')}`, {
      retryable: true,
      hint: `unmount it first: umount ${targets.at(-1)}`,
    });
  }
  await rm(real, { recursive: true, force: true });
}
