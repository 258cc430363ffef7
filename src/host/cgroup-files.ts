import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';
import { type CgroupReading, cgroupBusy } from './cgroups.ts';
import { type CgroupSetting, sharesOfWeight } from './compute-cgroup-settings.ts';

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

/** The folders of one cgroup in the hierarchies that bound memory and CPU; the same one on v2. */
export interface ControllerFolders {
  readonly memory: string;
  readonly cpu: string;
}

/** What a cgroup of v1 has and uses; undefined when it is gone. */
export async function readV1({ memory, cpu }: ControllerFolders): Promise<CgroupReading | undefined> {
  const files = [
    join(memory, 'memory.limit_in_bytes'),
    join(memory, 'memory.usage_in_bytes'),
    join(cpu, 'cpu.cfs_quota_us'),
    join(cpu, 'cpu.shares'),
  ];
  const texts = await Promise.all(files.map(readOrGone));
  const [memoryLimit = 0, memoryUsage = 0, cpuQuota = 0, cpuShares = 0] = texts.map(Number);
  if (texts.includes(undefined)) return undefined;
  return { memoryLimit: memoryLimit >= v1Unlimited ? -1 : memoryLimit, memoryUsage, cpuQuota, cpuShares };
}

/** The kernel says the largest number of whole pages. */
const v1Unlimited = 2 ** 62;

/** What a cgroup of v2 has and uses; undefined when it is gone. */
export async function readV2(path: string): Promise<CgroupReading | undefined> {
  const texts = await Promise.all(
    ['memory.max', 'memory.current', 'cpu.max', 'cpu.weight'].map((f) => readOrGone(join(path, f))),
  );
  if (texts.includes(undefined)) return undefined;
  const [max = 'max', current = '0', cpu = 'max', weight = '1'] = texts.map((text) => text ?? '');
  const [quota = 'max'] = cpu.split(' ');
  return {
    memoryLimit: max === 'max' ? -1 : Number(max),
    memoryUsage: Number(current),
    cpuQuota: quota === 'max' ? -1 : Number(quota),
    cpuShares: sharesOfWeight(Number(weight)),
  };
}

/** Memory used by the container whose cgroup is below `pod`: runtimes name it by the id, alone or in a scope's name. */
export async function containerMemory(pod: string, id: string, file: string): Promise<number | undefined> {
  const child = (await childCgroups(pod)).find((name) => name.includes(id));
  const text = child === undefined ? undefined : await readOrGone(join(pod, child, file));
  return text === undefined ? undefined : Number(text);
}

const readOrGone = (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').then(
    (text) => text.trim(),
    (error: unknown) => {
      if (gone(error)) return undefined;
      throw error;
    },
  );
