import { mkdir, realpath } from 'node:fs/promises';
import { release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Mounts } from '../host/mounts.ts';
import { fileError } from './volume-error.ts';

/**
 * The node's one tmpfs for secrets and tokens, `<root>/keelson/memory`: what is in it never touches the disk, and a
 * pod costs a folder there where it would cost a mount and a process. Nobody but root gets through its parent;
 * containers see a folder of it through a bind mount, for which the parents' permissions do not count.
 *
 * It outlives keelson, and is empty after a reboot. Mounts it where it is not; resolves with its real path.
 */
export async function openNodeMemory(
  rootDir: string,
  mounts: Mounts,
  options: { readonly sizeBytes?: number; readonly signal: AbortSignal },
): Promise<string> {
  const path = join(rootDir, 'keelson', 'memory');
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fileError(path, error);
  }
  const real = await realpath(path);
  const mounted = (await mounts.list()).some((mount) => mount.target === real && mount.type === 'tmpfs');
  if (!mounted) {
    const size = options.sizeBytes ?? Math.floor(totalmem() / 10);
    // Small files take a page each, and the kernel's memory for an inode on top: bound their number as well.
    const inodes = Math.max(4096, Math.floor(size / 4096));
    const flags = ['nosuid', 'nodev', 'mode=0700', `size=${size}`, `nr_inodes=${inodes}`];
    await mounts.mount('keelson', real, 'tmpfs', [...flags, ...noswap()], options.signal);
  }
  return real;
}

/** Keeps a tmpfs out of swap where the kernel can, tmpfs(5): since Linux 6.4. */
export function noswap(kernel: string = release()): readonly string[] {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 4) ? ['noswap'] : [];
}
