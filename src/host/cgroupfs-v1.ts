import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import {
  childCgroups,
  containerMemory,
  killAll,
  makeCgroup,
  pidsBelow,
  readV1,
  removeCgroup,
  writeSetting,
} from './cgroup-files.ts';
import { type CgroupName, type CgroupReading, type Cgroups, type CgroupValues, cgroupBusy } from './cgroups.ts';
import { computeV1Settings } from './compute-cgroup-settings.ts';
import type { Hierarchy } from './detect-cgroups.ts';

/**
 * cgroup v1, also on a hybrid host: the same folder in every hierarchy, so that the runtime finds its parent wherever it
 * looks, and a removal leaves nothing of it in any.
 */
export class CgroupfsV1 implements Cgroups {
  readonly version = 1;
  readonly driver = 'cgroupfs';
  readonly #hierarchies: readonly Hierarchy[];
  readonly #clock: Clock;

  constructor(hierarchies: readonly Hierarchy[], clock: Clock) {
    this.#hierarchies = hierarchies;
    this.#clock = clock;
  }

  async ensure(name: CgroupName, values: CgroupValues, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await Promise.all(
      this.#hierarchies.map((h) =>
        h.controllers.includes('cpuset') ? makeCpuset(h.mount, name) : makeCgroup(join(h.mount, ...name)),
      ),
    );
    for (const setting of computeV1Settings(values)) {
      const hierarchy = this.#hierarchies.find((h) => h.controllers.includes(setting.controller));
      // pids and hugetlb may be absent; the ones that pods cannot do without were checked at start.
      if (hierarchy) await writeSetting(join(hierarchy.mount, ...name), setting);
    }
  }

  async remove(name: CgroupName, signal: AbortSignal): Promise<void> {
    const pids = await this.pids(name);
    // Asked first, so that a busy cgroup is left whole instead of missing from half of the hierarchies.
    if (pids.length) throw cgroupBusy(this.criParent(name), pids);
    await Promise.all(this.#paths(name).map((path) => removeCgroup(path, this.#clock, signal)));
  }

  async children(name: CgroupName): Promise<readonly string[]> {
    const found = await Promise.all(this.#paths(name).map(childCgroups));
    return [...new Set(found.flat())].sort();
  }

  async pids(name: CgroupName): Promise<readonly number[]> {
    const found = await Promise.all(this.#paths(name).map(pidsBelow));
    return [...new Set(found.flat())].sort((a, b) => a - b);
  }

  kill(name: CgroupName, signal: AbortSignal): Promise<void> {
    return killAll(this.criParent(name), () => this.pids(name), this.#clock, signal);
  }

  read(name: CgroupName): Promise<CgroupReading | undefined> {
    return readV1({ memory: this.#path('memory', name), cpu: this.#path('cpu', name) });
  }

  containerMemory(name: CgroupName, containerId: string): Promise<number | undefined> {
    return containerMemory(this.#path('memory', name), containerId, 'memory.usage_in_bytes');
  }

  criParent(name: CgroupName): string {
    return `/${name.join('/')}`;
  }

  #path(controller: 'memory' | 'cpu', name: CgroupName): string {
    const hierarchy = this.#hierarchies.find((h) => h.controllers.includes(controller));
    return join(hierarchy?.mount ?? '', ...name);
  }

  #paths(name: CgroupName): string[] {
    return this.#hierarchies.map((h) => join(h.mount, ...name));
  }
}

/** A new cpuset has no CPUs and no memory nodes, and takes no process until it has: it starts with its parent's. */
async function makeCpuset(mount: string, name: CgroupName): Promise<void> {
  for (let depth = 1; depth <= name.length; depth++) {
    const path = join(mount, ...name.slice(0, depth));
    await makeCgroup(path);
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if ((await readFile(join(path, file), 'utf8')).trim()) continue;
      const parents = await readFile(join(path, '..', file), 'utf8');
      await writeSetting(path, { file, value: parents.trim() });
    }
  }
}
