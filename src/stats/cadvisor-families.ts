import type { CgroupStats, DeviceIo } from './cgroup-stats.ts';
import type { HostFilesystem } from './filesystems.ts';
import { MetricFamily, microseconds, milliseconds, nanoseconds, plain } from './metric-family.ts';
import type { InterfaceStats } from './parse-proc.ts';
import type { CgroupSample } from './snapshot.ts';

/** The container metrics that cAdvisor has, each as a name, words, and where in a sample its value is. */

/** One line per cgroup. */
export interface PlainMetric {
  readonly family: MetricFamily;
  /** Labels besides the cgroup's own, as ',scope="hierarchy"'. */
  readonly lines: readonly {
    readonly labels: string;
    /** undefined: no line. */
    readonly value: (sample: CgroupSample) => number | undefined;
  }[];
  readonly decimals: number;
  /** What was asked for, rather than measured, has no moment. */
  readonly isStamped: boolean;
}

/** One line per network interface, file system or device of a cgroup. */
export interface PartMetric<Part> {
  readonly family: MetricFamily;
  readonly value: (part: Part) => number;
  readonly decimals: number;
}

type Value = (sample: CgroupSample) => number | undefined;
type Kind = 'counter' | 'gauge';

const metric = (name: string, type: Kind, help: string, value: Value, decimals = plain): PlainMetric => ({
  family: new MetricFamily(name, type, help),
  lines: [{ labels: '', value }],
  decimals,
  isStamped: true,
});

const stat =
  (pick: (stats: CgroupStats) => number | undefined): Value =>
  ({ stats }) =>
    pick(stats);

/** Only of a cgroup with a CPU quota. */
const throttle = (pick: (stats: CgroupStats) => number): Value =>
  stat((s) => (Number.isFinite(s.spec.cpuQuota) ? pick(s) : undefined));

/** Limits that are none are told as 0. */
const limit = (pick: (stats: CgroupStats) => number): Value =>
  stat((s) => {
    const value = pick(s);
    return Number.isFinite(value) ? value : 0;
  });

const spec = (name: string, help: string, value: Value): PlainMetric => ({
  ...metric(name, 'gauge', help, value),
  isStamped: false,
});

const labelled = (base: PlainMetric, lines: Readonly<Record<string, Value>>): PlainMetric => ({
  ...base,
  lines: Object.entries(lines).map(([labels, value]) => ({ labels, value })),
});

const absent: Value = () => undefined;

const pressure = (name: string, help: string, pick: (psi: NonNullable<CgroupStats['psi']>) => number): PlainMetric =>
  metric(
    `container_pressure_${name}_seconds_total`,
    'counter',
    help,
    stat((s) => s.psi && pick(s.psi)),
    microseconds,
  );

const memory = (name: string, help: string, pick: (memory: CgroupStats['memory']) => number, type: Kind = 'gauge') =>
  metric(
    `container_memory_${name}`,
    type,
    help,
    stat((s) => pick(s.memory)),
  );

