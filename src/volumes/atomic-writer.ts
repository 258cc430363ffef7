import type { Dirent } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AgentError, errnoOf } from '../lib/errors.ts';
import type { Payload, PayloadFile } from './render-payload.ts';
import { fileError } from './volume-error.ts';

/*
 * How files of a volume change under the eyes of a container that reads them (the layout is the kubelet's, and
 * programs in containers watch for it):
 *
 *   <volume>/..2026_01_01_00_00_00.Ab3dEf/dir/file    one complete set of files
 *   <volume>/..data -> ..2026_01_01_00_00_00.Ab3dEf   which set counts: replaced by one rename
 *   <volume>/dir -> ..data/dir                        what the container's path names
 *
 * A crash at any point leaves the old set or the new one, and rubbish that the next write removes.
 */
const dataLink = '..data';
const newDataLink = '..data_tmp';

/**
 * Makes the volume's files those of `payload`, atomically; does nothing when they are so already. Resolves with
 * whether anything was written. `gid` becomes the group of every file and folder. The folder must exist.
 * Fails with BadPayloadPath, DiskFull, ReadOnlyFileSystem or VolumeIo.
 */
export async function writePayload(
  volume: string,
  payload: Payload,
  options: { readonly gid?: number | undefined; readonly now: number; readonly signal: AbortSignal },
): Promise<boolean> {
  checkPaths(payload);
  const { gid, now, signal } = options;
  try {
    const current = await currentSet(volume);
    const unchanged = current !== undefined && (await holds(join(volume, current), payload, gid));
    let set = current;
    if (!unchanged) set = await writeSet(volume, payload, { gid, now, signal });
    const removed = await removeStale(volume, set, new Set([...payload.keys()].map(topLevel)));
    return !unchanged || removed;
  } catch (error) {
    if (signal.aborted) throw error;
    throw fileError(volume, error);
  }
}

/** Whether the volume has a complete set of files, whichever. */
export async function hasPayload(volume: string): Promise<boolean> {
  try {
    return (await currentSet(volume)) !== undefined;
  } catch {
    return false;
  }
}

/** One file of the current set as text, undefined when there is none. */
export async function readPayloadFile(volume: string, path: string): Promise<string | undefined> {
  try {
    return await readFile(join(volume, dataLink, path), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw fileError(join(volume, path), error);
  }
}

const topLevel = (path: string): string => path.split('/')[0] ?? path;

/** Paths come from users: none may lead out of the volume, or look like one of our own names. */
function checkPaths(payload: Payload): void {
  const refuse = (path: string, why: string) => {
    throw new AgentError('BadPayloadPath', `invalid path ${JSON.stringify(path)}: ${why}`, {
      hint: 'correct the path of the item, or the key of the object, in the volume',
    });
  };
  for (const path of payload.keys()) {
    const parts = path.split('/');
    if (path === '') refuse(path, 'must not be empty');
    if (path.startsWith('/')) refuse(path, 'must be relative');
    if (Buffer.byteLength(path) > 4095) refuse(path, 'longer than 4095 bytes');
    if (path.includes('\0')) refuse(path, 'must not contain a NUL');
    if (path.startsWith('..')) refuse(path, "must not begin with '..'");
    if (parts.includes('..')) refuse(path, "must not contain '..'");
    if (parts.some((part) => part === '' || part === '.')) refuse(path, "must not contain empty or '.' components");
    if (parts.some((part) => Buffer.byteLength(part) > 255)) refuse(path, 'a component is longer than 255 bytes');
    for (let i = 1; i < parts.length; i++) {
      const parent = parts.slice(0, i).join('/');
      if (payload.has(parent)) refuse(path, `${JSON.stringify(parent)} is a file`);
    }
  }
}

/** The name of the folder that `..data` points to, undefined when there is none. */
async function currentSet(volume: string): Promise<string | undefined> {
  try {
    const target = await readlink(join(volume, dataLink));
    if (target.includes('/') || !target.startsWith('..')) return undefined;
    return (await lstat(join(volume, target))).isDirectory() ? target : undefined;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'EINVAL') return undefined;
    throw error;
  }
}

