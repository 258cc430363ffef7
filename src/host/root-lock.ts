import { spawn } from 'node:child_process';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError, errnoOf, messageOf } from '../lib/errors.ts';
import { notFound } from './exec.ts';

/**
 * One keelson per root directory. The lock is flock(2) on `<dir>/keelson.lock`: the kernel grants it to one at a time
 * and drops it with the last descriptor, so also at kill -9 and with no window in which a dead owner's lock is "stolen".
 * (A socket name would be scoped to a network namespace; a pid file has that window.) Node has no flock, but the lock
 * belongs to the open file description, not to a process: flock(1) takes it on the descriptor it inherits from us and
 * exits, and ours keeps it. Node opens files close-on-exec, so no other child carries it on.
 */
export interface RootLock extends AsyncDisposable {
  readonly path: string;
}

/** flock(1)'s own status for "somebody else holds it", chosen so that its other failures are told apart. */
const heldStatus = 42;

/**
 * Creates `dir` where it is missing and locks it until disposed or the process ends.
 * Fails with code RootDirLocked, naming the owner's process id, when another process has it, and with
 * RootDirUnusable when no file can be kept there.
 */
export async function lockRootDir(dir: string): Promise<RootLock> {
  const path = join(dir, 'keelson.lock');
  const file = await openIn(dir, path);
  try {
    await flock(file, path, dir);
    await signWith(file, process.pid);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: () => file.close() };
}

async function openIn(dir: string, path: string): Promise<FileHandle> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o750 });
    return await open(path, 'a+', 0o600);
  } catch (error) {
    const { problem, hint } = explain(error, dir);
    throw new AgentError('RootDirUnusable', `the root directory ${dir} cannot be used: ${problem}`, { hint });
  }
}

function explain(error: unknown, dir: string): { problem: string; hint: string } {
  const elsewhere = 'or give another --root-dir';
  switch (errnoOf(error)) {
    case 'EROFS':
      return { problem: 'its file system is read-only', hint: `mount it read-write, ${elsewhere}` };
    case 'EEXIST':
    case 'ENOTDIR':
      return { problem: 'a file is in its place', hint: `move that file away, ${elsewhere}` };
    case 'ENOSPC':
    case 'EDQUOT':
      return {
        problem: 'no space is left on its file system',
        hint: `free space or inodes: df -h ${dir}; df -i ${dir}`,
      };
    case 'EACCES':
    case 'EPERM':
      return { problem: 'permission denied', hint: `keelson must run as root; make ${dir} writable, ${elsewhere}` };
    default:
      return { problem: messageOf(error), hint: `make it a folder that root can write to, ${elsewhere}` };
  }
}

/** Leaves the owner's process id for the message above. A full disk is no reason not to start: pods run on it. */
async function signWith(file: FileHandle, pid: number): Promise<void> {
  try {
    await file.truncate(0);
    await file.write(`${pid}\n`);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ENOSPC' && errno !== 'EDQUOT') throw error;
  }
}

async function flock(file: FileHandle, path: string, dir: string): Promise<void> {
  const status = await new Promise<number | null>((resolve, reject) => {
    const child = spawn('flock', ['--nonblock', '--conflict-exit-code', String(heldStatus), '3'], {
      stdio: ['ignore', 'ignore', 'ignore', file.fd],
    });
    child.once('error', (error) => reject(notFound('flock', error)));
    child.once('exit', resolve);
  });
  if (status === 0) return;
  if (status !== heldStatus) {
    throw new AgentError('LockFailed', `cannot lock ${path}: flock ended with ${status}`, {
      hint: `${dir} must be on a local file system that supports locks`,
    });
  }
  const owner = await ownerOf(file);
  throw new AgentError('RootDirLocked', `another keelson${owner} already runs on the root directory ${dir}`, {
    hint: 'stop that one, or give this one another --root-dir',
  });
}

async function ownerOf(file: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0);
  const pid = buffer.toString('utf8', 0, bytesRead).trim();
  return /^\d+$/.test(pid) ? ` (process ${pid})` : '';
}
