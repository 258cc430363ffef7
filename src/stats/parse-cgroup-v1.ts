import type { CpuStats, DeviceIo, MemoryStats } from './cgroup-stats.ts';
import { figureOf, lineKey, numberAt } from './parse-text.ts';

/** Texts of a v1 cgroup's files; '' for one that is not there. */
export interface V1MemoryTexts {
  readonly stat: string;
  readonly usage: string;
  readonly maxUsage: string;
  readonly failcnt: string;
  readonly kernel: string;
  readonly oomControl: string;
}

const cache = lineKey('total_cache');
const rss = lineKey('total_rss');
const mappedFile = lineKey('total_mapped_file');
const activeFile = lineKey('total_active_file');
const inactiveFile = lineKey('total_inactive_file');
const swap = lineKey('total_swap');
const pageFaults = lineKey('pgfault');
const majorPageFaults = lineKey('pgmajfault');
const totalPageFaults = lineKey('total_pgfault');
const totalMajorPageFaults = lineKey('total_pgmajfault');
const oomKill = lineKey('oom_kill');

export function parseV1Memory(texts: V1MemoryTexts): MemoryStats {
  const { stat } = texts;
  const usage = numberAt(texts.usage, 0);
  const inactive = figureOf(stat, inactiveFile);
  return {
    usage,
    workingSet: Math.max(0, usage - inactive),
    maxUsage: numberAt(texts.maxUsage, 0),
    cache: figureOf(stat, cache),
    rss: figureOf(stat, rss),
    mappedFile: figureOf(stat, mappedFile),
    activeFile: figureOf(stat, activeFile),
    inactiveFile: inactive,
    kernel: numberAt(texts.kernel, 0),
    swap: figureOf(stat, swap),
    failures: numberAt(texts.failcnt, 0),
    pageFaults: figureOf(stat, pageFaults),
    majorPageFaults: figureOf(stat, majorPageFaults),
    hierarchyPageFaults: figureOf(stat, totalPageFaults),
    hierarchyMajorPageFaults: figureOf(stat, totalMajorPageFaults),
    oomKills: figureOf(texts.oomControl, oomKill),
  };
}

export interface V1CpuTexts {
  /** cpuacct.usage */
  readonly usage: string;
  /** cpuacct.stat */
  readonly ticks: string;
  /** cpu.stat */
  readonly stat: string;
}

/** The kernel counts user and system time in hundredths of a second for us, whatever it uses itself. */
const nanosecondsPerTick = 10_000_000;

const user = lineKey('user');
const system = lineKey('system');
const periods = lineKey('nr_periods');
const throttledPeriods = lineKey('nr_throttled');
const throttledTime = lineKey('throttled_time');

export function parseV1Cpu({ usage, ticks, stat }: V1CpuTexts): CpuStats {
  return {
    usage: numberAt(usage, 0),
    user: figureOf(ticks, user) * nanosecondsPerTick,
    system: figureOf(ticks, system) * nanosecondsPerTick,
    periods: figureOf(stat, periods),
    throttledPeriods: figureOf(stat, throttledPeriods),
    throttled: figureOf(stat, throttledTime),
  };
}

/** blkio.throttle.io_service_bytes and io_serviced: lines of '8:0 Read 4096', and a sum that belongs to no device. */
export function parseV1Io(bytes: string, operations: string): readonly DeviceIo[] {
  // Most containers have touched no disk: their file holds the sum alone.
  if (!bytes.includes(':')) return [];
  const devices = new Map<string, { -readonly [K in keyof DeviceIo]: DeviceIo[K] }>();
  const take = (text: string, read: 'readBytes' | 'reads', write: 'writeBytes' | 'writes') => {
    for (const line of text.split('\n')) {
      const [device = '', operation, value] = line.split(' ');
      if (!device.includes(':')) continue;
      const io = devices.get(device) ?? { device, readBytes: 0, writeBytes: 0, reads: 0, writes: 0 };
      if (operation === 'Read') io[read] = Number(value);
      if (operation === 'Write') io[write] = Number(value);
      devices.set(device, io);
    }
  };
  take(bytes, 'readBytes', 'writeBytes');
  take(operations, 'reads', 'writes');
  return [...devices.values()];
}
