import { constants, type Dirent, type Stats } from 'node:fs';
import { chmod, chown, type FileHandle, lchown, open, readdir } from 'node:fs/promises';
import { errnoOf } from '../lib/errors.ts';

export interface Ownership {
  readonly gid: number;
  /** Leave everything as it is where the volume's own folder is right already. */
  readonly onRootMismatch: boolean;
}

/** How many files of a folder are changed at the same time: more would only fill Node's threads. */
const parallel = 16;
/** open(2): a handle on the name itself, whatever it names. Not among Node's constants. */
const pathOnly = 0o10000000 | constants.O_NOFOLLOW;
const realFolder = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const groupReadWrite = 0o660;
const groupFolder = 0o2770;

/**
 * Gives everything in a volume to a group: readable and writable to it, and new files will be the group's too. Tells
 * `progress` of every file done. The volume's own folder comes last, so that a change that was broken off is seen as
 * one. Other pods may write there meanwhile: every name is opened, and what was opened is changed, so that a link leads
 * nowhere.
 */
export async function ownVolume(
  path: string,
  { gid, onRootMismatch }: Ownership,
  progress: () => void,
  signal: AbortSignal,
): Promise<void> {
  await using root = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  const stats = await root.stat();
  if (onRootMismatch && stats.gid === gid && (stats.mode & groupFolder) === groupFolder) return;
  await ownFolder(root, gid, progress, signal);
  await give(root, stats, gid);
  progress();
}

async function ownFolder(folder: FileHandle, gid: number, progress: () => void, signal: AbortSignal): Promise<void> {
  const entries = await readdir(throughProc(folder), { withFileTypes: true });
  const [folders, files] = [entries.filter((e) => e.isDirectory()), entries.filter((e) => !e.isDirectory())];
  for (let i = 0; i < files.length; i += parallel) {
    signal.throwIfAborted();
    await Promise.all(files.slice(i, i + parallel).map((file) => ownEntry(folder, file, gid, progress)));
  }
  // One after another: the handles that are open at a time are as many as the folders are deep.
  for (const entry of folders) {
    signal.throwIfAborted();
    try {
      await using child = await open(`${throughProc(folder)}/${entry.name}`, realFolder);
      await ownFolder(child, gid, progress, signal);
      await give(child, await child.stat(), gid);
      progress();
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
}

async function ownEntry(folder: FileHandle, { name }: Dirent, gid: number, progress: () => void): Promise<void> {
  const path = `${throughProc(folder)}/${name}`;
  try {
    await using file = await open(path, pathOnly);
    const stats = await file.stat();
    if (stats.isSymbolicLink()) await lchown(path, -1, gid);
    else await give(file, stats, gid);
    progress();
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

async function give(file: FileHandle, stats: Stats, gid: number): Promise<void> {
  const before = stats.mode & 0o7777;
  const mode = before | (stats.isDirectory() ? groupFolder : groupReadWrite);
  if (stats.gid !== gid) await chown(throughProc(file), -1, gid);
  // A change of the group takes away set-user-ID bits.
  if (mode !== before || stats.gid !== gid) await chmod(throughProc(file), mode);
}

/** What the handle stands for, and not what its name has become. */
const throughProc = (handle: FileHandle): string => `/proc/self/fd/${handle.fd}`;

/** Removed, or replaced by something of another sort, since the folder was read: not ours any more. */
const isGone = (error: unknown): boolean => ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '');
