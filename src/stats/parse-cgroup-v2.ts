import type { CpuStats, DeviceIo, MemoryStats } from './cgroup-stats.ts';
import { figureOf, lineKey, numberAt } from './parse-text.ts';

/** Texts of a v2 cgroup's files; '' for one that is not there, as at the root. */
export interface V2MemoryTexts {
  readonly stat: string;
  readonly current: string;
  readonly peak: string;
  readonly events: string;
  readonly swap: string;
}

const file = lineKey('file');
const anon = lineKey('anon');
const mappedFile = lineKey('file_mapped');
const activeFile = lineKey('active_file');
const inactiveFile = lineKey('inactive_file');
const kernel = lineKey('kernel');
const pageFaults = lineKey('pgfault');
const majorPageFaults = lineKey('pgmajfault');
const max = lineKey('max');
const oomKill = lineKey('oom_kill');

export function parseV2Memory(texts: V2MemoryTexts): MemoryStats {
  const { stat } = texts;
  const usage = numberAt(texts.current, 0);
  const inactive = figureOf(stat, inactiveFile);
  const [faults, majorFaults] = [figureOf(stat, pageFaults), figureOf(stat, majorPageFaults)];
  return {
    usage,
    workingSet: Math.max(0, usage - inactive),
    maxUsage: numberAt(texts.peak, 0),
    cache: figureOf(stat, file),
    rss: figureOf(stat, anon),
    mappedFile: figureOf(stat, mappedFile),
    activeFile: figureOf(stat, activeFile),
    inactiveFile: inactive,
    kernel: figureOf(stat, kernel),
    swap: numberAt(texts.swap, 0),
    failures: figureOf(texts.events, max),
    pageFaults: faults,
    majorPageFaults: majorFaults,
    hierarchyPageFaults: faults,
    hierarchyMajorPageFaults: majorFaults,
    oomKills: figureOf(texts.events, oomKill),
  };
}

const nanosecondsPerMicrosecond = 1_000;

const usage = lineKey('usage_usec');
const user = lineKey('user_usec');
const system = lineKey('system_usec');
const periods = lineKey('nr_periods');
const throttledPeriods = lineKey('nr_throttled');
const throttledTime = lineKey('throttled_usec');

/** cpu.stat, which every cgroup has, whether or not its controller is on. */
export function parseV2Cpu(stat: string): CpuStats {
  return {
    usage: figureOf(stat, usage) * nanosecondsPerMicrosecond,
    user: figureOf(stat, user) * nanosecondsPerMicrosecond,
    system: figureOf(stat, system) * nanosecondsPerMicrosecond,
    periods: figureOf(stat, periods),
    throttledPeriods: figureOf(stat, throttledPeriods),
    throttled: figureOf(stat, throttledTime) * nanosecondsPerMicrosecond,
  };
}

/** io.stat: lines of '8:0 rbytes=… wbytes=… rios=… wios=…'; a device that was never used has no figures. */
export function parseV2Io(text: string): readonly DeviceIo[] {
  if (!text.includes('rbytes=')) return [];
  return text.split('\n').flatMap((line) => {
    const [device = '', ...fields] = line.split(' ');
    const values = Object.fromEntries(fields.map((field) => field.split('=')));
    if (values['rbytes'] === undefined) return [];
    const value = (name: string) => Number(values[name] ?? 0);
    return [
      { device, readBytes: value('rbytes'), writeBytes: value('wbytes'), reads: value('rios'), writes: value('wios') },
    ];
  });
}
