import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { errnoOf } from '../lib/errors.ts';
import {
  childCgroups,
  containerMemory,
  killAll,
  makeCgroup,
  pidsBelow,
  readV2,
  removeCgroup,
  writeSetting,
} from './cgroup-files.ts';
import { type CgroupName, type CgroupReading, type Cgroups, type CgroupValues, cgroupBusy } from './cgroups.ts';
import { computeV2Settings } from './compute-cgroup-settings.ts';

/** cgroup v2, written directly. */
export class CgroupfsV2 implements Cgroups {
  readonly version = 2;
  readonly driver = 'cgroupfs';
  readonly #mount: string;
  readonly #clock: Clock;

  constructor(mount: string, clock: Clock) {
    this.#mount = mount;
    this.#clock = clock;
  }

  async ensure(name: CgroupName, values: CgroupValues, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    for (let depth = 0; depth < name.length; depth++) {
      const parent = join(this.#mount, ...name.slice(0, depth));
      await makeCgroup(parent);
      await enableControllers(parent);
    }
    const path = this.#path(name);
    await makeCgroup(path);
    await writeV2Values(path, values);
  }

  async remove(name: CgroupName, signal: AbortSignal): Promise<void> {
    const pids = await this.pids(name);
    if (pids.length) throw cgroupBusy(this.criParent(name), pids);
    await removeCgroup(this.#path(name), this.#clock, signal);
  }

  async children(name: CgroupName): Promise<readonly string[]> {
    return (await childCgroups(this.#path(name))).sort();
  }

  pids(name: CgroupName): Promise<readonly number[]> {
    return pidsBelow(this.#path(name));
  }

  kill(name: CgroupName, signal: AbortSignal): Promise<void> {
    return killV2(this.#path(name), this.#clock, signal);
  }

  read(name: CgroupName): Promise<CgroupReading | undefined> {
    return readV2(this.#path(name));
  }

  containerMemory(name: CgroupName, containerId: string): Promise<number | undefined> {
    return containerMemory(this.#path(name), containerId, 'memory.current');
  }

  criParent(name: CgroupName): string {
    return `/${name.join('/')}`;
  }

  #path(name: CgroupName): string {
    return join(this.#mount, ...name);
  }
}

/** Lets the cgroups below `path` use every controller that it has itself. */
export async function enableControllers(path: string): Promise<void> {
  const words = async (file: string) => (await readFile(join(path, file), 'utf8')).split(/\s+/).filter(Boolean);
  const enabled = new Set(await words('cgroup.subtree_control'));
  for (const controller of await words('cgroup.controllers')) {
    if (enabled.has(controller)) continue;
    try {
      await writeSetting(path, { file: 'cgroup.subtree_control', value: `+${controller}` });
    } catch (error) {
      // One controller that refuses (cpu does while real-time processes live in the root) must not cost us the others;
      // what pods need was checked at start, and writing a value to a controller that is off fails loudly.
      if (errnoOf((error as Error).cause) === undefined) throw error;
    }
  }
}

/** Writes the values to the cgroup's files; huge page sizes that the kernel does not have are left out. */
export async function writeV2Values(path: string, values: CgroupValues): Promise<void> {
  for (const setting of computeV2Settings(values)) {
    try {
      await writeSetting(path, setting);
    } catch (error) {
      const missing = errnoOf((error as Error).cause) === 'ENOENT';
      if (!missing || (setting.controller !== 'hugetlb' && setting.controller !== 'pids')) throw error;
    }
  }
}

/** cgroup.kill (Linux 5.14) catches processes that fork meanwhile; without it they are killed one by one. */
export async function killV2(path: string, clock: Clock, signal: AbortSignal): Promise<void> {
  await writeSetting(path, { file: 'cgroup.kill', value: '1' }).catch((error: unknown) => {
    if (errnoOf((error as Error).cause) !== 'ENOENT') throw error;
  });
  await killAll(path, () => pidsBelow(path), clock, signal);
}
