import { spawn } from 'node:child_process';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../lib/errors.ts';
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
 * Fails with code RootDirLocked, naming the owner's process id, when another process has it.
 */
export async function lockRootDir(dir: string): Promise<RootLock> {
  await mkdir(dir, { recursive: true, mode: 0o750 });
  const path = join(dir, 'keelson.lock');
  const file = await open(path, 'a+', 0o600);
  try {
    await flock(file, path, dir);
    await file.truncate(0);
    await file.write(`${process.pid}\n`);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: () => file.close() };
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
