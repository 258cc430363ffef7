import { readdir, readFile, statfs } from 'node:fs/promises';
import { cpus, hostname, release } from 'node:os';
import { join } from 'node:path';
import { readIfExists } from './files.ts';

/** What does not change while the host runs. */
export interface MachineFacts {
  /** In lower case, as node names are. */
  readonly hostname: string;
  /** As Go spells it: amd64, arm64, … */
  readonly architecture: string;
  readonly kernelVersion: string;
  readonly osImage: string;
  readonly machineId: string;
  readonly bootId: string;
  /** Of the firmware; the machine id where there is none that we may read. */
  readonly systemUuid: string;
  /** CPUs that are online, whatever this process may use of them. */
  readonly cpuCount: number;
  /** The same as a list: '0-3,8'. */
  readonly onlineCpus: string;
  readonly memoryBytes: number;
  readonly swapBytes: number;
  /** Pools by page size, smallest first. */
  readonly hugePages: readonly HugePagePool[];
  /** How many processes and threads the kernel allows. */
  readonly maxPids: number;
  /** Whether cgroups can bound swap. */
  readonly swapController: boolean;
  /** Whether SELinux labels files and processes here. */
  readonly selinux: boolean;
}

export interface HugePagePool {
  readonly pageBytes: number;
  readonly pages: number;
}

/** Bytes and inodes of a file system; available is what root's reserve leaves to others. */
export interface FilesystemFacts {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly inodes: number;
  readonly inodesFree: number;
}

const goArchitecture: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };

/** Reads the facts, in some tens of milliseconds: systeminformation asks a few programs. */
export async function readMachineFacts(): Promise<MachineFacts> {
  // Loaded here because it is large, and not needed again.
  const { default: si } = await import('systeminformation');
  const [memory, uuids, bootId, osRelease, onlineCpus, hugePages, maxPids, swapController] = await Promise.all([
    si.mem(),
    si.uuid(),
    readTrimmed('/proc/sys/kernel/random/boot_id'),
    readIfExists('/etc/os-release'),
    readTrimmed('/sys/devices/system/cpu/online'),
    readHugePages('/sys/kernel/mm/hugepages'),
    readMaxPids(),
    hasSwapController(),
  ]);
  const machineId = uuids.os || (await readTrimmed('/etc/machine-id'));
  return {
    hostname: hostname().trim().toLowerCase(),
    architecture: goArchitecture[process.arch] ?? process.arch,
    kernelVersion: release(),
    osImage: prettyName(osRelease ?? ''),
    machineId,
    bootId,
    systemUuid: uuids.hardware || machineId,
    cpuCount: cpus().length,
    onlineCpus,
    memoryBytes: memory.total,
    swapBytes: memory.swaptotal,
    hugePages,
    maxPids,
    swapController,
    selinux: (await readIfExists('/sys/fs/selinux/enforce')) !== undefined,
  };
}

export async function readFilesystem(path: string): Promise<FilesystemFacts> {
  const fs = await statfs(path);
  return {
    capacityBytes: fs.blocks * fs.bsize,
    availableBytes: fs.bavail * fs.bsize,
    inodes: fs.files,
    inodesFree: fs.ffree,
  };
}

/** The name for people in os-release(5); its default there is 'Linux'. */
export function prettyName(osRelease: string): string {
  const value = /^PRETTY_NAME=(.*)$/m.exec(osRelease)?.[1]?.trim() ?? '';
  const quoted = /^(["'])(.*)\1$/.exec(value);
  const name = quoted ? (quoted[2] ?? '') : value;
  return name.replace(/\\(["'$`\\])/g, '$1') || 'Linux';
}

async function readHugePages(folder: string): Promise<HugePagePool[]> {
  const entries = await readdir(folder).catch(() => []);
  const pools = await Promise.all(
    entries.map(async (entry) => ({
      pageBytes: Number(/^hugepages-(\d+)kB$/.exec(entry)?.[1]) * 1024,
      pages: Number(await readTrimmed(join(folder, entry, 'nr_hugepages'))),
    })),
  );
  return pools.filter((p) => p.pageBytes > 0).sort((a, b) => a.pageBytes - b.pageBytes);
}

/** Both bound the number of tasks: the smaller counts. */
async function readMaxPids(): Promise<number> {
  const limits = await Promise.all(['pid_max', 'threads-max'].map((f) => readTrimmed(join('/proc/sys/kernel', f))));
  return Math.min(...limits.filter(Boolean).map(Number));
}

/** Swap accounting can be off at boot: then its files are missing below the root. */
async function hasSwapController(): Promise<boolean> {
  if ((await readIfExists('/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes')) !== undefined) return true;
  // The root cgroup of v2 has no memory.swap.max: any cgroup below tells.
  const slices = await readdir('/sys/fs/cgroup', { withFileTypes: true }).catch(() => []);
  for (const slice of slices.filter((s) => s.isDirectory())) {
    const file = join('/sys/fs/cgroup', slice.name, 'memory.swap.max');
    if ((await readIfExists(file).catch(() => undefined)) !== undefined) return true;
  }
  return false;
}

const readTrimmed = async (path: string) => (await readFile(path, 'utf8').catch(() => '')).trim();
