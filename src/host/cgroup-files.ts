import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';
import { cgroupBusy } from './cgroups.ts';
import type { CgroupSetting } from './compute-cgroup-settings.ts';

/** What the drivers share: cgroups as folders, on any hierarchy. */

const gone = (error: unknown) => ['ENOENT', 'ENODEV', 'ENOTDIR'].includes(errnoOf(error) ?? '');

export async function makeCgroup(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o755 });
  } catch (cause) {
    throw new AgentError('CgroupFailed', `cannot create the cgroup ${path}`, { cause });
  }
}

/** Writes the setting; 'r+' because a controller's file is never to be created. */
export async function writeSetting(folder: string, setting: Omit<CgroupSetting, 'controller'>): Promise<void> {
  const path = join(folder, setting.file);
  try {
    await writeFile(path, setting.value, { flag: 'r+' });
  } catch (cause) {
    throw new AgentError('CgroupFailed', `cannot write '${setting.value}' to ${path}`, { cause });
  }
}

/** The names of the cgroups directly below; none when the cgroup is gone. */
export async function childCgroups(path: string): Promise<string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((e) => e.isDirectory()).map((e) => e.name);
  } catch (error) {
    if (gone(error)) return [];
    throw error;
  }
}

/** The processes in the cgroup and below it. */
export async function pidsBelow(path: string): Promise<number[]> {
  const own = await readFile(join(path, 'cgroup.procs'), 'utf8').catch((error: unknown) => {
    // EOPNOTSUPP: a threaded cgroup of v2; its processes are listed by the one above.
    if (gone(error) || errnoOf(error) === 'EOPNOTSUPP') return '';
    throw error;
  });
  const pids = own.split('\n').filter(Boolean).map(Number);
  for (const child of await childCgroups(path)) pids.push(...(await pidsBelow(join(path, child))));
  return pids;
}

/** How often a removal is tried: the kernel frees a cgroup a moment after its last process has been reaped. */
const removeDelaysMs = [10, 20, 40, 80, 160];

/** Removes the cgroup and the cgroups below it, deepest first; one that is gone is a success. */
export async function removeCgroup(path: string, clock: Clock, signal: AbortSignal): Promise<void> {
  for (const delay of [...removeDelaysMs, undefined]) {
    try {
      return await removeOnce(path);
    } catch (error) {
      if (errnoOf(error) !== 'EBUSY') throw error;
      if (delay === undefined) throw cgroupBusy(path, await pidsBelow(path), error);
      await clock.sleep(delay, signal);
    }
  }
}

async function removeOnce(path: string): Promise<void> {
  for (const child of await childCgroups(path)) await removeOnce(join(path, child));
  try {
    await rmdir(path);
  } catch (error) {
    if (!gone(error)) throw error;
  }
}

const killDelaysMs = [5, 10, 20, 50, 100, 200, 500, 1000];

/** Kills what `list` finds until it finds nothing; processes may fork meanwhile, so it looks again each time. */
export async function killAll(
  path: string,
  list: () => Promise<readonly number[]>,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  let pids = await list();
  for (const delay of killDelaysMs) {
    if (!pids.length) return;
    for (const pid of pids) killProcess(pid);
    await clock.sleep(delay, signal);
    pids = await list();
  }
  if (pids.length) throw cgroupBusy(path, pids);
}

function killProcess(pid: number): void {
  // 0 stands for a process outside our PID namespace, and would mean our own group to kill(2).
  if (pid <= 1 || pid === process.pid) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
