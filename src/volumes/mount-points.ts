import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError, errnoOf } from '../lib/errors.ts';

/**
 * Removes `path`, whose entries `depth` levels below are mount points, from which everything has been unmounted; one
 * that is gone is a success. Nothing was ever in them but what was mounted, so they go as what is empty goes: a mount
 * that appears after all (the program that made it had been given up, or its server has come back) is not walked into,
 * whatever the mount table said a moment ago. Fails with code MountedBelow then.
 */
export async function removeMountPoints(path: string, depth: number): Promise<void> {
  if (depth > 0) for (const name of await namesIn(path)) await removeMountPoints(join(path, name), depth - 1);
  try {
    await removeEmpty(path);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return;
    if (errno !== 'EBUSY' && errno !== 'ENOTEMPTY') throw error;
    throw new AgentError('MountedBelow', `will not remove ${path}: a volume belongs there, and it is not empty`, {
      retryable: true,
      hint: `what is in it may be the volume's data: see findmnt ${path} and ls ${path}`,
    });
  }
}

/** What a file is mounted on is a file, which the kernel does not let go either while something is mounted. */
async function removeEmpty(path: string): Promise<void> {
  try {
    await rmdir(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOTDIR') throw error;
    await rm(path, { force: true });
  }
}

async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}