/** Whether the set on disk is the payload: the same files with the same content, mode and owners. */
async function holds(set: string, payload: Payload, gid: number | undefined): Promise<boolean> {
  const entries = await readdir(set, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry: Dirent) => !entry.isDirectory());
  if (files.length !== payload.size) return false;
  for (const [path, file] of payload) {
    if (!(await isSame(join(set, path), file, gid))) return false;
  }
  return true;
}

async function isSame(path: string, file: PayloadFile, gid: number | undefined): Promise<boolean> {
  try {
    const stats = await lstat(path);
    if (!stats.isFile() || stats.size !== file.data.length) return false;
    if ((stats.mode & 0o777) !== file.mode || (file.uid !== undefined && stats.uid !== file.uid)) return false;
    if (gid !== undefined && stats.gid !== gid) return false;
    return file.data.equals(await readFile(path));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

async function writeSet(
  volume: string,
  payload: Payload,
  { gid, now, signal }: { gid: number | undefined; now: number; signal: AbortSignal },
): Promise<string> {
  const stamp = new Date(now).toISOString().slice(0, 19).replace(/[-T:]/g, '_');
  const set = await mkdtemp(join(volume, `..${stamp}.`));
  try {
    const folders = new Set<string>([set]);
    for (const path of payload.keys()) {
      for (let dir = dirname(path); dir !== '.'; dir = dirname(dir)) folders.add(join(set, dir));
    }
    // Parents first, as they are shorter.
    for (const folder of [...folders].sort((a, b) => a.length - b.length)) await makeFolder(folder, set, gid);
    for (const [path, file] of payload) {
      signal.throwIfAborted();
      await writeOne(join(set, path), file, gid);
    }
    const name = set.slice(volume.length + 1);
    await rm(join(volume, newDataLink), { force: true });
    await symlink(name, join(volume, newDataLink));
    await rename(join(volume, newDataLink), join(volume, dataLink));
    return name;
  } catch (error) {
    await rm(set, { recursive: true, force: true });
    throw error;
  }
}

async function makeFolder(path: string, set: string, gid: number | undefined): Promise<void> {
  if (path !== set) await mkdir(path);
  if (gid !== undefined) await chown(path, -1, gid);
  await chmod(path, gid === undefined ? 0o755 : 0o2755);
}

async function writeOne(path: string, file: PayloadFile, gid: number | undefined): Promise<void> {
  // Closed to everybody until owner and mode are right.
  await writeFile(path, file.data, { mode: 0o600, flag: 'wx' });
  if (file.uid !== undefined || gid !== undefined) await chown(path, file.uid ?? -1, gid ?? -1);
  if (file.mode !== 0o600 || file.uid !== undefined) await chmod(path, file.mode);
}

/** Puts the visible links in place and removes what belongs to no set that counts. Resolves with whether it did anything. */
async function removeStale(volume: string, set: string | undefined, wanted: ReadonlySet<string>): Promise<boolean> {
  let changed = false;
  const present = new Set<string>();
  for (const entry of await readdir(volume, { withFileTypes: true })) {
    const path = join(volume, entry.name);
    const isOurs = entry.name === dataLink || entry.name === set;
    if (isOurs) continue;
    if (entry.name.startsWith('..')) {
      await rm(path, { recursive: true, force: true });
    } else if (entry.isSymbolicLink()) {
      if (wanted.has(entry.name) && (await readlink(path)) === `${dataLink}/${entry.name}`) {
        present.add(entry.name);
        continue;
      }
      await unlink(path);
    } else if (wanted.has(entry.name)) {
      await rm(path, { recursive: true, force: true });
    } else {
      continue;
    }
    changed = true;
  }
  for (const name of wanted) {
    if (present.has(name)) continue;
    await symlink(`${dataLink}/${name}`, join(volume, name));
    changed = true;
  }
  return changed;
}