export const plainMetrics: readonly PlainMetric[] = [
  spec('container_start_time_seconds', 'When the container began, in seconds since 1970.', (s) =>
    Math.floor(s.startedAt / 1_000),
  ),
  metric('container_last_seen', 'gauge', 'When the container was last seen here, in seconds since 1970.', (s) =>
    Math.floor(s.stats.at / 1_000),
  ),
  metric(
    'container_cpu_user_seconds_total',
    'counter',
    'CPU time spent in user mode.',
    stat((s) => s.cpu.user),
    nanoseconds,
  ),
  metric(
    'container_cpu_system_seconds_total',
    'counter',
    'CPU time spent in the kernel.',
    stat((s) => s.cpu.system),
    nanoseconds,
  ),
  labelled(metric('container_cpu_usage_seconds_total', 'counter', 'CPU time used.', absent, nanoseconds), {
    ',cpu="total"': stat((s) => s.cpu.usage),
  }),
  metric(
    'container_cpu_cfs_periods_total',
    'counter',
    'Periods of the CPU quota that have passed.',
    throttle((s) => s.cpu.periods),
  ),
  metric(
    'container_cpu_cfs_throttled_periods_total',
    'counter',
    'Periods in which the CPU quota was used up.',
    throttle((s) => s.cpu.throttledPeriods),
  ),
  metric(
    'container_cpu_cfs_throttled_seconds_total',
    'counter',
    'Time that was spent waiting for the next period of the CPU quota.',
    throttle((s) => s.cpu.throttled),
    nanoseconds,
  ),
  memory('cache', 'Page cache, in bytes.', (m) => m.cache),
  memory('rss', 'Anonymous memory, in bytes.', (m) => m.rss),
  memory('mapped_file', 'Mapped files in memory, in bytes.', (m) => m.mappedFile),
  memory('swap', 'Swap in use, in bytes.', (m) => m.swap),
  memory('failcnt', 'How often the memory limit was hit.', (m) => m.failures, 'counter'),
  memory('usage_bytes', 'Memory in use, whatever it is used for.', (m) => m.usage),
  memory('max_usage_bytes', 'The most memory that was ever in use.', (m) => m.maxUsage),
  memory(
    'working_set_bytes',
    'Memory in use without file pages that nobody has looked at lately.',
    (m) => m.workingSet,
  ),
  memory('kernel_usage', "The kernel's memory on behalf of the container, in bytes.", (m) => m.kernel),
  memory('total_active_file_bytes', 'File pages that are in use.', (m) => m.activeFile),
  memory('total_inactive_file_bytes', 'File pages that nobody has looked at lately.', (m) => m.inactiveFile),
  labelled(
    memory('failures_total', 'Page faults, of the container alone and with what is below it.', () => 0, 'counter'),
    {
      ',failure_type="pgfault",scope="container"': stat((s) => s.memory.pageFaults),
      ',failure_type="pgmajfault",scope="container"': stat((s) => s.memory.majorPageFaults),
      ',failure_type="pgfault",scope="hierarchy"': stat((s) => s.memory.hierarchyPageFaults),
      ',failure_type="pgmajfault",scope="hierarchy"': stat((s) => s.memory.hierarchyMajorPageFaults),
    },
  ),
  metric(
    'container_oom_events_total',
    'counter',
    'Processes killed for want of memory.',
    stat((s) => s.memory.oomKills),
  ),
  metric('container_processes', 'gauge', 'Processes in the container.', (s) => s.processes.processes),
  metric('container_file_descriptors', 'gauge', 'Open file descriptors.', (s) => s.processes.fileDescriptors),
  metric('container_sockets', 'gauge', 'Open sockets.', (s) => s.processes.sockets),
  metric(
    'container_threads',
    'gauge',
    'Threads and processes.',
    stat((s) => s.pids.current),
  ),
  metric(
    'container_threads_max',
    'gauge',
    'How many threads and processes there may be; 0 is no limit.',
    limit((s) => s.pids.max),
  ),
  labelled(
    metric('container_ulimits_soft', 'gauge', "Soft limits of the container's first process; -1 is none.", absent),
    {
      ',ulimit="max_open_files"': ({ processes: { openFilesLimit } }) =>
        openFilesLimit === Number.POSITIVE_INFINITY ? -1 : openFilesLimit,
    },
  ),
  spec(
    'container_spec_cpu_period',
    'Period of the CPU quota, in microseconds.',
    stat((s) => s.spec.cpuPeriod || undefined),
  ),
  spec(
    'container_spec_cpu_quota',
    'CPU time per period, in microseconds.',
    stat((s) => (Number.isFinite(s.spec.cpuQuota) ? s.spec.cpuQuota : undefined)),
  ),
  spec(
    'container_spec_cpu_shares',
    'Share of the CPU when it is scarce.',
    stat((s) => s.spec.cpuShares || undefined),
  ),
  spec(
    'container_spec_memory_limit_bytes',
    'Memory limit; 0 is none.',
    limit((s) => s.spec.memoryLimit),
  ),
  spec(
    'container_spec_memory_swap_limit_bytes',
    'Swap limit; 0 is none.',
    limit((s) => s.spec.swapLimit),
  ),
  spec(
    'container_spec_memory_reservation_limit_bytes',
    'Memory that is reclaimed down to when memory is scarce; 0 is none.',
    limit((s) => s.spec.memoryReservation),
  ),
  pressure(
    'cpu_stalled',
    'Time in which nothing in the container got on for want of CPU.',
    (psi) => psi.cpu.full.total,
  ),
  pressure('cpu_waiting', 'Time in which something in the container waited for CPU.', (psi) => psi.cpu.some.total),
  pressure(
    'memory_stalled',
    'Time in which nothing in the container got on for want of memory.',
    (psi) => psi.memory.full.total,
  ),
  pressure(
    'memory_waiting',
    'Time in which something in the container waited for memory.',
    (psi) => psi.memory.some.total,
  ),
  pressure('io_stalled', 'Time in which nothing in the container got on for want of I/O.', (psi) => psi.io.full.total),
  pressure('io_waiting', 'Time in which something in the container waited for I/O.', (psi) => psi.io.some.total),
];

