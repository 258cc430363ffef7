import { readdir, readFile } from 'node:fs/promises';
import type { CollectedDefinition, Registry } from '../lib/metrics.ts';

/** The kernel's unit of time in /proc, the same on every architecture that Node runs on. */
const ticksPerSecond = 100;
const pageBytes = 4096;

/** What this process uses, under the names that every Prometheus library has for it. Read from /proc at each scrape. */
export function processMetrics(registry: Registry): void {
  const gauge = (name: string, help: string): CollectedDefinition => ({ name: `process_${name}`, help, type: 'gauge' });
  const counter = (name: string, help: string): CollectedDefinition => ({ ...gauge(name, help), type: 'counter' });
  registry.collect(
    [
      counter('cpu_seconds_total', 'CPU time used by this process.'),
      gauge('max_fds', 'File descriptors that this process may have open.'),
      gauge('open_fds', 'File descriptors that this process has open.'),
      gauge('resident_memory_bytes', 'Memory of this process that is in RAM.'),
      gauge('start_time_seconds', 'When this process was started, in seconds since the epoch.'),
      gauge('virtual_memory_bytes', 'Address space of this process.'),
      gauge('virtual_memory_max_bytes', 'Address space that this process may have.'),
      counter('network_receive_bytes_total', "Bytes received in this process's network namespace."),
      counter('network_transmit_bytes_total', "Bytes sent in this process's network namespace."),
    ],
    async (emit) => {
      const [stat, limits, kernel, netstat, fds] = await Promise.all([
        readFile('/proc/self/stat', 'utf8'),
        readFile('/proc/self/limits', 'utf8'),
        readFile('/proc/stat', 'utf8'),
        readFile('/proc/self/net/netstat', 'utf8'),
        readdir('/proc/self/fd'),
      ]);
      const facts = readProcess(stat, limits, kernel, netstat);
      for (const [name, value] of Object.entries(facts)) emit(`process_${name}`, value);
      emit('process_open_fds', fds.length);
    },
  );
}

/** Of `/proc/self/stat`, `/proc/self/limits`, `/proc/stat` and `/proc/self/net/netstat`; what is not said there is undefined. */
export function readProcess(
  stat: string,
  limits: string,
  kernel: string,
  netstat: string,
): Readonly<Record<string, number | undefined>> {
  // The name of the program, in parentheses, may hold anything.
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const field = (number: number): number => fields[number - 3] ?? Number.NaN;
  const bootedAt = Number(/^btime (\d+)$/m.exec(kernel)?.[1]);
  const octets = netstatColumns(netstat, 'IpExt');
  return {
    cpu_seconds_total: (field(14) + field(15)) / ticksPerSecond,
    max_fds: limitOf(limits, 'Max open files'),
    resident_memory_bytes: field(24) * pageBytes,
    start_time_seconds: bootedAt + field(22) / ticksPerSecond,
    virtual_memory_bytes: field(23),
    virtual_memory_max_bytes: limitOf(limits, 'Max address space'),
    network_receive_bytes_total: octets.get('InOctets'),
    network_transmit_bytes_total: octets.get('OutOctets'),
  };
}

/** The soft limit; what is unlimited is as much as upstream says then. */
function limitOf(limits: string, name: string): number | undefined {
  const line = limits.split('\n').find((l) => l.startsWith(name));
  const soft = line?.slice(name.length).trim().split(/\s+/)[0];
  if (soft === undefined) return undefined;
  return soft === 'unlimited' ? 2 ** 64 : Number(soft);
}

/** The two lines of a protocol: names, and values below them. */
function netstatColumns(netstat: string, protocol: string): ReadonlyMap<string, number> {
  const [names = [], values = []] = netstat
    .split('\n')
    .filter((line) => line.startsWith(`${protocol}:`))
    .map((line) => line.split(' '));
  return new Map(names.map((name, i) => [name, Number(values[i])]));
}
