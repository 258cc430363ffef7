import { mkdir, realpath, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Exec, ExecError } from '../host/exec.ts';
import { mountsUnder } from '../host/mount-table.ts';
import type { Mounts } from '../host/mounts.ts';
import type { RemoteFiles } from '../host/remote-files.ts';
import { AgentError, errnoOf, messageOf } from '../lib/errors.ts';
import type { LocalVolume } from './compute-persistent-volume.ts';
import type { NfsVolume } from './compute-volumes.ts';
import { fileError, VolumeStepError } from './volume-error.ts';

/** Making and checking a file system takes as long as the disk is large. */
const formatTimeoutMs = 600_000;
const probeTimeoutMs = 30_000;

export interface LocalHost {
  readonly mounts: Mounts;
  /** The folder may be one of a server all the same. */
  readonly files: RemoteFiles;
  readonly exec: Exec;
}

/** Resolves with the block device's path. */
export async function openLocalDevice({ name, source }: LocalVolume): Promise<string> {
  const stats = await statOf(name, source, 'MapVolume.NewBlockVolumeMapper initialization failed');
  if (stats.isBlockDevice()) return realpath(source);
  const error = new Error(`${source} is not a block device`);
  throw VolumeStepError.of('MapVolume.MapPodDevice failed', name, error);
}

/**
 * Mounts a folder of the host, or the file system on a block device of it, in the pod's folder. Resolves with whether
 * it was not there before. A device without a file system gets one; it is mounted once, however many pods share it.
 */
export async function mountLocal(volume: LocalVolume, host: LocalHost, signal: AbortSignal): Promise<boolean> {
  const { name, source, path, globalPath, readOnly, mountOptions } = volume;
  const step = 'MountVolume.NewMounter initialization failed';
  const { stats, real } = await host.files.use(source, signal, async () => {
    const found = await statOf(name, source, step);
    return { stats: found, real: await realpath(source) };
  });
  if (!stats.isDirectory() && !stats.isBlockDevice()) {
    throw VolumeStepError.of(step, name, new Error('only directory and block device are supported'));
  }
  const target = await mountPointAt(path);
  if (await isMounted(host.mounts, target)) return false;
  if (stats.isBlockDevice()) {
    await mountDevice(volume, host, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw VolumeStepError.of('MountVolume.MountDevice failed', name, error);
    });
  }
  const from = stats.isBlockDevice() ? globalPath : real;
  const options = ['bind', ...(readOnly ? ['ro'] : []), ...mountOptions];
  await mountOrClean(host.mounts, from, target, '', options, signal);
  return true;
}

/** Mounts an export of an NFS server in the pod's folder. */
export async function mountNfs(
  { path, source, options }: NfsVolume,
  mounts: Mounts,
  signal: AbortSignal,
): Promise<void> {
  const target = await mountPointAt(path);
  if (await isMounted(mounts, target)) return;
  try {
    await mountOrClean(mounts, source, target, 'nfs', options, signal);
  } catch (error) {
    // mount(8) cannot do it by itself.
    if (!(error instanceof ExecError) || !error.stderr.includes('helper program')) throw error;
    throw new AgentError('NfsMissing', 'this node has no program to mount NFS', {
      cause: error,
      hint: 'install it: apt-get install nfs-common',
      retryable: true,
    });
  }
}

/** Mounts on a new folder, and leaves none behind that a container could take for the volume. */
async function mountOrClean(
  mounts: Mounts,
  source: string,
  target: string,
  type: string,
  options: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  try {
    await mkdir(target, { mode: 0o750 }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw fileError(target, error);
    });
    await mounts.mount(source, target, type, options, signal);
  } catch (error) {
    await rmdir(target).catch(() => {});
    throw error;
  }
}

/** The real path of a mount point, which is how the kernel names it. Does not look at it: its server may be away. */
async function mountPointAt(path: string): Promise<string> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o750 });
    return join(await realpath(dirname(path)), basename(path));
  } catch (error) {
    throw fileError(path, error);
  }
}

const isMounted = async (mounts: Mounts, target: string): Promise<boolean> =>
  (await mounts.list()).some((mount) => mount.target === target);

