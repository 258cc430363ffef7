import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/*
 * What a test host leaves outside its namespaces: one folder in the temporary folder and one cgroup of
 * the same name in every hierarchy. Everything else (processes, mounts, interfaces, rules) is inside
 * and ends with the host's first process, which ends when the test process does. The name tells which
 * test process it belongs to, so that a later run can remove what a killed one could not.
 */

const PREFIX = 'keelson-test';
const CGROUP_ROOT = '/sys/fs/cgroup';

/** A name for a host of this test process. */
export function hostName(name: string): string {
  return `${PREFIX}-${process.pid}-${startTime(process.pid)}-${name}`;
}

export const hostFolder = (name: string) => join(tmpdir(), name);

/** Removes what test processes that are gone have left. */
export async function cleanUpDeadRuns(): Promise<void> {
  const folders = readdirSync(tmpdir());
  const cgroups = hierarchies().flatMap((hierarchy) => readdirSync(hierarchy));
  for (const name of new Set([...folders, ...cgroups])) {
    const owner = /^keelson-test-(\d+)-(\d+)-/.exec(name);
    if (owner === null || startTime(Number(owner[1])) === owner[2]) continue;
    await removeWithOthers(name);
  }
}

/** Test files run side by side and may find the same remains: the files that one removes vanish under the other. */
async function removeWithOthers(name: string): Promise<void> {
  for (let attempt = 0; remains(name).length > 0; attempt++) {
    try {
      await removeHost(name);
    } catch (error) {
      if (attempt === 20) throw error;
      await delay(100);
    }
  }
}

/** Removes a host's cgroups, with whatever still runs in them, and its folder. Nothing left is a success. */
export async function removeHost(name: string): Promise<void> {
  for (const hierarchy of hierarchies()) await removeCgroup(join(hierarchy, name));
  const folder = hostFolder(name);
  const mounts = mountPointsBelow(folder);
  // Removing through a mount would empty what is mounted.
  if (mounts.length > 0) throw new Error(`not removing ${folder}: ${mounts.join(', ')} still mounted`);
  await rm(folder, { recursive: true, force: true });
}

/** What is left of a host, for tests of the cleaning itself: cgroups, mounts, the folder. */
export function remains(name: string): readonly string[] {
  const cgroups = hierarchies().map((hierarchy) => join(hierarchy, name));
  const folder = hostFolder(name);
  return [...cgroups.filter(existsSync), ...mountPointsBelow(folder), ...[folder].filter(existsSync)];
}

/** The mounted cgroup hierarchies: one per controller on v1, the mount point itself on v2. */
export function hierarchies(): readonly string[] {
  return mountTable()
    .filter(({ target, type }) => /^cgroup2?$/.test(type) && target.startsWith(CGROUP_ROOT))
    .map(({ target }) => target);
}

async function removeCgroup(path: string): Promise<void> {
  if (!existsSync(path)) return;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeCgroup(join(path, entry.name));
  }
  // A killed process leaves its cgroup a moment later; there is no event to await for it on v1.
  for (let attempt = 0; ; attempt++) {
    await killProcesses(path);
    try {
      return await rmdir(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      if (attempt === 100) throw error;
      await delay(50);
    }
  }
}

async function killProcesses(cgroup: string): Promise<void> {
  const frozen = join(cgroup, 'freezer.state');
  if (existsSync(frozen)) await writeFile(frozen, 'THAWED').catch(() => {});
  const pids = await readFile(join(cgroup, 'cgroup.procs'), 'utf8').catch(() => '');
  for (const pid of pids.split('\n').filter((line) => /^[1-9]\d*$/.test(line))) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // Gone in the meantime.
    }
  }
}

function mountPointsBelow(folder: string): readonly string[] {
  return mountTable()
    .map(({ target }) => target)
    .filter((target) => target === folder || target.startsWith(`${folder}/`));
}

function mountTable(): readonly { target: string; type: string }[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [, target = '', type = ''] = line.split(' ');
      return { target, type };
    });
}

/** When the process began, in clock ticks since boot: tells two processes with one number apart. '' when there is none. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
