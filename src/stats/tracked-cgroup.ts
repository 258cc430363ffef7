import type { CgroupFolder } from './cgroup-reader.ts';
import type { CgroupStats } from './cgroup-stats.ts';
import { CpuRate } from './cpu-rate.ts';
import { type ProcessStats, readProcesses } from './processes.ts';

/** As often as upstream: every descriptor of every process costs a look. */
const processesAgeMs = 10_000;

/** What is remembered of a cgroup between two passes. */
export class TrackedCgroup {
  readonly folder: CgroupFolder;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly #rate = new CpuRate();
  #processes: { readonly stats: ProcessStats; readonly at: number } | undefined;

  constructor(folder: CgroupFolder, startedAt: number) {
    this.folder = folder;
    this.startedAt = startedAt;
  }

  /** `now` on the wall clock, `moment` on the one that only goes forward; undefined when the cgroup is gone. */
  async read(
    now: number,
    moment: number,
  ): Promise<{ stats: CgroupStats; nanoCores: number | undefined; processes: ProcessStats } | undefined> {
    const stats = this.folder.read(now);
    if (!stats) return undefined;
    this.#rate.add(stats.cpu.usage, moment);
    if (!this.#processes || moment - this.#processes.at > processesAgeMs) {
      this.#processes = { stats: await readProcesses(this.folder.processes()), at: moment };
    }
    return { stats, nanoCores: this.#rate.nanoCores, processes: this.#processes.stats };
  }

  /** Takes note of the CPU used so far. */
  count(moment: number): void {
    const usage = this.folder.cpuUsage();
    if (usage !== undefined) this.#rate.add(usage, moment);
  }
}