/** Unmounts the devices that were mounted for all pods and that no pod has mounted any more. */
export async function releaseDevices(
  globalDir: string,
  podsDir: string,
  mounts: Mounts,
  signal: AbortSignal,
): Promise<void> {
  const table = await mounts.list();
  const used = new Set(mountsUnder(table, podsDir).map(({ device }) => device));
  for (const { target, device } of table.filter((mount) => dirname(mount.target) === globalDir)) {
    if (used.has(device)) continue;
    await mounts.unmount(target, signal);
    await rmdir(target);
  }
}

async function mountDevice(volume: LocalVolume, host: LocalHost, signal: AbortSignal): Promise<void> {
  const { source, globalPath, readOnly, mountOptions, fsType } = volume;
  const target = await mountPointAt(globalPath);
  if (await isMounted(host.mounts, target)) return;
  const found = await ensureFileSystem(source, { fsType, readOnly }, host.exec, signal);
  const options = [...(readOnly ? ['ro'] : []), ...mountOptions, 'defaults'];
  try {
    await mountOrClean(host.mounts, source, target, fsType, options, signal);
  } catch (error) {
    const other = found !== '' && found !== fsType;
    const why = `failed to mount the volume as ${JSON.stringify(fsType)}, it already contains ${found}. Mount error: `;
    const message = `${other ? why : ''}${messageOf(error)}`;
    throw new Error(`local: failed to mount device ${source} at ${globalPath} (fstype: ${fsType}), error ${message}`);
  }
}

/**
 * Makes a file system on a device that has none, and checks the one that it has. Resolves with what was on it before,
 * '' for nothing.
 */
export async function ensureFileSystem(
  device: string,
  { fsType, readOnly }: { readonly fsType: string; readonly readOnly: boolean },
  exec: Exec,
  signal: AbortSignal,
): Promise<string> {
  const found = await fileSystemOn(device, exec, signal);
  if (found !== '') {
    if (!readOnly) await check(device, exec, signal);
    return found;
  }
  if (readOnly) throw new Error('cannot mount unformatted disk as we are manipulating it in read-only mode');
  await format(device, fsType, exec, signal);
  return found;
}

/** What blkid(8) makes of the device; '' only for one on which there is nothing at all. */
async function fileSystemOn(device: string, exec: Exec, signal: AbortSignal): Promise<string> {
  try {
    const args = ['-p', '-s', 'TYPE', '-s', 'PTTYPE', '-o', 'export', device];
    const { stdout } = await exec.run('blkid', args, { signal, timeoutMs: probeTimeoutMs });
    const type = /^TYPE=(.*)$/m.exec(stdout)?.[1];
    return type || 'unknown data, probably partitions';
  } catch (error) {
    // Nothing was recognised.
    if (error instanceof ExecError && error.exitCode === 2 && error.stderr.trim() === '') return '';
    throw error;
  }
}

async function format(device: string, fsType: string, exec: Exec, signal: AbortSignal): Promise<void> {
  const isExt = fsType === 'ext4' || fsType === 'ext3';
  const args = isExt ? ['-F', '-m0', device] : fsType === 'xfs' ? ['-f', device] : [device];
  await exec.run(`mkfs.${fsType}`, args, { signal, timeoutMs: formatTimeoutMs });
}

/** Repairs what a crash left; a file system that cannot be repaired must not be mounted. */
async function check(device: string, exec: Exec, signal: AbortSignal): Promise<void> {
  try {
    await exec.run('fsck', ['-a', device], { signal, timeoutMs: formatTimeoutMs });
  } catch (error) {
    signal.throwIfAborted();
    // 1: repaired. Others than 4 (errors are left) say that there was nothing to check with.
    if (!(error instanceof ExecError) || error.exitCode !== 4) return;
    throw new AgentError('FileSystemErrors', `'fsck' found errors on device ${device} but could not correct them`, {
      cause: error,
      hint: `repair it by hand: fsck ${device}`,
    });
  }
}

async function statOf(name: string, path: string, step: string) {
  try {
    return await stat(path);
  } catch (error) {
    const isGone = errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
    throw VolumeStepError.of(step, name, isGone ? new Error(`path ${JSON.stringify(path)} does not exist`) : error);
  }
}

/** Where devices are mounted for all pods, one folder for each volume. */
export const globalMounts = (rootDir: string): string => join(rootDir, 'plugins/kubernetes.io/local-volume/mounts');
