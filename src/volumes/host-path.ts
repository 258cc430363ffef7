import { mkdir, open, stat } from 'node:fs/promises';
import { AgentError, errnoOf } from '../lib/errors.ts';
import { fileError } from './volume-error.ts';

/**
 * Checks, and for the OrCreate types makes, what a hostPath volume names (core/v1 HostPathType). Links are followed.
 * Type '' checks nothing: the runtime makes a folder where there is nothing. Fails with upstream's sentence.
 */
export async function ensureHostPath(path: string, type: string, signal: AbortSignal): Promise<void> {
  if (type === '') return;
  const stats = await statIfExists(path);
  signal.throwIfAborted();
  const fail = (what: string): never => {
    throw new AgentError('HostPathType', `hostPath type check failed: ${path} is not ${what}`, { retryable: true });
  };
  switch (type) {
    case 'DirectoryOrCreate':
      if (!stats) await makeFolder(path);
      else if (!stats.isDirectory()) fail('a directory');
      return;
    case 'Directory':
      if (!stats?.isDirectory()) fail('a directory');
      return;
    case 'FileOrCreate':
      if (!stats) await makeFile(path);
      else if (!stats.isFile()) fail('a file');
      return;
    case 'File':
      if (!stats?.isFile()) fail('a file');
      return;
    case 'Socket':
      if (!stats?.isSocket()) fail('a socket file');
      return;
    case 'CharDevice':
      if (!stats?.isCharacterDevice()) fail('a character device');
      return;
    case 'BlockDevice':
      if (!stats?.isBlockDevice()) fail('a block device');
      return;
    default:
      throw new AgentError('HostPathType', `${type} is an invalid volume type`, {
        hint: 'use DirectoryOrCreate, Directory, FileOrCreate, File, Socket, CharDevice, BlockDevice or none',
      });
  }
}

async function statIfExists(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw fileError(path, error);
  }
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw fileError(path, error);
  }
}

/** The parent folder must exist, as upstream has it. */
async function makeFile(path: string): Promise<void> {
  try {
    await (await open(path, 'a', 0o644)).close();
  } catch (error) {
    throw fileError(path, error);
  }
}
