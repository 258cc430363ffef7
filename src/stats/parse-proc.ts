/** Files of /proc, parsed. */

export interface InterfaceStats {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/** Interfaces that tell nothing of their own: what passes them is counted elsewhere. As cAdvisor leaves them out. */
const isInner = (name: string) => name === 'lo' || /^(veth|docker|nerdctl)/.test(name);

/** /proc/<pid>/net/dev: the interfaces of that process's network namespace. */
export function parseNetDev(text: string): readonly InterfaceStats[] {
  return text.split('\n').flatMap((line) => {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).trim();
    if (!name || isInner(name)) return [];
    const values = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    const [rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0, , , , , ...sent] = values;
    const [txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0] = sent;
    return [{ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }];
  });
}

export interface MemoryInfo {
  /** Bytes. */
  readonly total: number;
  readonly free: number;
  readonly swapTotal: number;
  readonly swapFree: number;
}

/** /proc/meminfo. */
export function parseMemoryInfo(text: string): MemoryInfo {
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return {
    total: field('MemTotal'),
    free: field('MemFree'),
    swapTotal: field('SwapTotal'),
    swapFree: field('SwapFree'),
  };
}

/** Tasks of the whole host, from /proc/loadavg: '0.20 0.18 0.12 1/80 11206'. */
export function parseTaskCount(loadavg: string): number {
  return Number(/^\S+ \S+ \S+ \d+\/(\d+)/.exec(loadavg)?.[1] ?? 0);
}

/** When the host was started, milliseconds since the epoch, from /proc/stat. */
export function parseBootTime(stat: string): number {
  return Number(/^btime (\d+)$/m.exec(stat)?.[1] ?? 0) * 1000;
}

/** The soft limit of open files in /proc/<pid>/limits; Infinity is none, undefined not known. */
export function parseOpenFilesLimit(limits: string): number | undefined {
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}

export interface CpuTopology {
  readonly cores: number;
  readonly sockets: number;
}

/** Physical cores and sockets in /proc/cpuinfo; where it does not tell (ARM, some machines), each processor is a core. */
export function parseCpuTopology(cpuinfo: string): CpuTopology {
  const processors = cpuinfo.split(/\n\s*\n/).filter((block) => /^processor\s*:/m.test(block));
  const cores = new Set<string>();
  const sockets = new Set<string>();
  for (const [index, block] of processors.entries()) {
    const socket = /^physical id\s*:\s*(\d+)$/m.exec(block)?.[1] ?? '0';
    sockets.add(socket);
    cores.add(`${socket}:${/^core id\s*:\s*(\d+)$/m.exec(block)?.[1] ?? `processor ${index}`}`);
  }
  return { cores: cores.size, sockets: sockets.size };
}

/** What a disk has done since boot, iostats(5) of the kernel's documentation. */
export interface DiskStats {
  readonly name: string;
  readonly reads: number;
  readonly readsMerged: number;
  readonly sectorsRead: number;
  readonly readMs: number;
  readonly writes: number;
  readonly writesMerged: number;
  readonly sectorsWritten: number;
  readonly writeMs: number;
  readonly inFlight: number;
  readonly ioMs: number;
  readonly weightedIoMs: number;
}

/** /proc/diskstats, by '8:0'. */
export function parseDiskStats(text: string): ReadonlyMap<string, DiskStats> {
  const disks = new Map<string, DiskStats>();
  for (const line of text.split('\n')) {
    const [major, minor, name, ...figures] = line.trim().split(/\s+/);
    if (name === undefined) continue;
    const [reads = 0, readsMerged = 0, sectorsRead = 0, readMs = 0, ...rest] = figures.map(Number);
    const [writes = 0, writesMerged = 0, sectorsWritten = 0, writeMs = 0, inFlight = 0, ioMs = 0, weightedIoMs = 0] =
      rest;
    const reading = { reads, readsMerged, sectorsRead, readMs };
    const writing = { writes, writesMerged, sectorsWritten, writeMs };
    disks.set(`${major}:${minor}`, { name, ...reading, ...writing, inFlight, ioMs, weightedIoMs });
  }
  return disks;
}

/** Where the process is, of /proc/<pid>/cgroup: in the hierarchy that counts memory on v1. Undefined when it does not say. */
export function parseOwnCgroup(text: string, version: 1 | 2): string | undefined {
  const line = text
    .split('\n')
    .map((l) => /^\d+:([^:]*):(\/.*)$/.exec(l))
    .find((m) => (version === 2 ? m?.[1] === '' : m?.[1]?.split(',').includes('memory')));
  return line?.[2];
}
