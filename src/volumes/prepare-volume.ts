import { randomBytes } from 'node:crypto';
import { chmod, chown, lstat, mkdir, readlink, realpath, rename, rm, rmdir, symlink, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { quantityValue } from '../api/quantity.ts';
import type { Mounts } from '../host/mounts.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';
import type { EmptyDirVolume, PayloadVolume } from './compute-volumes.ts';
import { noswap } from './node-memory.ts';
import { fileError } from './volume-error.ts';

/**
 * Makes the folder of an emptyDir, writable to everybody, and where it is to be in memory mounts a tmpfs on it.
 * One that exists is left exactly as it is: its mode and content are the pod's by now.
 */
export async function prepareEmptyDir(volume: EmptyDirVolume, mounts: Mounts, signal: AbortSignal): Promise<void> {
  try {
    if (volume.medium === 'disk') await makeOpenFolder(volume);
    else if (volume.medium === 'memory') await mountMemory(volume, mounts, signal);
    else await mountHugePages(volume, mounts, signal);
  } catch (error) {
    throw fileError(volume.path, error);
  }
}

async function makeOpenFolder({ path, gid, sticky }: EmptyDirVolume): Promise<void> {
  if (await lstatIfExists(path)) return;
  const parent = dirname(path);
  await mkdir(parent, { recursive: true, mode: 0o750 });
  // Appears with its owner and mode or not at all: a crash in between would leave a folder that the pod cannot write.
  const fresh = join(parent, `.new-${randomBytes(6).toString('hex')}`);
  await mkdir(fresh);
  try {
    if (gid !== undefined) await chown(fresh, -1, gid);
    await chmod(fresh, 0o777 | (gid === undefined ? 0 : 0o2000) | (sticky ? 0o1000 : 0));
    await rename(fresh, path);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw error;
  }
}

async function mountMemory(volume: EmptyDirVolume, mounts: Mounts, signal: AbortSignal): Promise<void> {
  const { path, gid, sizeBytes } = volume;
  await mkdir(path, { recursive: true, mode: 0o750 });
  const real = await realpath(path);
  if (await isMounted(mounts, real)) return;
  const options = [
    ...(gid === undefined ? ['mode=1777'] : ['mode=3777', `gid=${gid}`]),
    ...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`]),
    ...noswap(),
  ];
  await mounts.mount('tmpfs', real, 'tmpfs', options, signal);
}

/** The kernel takes the pages when they are written to, out of those that the pod's cgroup is allowed. */
async function mountHugePages(volume: EmptyDirVolume, mounts: Mounts, signal: AbortSignal): Promise<void> {
  const { path, gid, pageSize = '' } = volume;
  await mkdir(path, { recursive: true, mode: 0o750 });
  const real = await realpath(path);
  const present = (await mounts.list()).find((mount) => mount.target === real);
  if (!present) {
    const options = [`pagesize=${pageSize}`, ...(gid === undefined ? [] : ['mode=0775', `gid=${gid}`])];
    await mounts.mount('nodev', real, 'hugetlbfs', options, signal);
    // Not to be had as an option of the mount.
    if (gid !== undefined) await chmod(real, 0o2775);
    return;
  }
  // Of an earlier life, when the pod's manifest may have said something else.
  const mounted = [...present.options, ...(present.superOptions ?? [])]
    .find((o) => o.startsWith('pagesize='))
    ?.slice(9);
  if (mounted !== undefined && quantityValue(`${mounted}i`) !== quantityValue(pageSize)) {
    throw new AgentError(
      'HugePageSize',
      `mounted dir ${path} pagesize '${mounted}' and requested medium size '${pageSize}' differ`,
    );
  }
}

/**
 * Makes the folder for the files of a configMap, secret, downwardAPI or projected volume and resolves with its real
 * path: in the node's tmpfs, behind a link, for what must not touch the disk. A tmpfs that a kubelet mounted in the
 * volume's place before us is used as it is, because running containers have it.
 */
export async function preparePayloadFolder(volume: PayloadVolume, mounts: Mounts): Promise<string> {
  const { path, memoryPath, gid } = volume;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o750 });
    if (memoryPath === undefined) {
      await makeReadableFolder(path, 0o777, gid);
      return path;
    }
    const present = await lstatIfExists(path);
    if (present?.isDirectory() && (await isMounted(mounts, await realpath(path)))) return path;
    await mkdir(dirname(memoryPath), { recursive: true, mode: 0o700 });
    await makeReadableFolder(memoryPath, 0o1777, gid);
    if (present?.isSymbolicLink() && (await readlink(path)) === memoryPath) return memoryPath;
    if (present) await (present.isDirectory() ? removeEmpty(path) : unlink(path));
    await symlink(memoryPath, path);
    return memoryPath;
  } catch (error) {
    throw fileError(path, error);
  }
}

async function makeReadableFolder(path: string, base: number, gid: number | undefined): Promise<void> {
  const mode = gid === undefined ? base : base | 0o2000;
  await mkdir(path, { recursive: true });
  const stats = await lstat(path);
  if (gid !== undefined && stats.gid !== gid) await chown(path, -1, gid);
  if ((stats.mode & 0o7777) !== mode) await chmod(path, mode);
}

async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY') throw error;
    throw new AgentError('SecretOnDisk', `${path} is a folder on disk with something in it`, {
      hint: `nobody should have written there; when it is not needed: rm -r ${path}`,
      retryable: true,
    });
  }
}

async function isMounted(mounts: Mounts, realPath: string): Promise<boolean> {
  return (await mounts.list()).some((mount) => mount.target === realPath);
}

async function lstatIfExists(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