const part = <Part>(
  name: string,
  type: Kind,
  help: string,
  value: (part: Part) => number,
  decimals = plain,
): PartMetric<Part> => ({ family: new MetricFamily(name, type, help), value, decimals });

/** Of pods' sandboxes and the node. */
export const networkMetrics: readonly PartMetric<InterfaceStats>[] = (
  [
    ['receive', 'received', (i: InterfaceStats) => [i.rxBytes, i.rxPackets, i.rxDropped, i.rxErrors]],
    ['transmit', 'sent', (i: InterfaceStats) => [i.txBytes, i.txPackets, i.txDropped, i.txErrors]],
  ] as const
).flatMap(([direction, done, figures]) => [
  part(
    `container_network_${direction}_bytes_total`,
    'counter',
    `Bytes ${done}.`,
    (i: InterfaceStats) => figures(i)[0] ?? 0,
  ),
  part(
    `container_network_${direction}_packets_total`,
    'counter',
    `Packets ${done}.`,
    (i: InterfaceStats) => figures(i)[1] ?? 0,
  ),
  part(
    `container_network_${direction}_packets_dropped_total`,
    'counter',
    `Packets to be ${done} that were dropped.`,
    (i: InterfaceStats) => figures(i)[2] ?? 0,
  ),
  part(
    `container_network_${direction}_errors_total`,
    'counter',
    `Errors among what was ${done}.`,
    (i: InterfaceStats) => figures(i)[3] ?? 0,
  ),
]);

/** Of the node alone: what containers have is in the summary. */
export const filesystemMetrics: readonly PartMetric<HostFilesystem>[] = [
  part('container_fs_inodes_free', 'gauge', 'Inodes that are free.', (fs: HostFilesystem) => fs.inodesFree),
  part('container_fs_inodes_total', 'gauge', 'Inodes there are.', (fs: HostFilesystem) => fs.inodes),
  part('container_fs_limit_bytes', 'gauge', 'Size of the file system.', (fs: HostFilesystem) => fs.capacity),
  part('container_fs_usage_bytes', 'gauge', 'Bytes in use.', (fs: HostFilesystem) => fs.used),
  part(
    'container_fs_sector_reads_total',
    'counter',
    'Sectors read.',
    (fs: HostFilesystem) => fs.disk?.sectorsRead ?? 0,
  ),
  part(
    'container_fs_reads_merged_total',
    'counter',
    'Reads that were done together with others.',
    (fs: HostFilesystem) => fs.disk?.readsMerged ?? 0,
  ),
  part(
    'container_fs_read_seconds_total',
    'counter',
    'Time spent reading.',
    (fs: HostFilesystem) => fs.disk?.readMs ?? 0,
    milliseconds,
  ),
  part(
    'container_fs_sector_writes_total',
    'counter',
    'Sectors written.',
    (fs: HostFilesystem) => fs.disk?.sectorsWritten ?? 0,
  ),
  part(
    'container_fs_writes_merged_total',
    'counter',
    'Writes that were done together with others.',
    (fs: HostFilesystem) => fs.disk?.writesMerged ?? 0,
  ),
  part(
    'container_fs_write_seconds_total',
    'counter',
    'Time spent writing.',
    (fs: HostFilesystem) => fs.disk?.writeMs ?? 0,
    milliseconds,
  ),
  part('container_fs_io_current', 'gauge', 'Operations under way.', (fs: HostFilesystem) => fs.disk?.inFlight ?? 0),
  part(
    'container_fs_io_time_seconds_total',
    'counter',
    'Time in which there was something to do.',
    (fs: HostFilesystem) => fs.disk?.ioMs ?? 0,
    milliseconds,
  ),
  part(
    'container_fs_io_time_weighted_seconds_total',
    'counter',
    'Time in which there was something to do, times how much of it.',
    (fs: HostFilesystem) => fs.disk?.weightedIoMs ?? 0,
    milliseconds,
  ),
];

/** Known of the node's file systems and of every cgroup's devices. */
export const operationMetrics = {
  reads: new MetricFamily('container_fs_reads_total', 'counter', 'Reads that were done.'),
  writes: new MetricFamily('container_fs_writes_total', 'counter', 'Writes that were done.'),
} as const;

export const deviceMetrics: readonly PartMetric<DeviceIo>[] = [
  part('container_fs_reads_bytes_total', 'counter', 'Bytes read.', (io: DeviceIo) => io.readBytes),
  part('container_fs_writes_bytes_total', 'counter', 'Bytes written.', (io: DeviceIo) => io.writeBytes),
];

export const deviceUsage = new MetricFamily(
  'container_blkio_device_usage_total',
  'counter',
  'Bytes read from and written to block devices.',
);
