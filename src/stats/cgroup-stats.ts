/** What one cgroup has and uses, whichever version it was read from. Bytes and nanoseconds; limits that are none are Infinity. */
export interface CgroupStats {
  /** When it was read: milliseconds since the epoch. */
  readonly at: number;
  readonly cpu: CpuStats;
  readonly memory: MemoryStats;
  readonly pids: PidsStats;
  /** One per block device that was used. */
  readonly io: readonly DeviceIo[];
  /** Absent where the kernel does not tell. */
  readonly psi: CgroupPressure | undefined;
  readonly spec: CgroupSpec;
}

export interface CpuStats {
  /** Nanoseconds since the cgroup began. */
  readonly usage: number;
  readonly user: number;
  readonly system: number;
  /** Of the quota; 0 without one. */
  readonly periods: number;
  readonly throttledPeriods: number;
  readonly throttled: number;
}

export interface MemoryStats {
  readonly usage: number;
  /** Usage without the file pages that nobody has looked at lately: what counts before somebody is killed. */
  readonly workingSet: number;
  readonly maxUsage: number;
  readonly cache: number;
  readonly rss: number;
  readonly mappedFile: number;
  readonly activeFile: number;
  readonly inactiveFile: number;
  readonly kernel: number;
  readonly swap: number;
  /** How often the limit was hit. */
  readonly failures: number;
  /** Of the cgroup itself, where v1 tells them apart; `hierarchy…` with the cgroups below. */
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  readonly hierarchyPageFaults: number;
  readonly hierarchyMajorPageFaults: number;
  readonly oomKills: number;
}

export interface PidsStats {
  readonly current: number;
  readonly max: number;
}

export interface DeviceIo {
  /** As the kernel numbers it: '8:0'. */
  readonly device: string;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/** Pressure stall information: how long tasks waited, `some` of them or all (`full`). */
export interface Pressure {
  readonly some: PressureLine;
  readonly full: PressureLine;
}

export interface PressureLine {
  /** Per cent of the last ten seconds, minute, five minutes. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  /** Microseconds. */
  readonly total: number;
}

export interface CgroupPressure {
  readonly cpu: Pressure;
  readonly memory: Pressure;
  readonly io: Pressure;
}

/** What was asked for, in the units of v1. */
export interface CgroupSpec {
  readonly cpuShares: number;
  /** Microseconds; Infinity is no limit. */
  readonly cpuQuota: number;
  readonly cpuPeriod: number;
  readonly memoryLimit: number;
  readonly memoryReservation: number;
  /** Swap alone, on both versions. */
  readonly swapLimit: number;
}
