import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { sharesOfWeight } from '../host/compute-cgroup-settings.ts';
import type { CgroupLayout } from '../host/detect-cgroups.ts';
import type { CgroupPressure, CgroupSpec, CgroupStats } from './cgroup-stats.ts';
import { parseV1Cpu, parseV1Io, parseV1Memory } from './parse-cgroup-v1.ts';
import { parseV2Cpu, parseV2Io, parseV2Memory } from './parse-cgroup-v2.ts';
import { parsePressure } from './parse-pressure.ts';
import { limitOf, numberAt } from './parse-text.ts';
import { readText } from './read-text.ts';

/** How long what was asked for counts as known: it changes by resizing, which is rare, and is a third of all files. */
const specAgeMs = 10_000;

/** One cgroup that is read again and again. */
export class CgroupFolder {
  readonly #files: Files;
  #spec: { readonly value: CgroupSpec; readonly at: number } | undefined;

  constructor(files: Files) {
    this.#files = files;
  }

  /** `now` is milliseconds since the epoch; undefined when the cgroup is gone. */
  read(now: number): CgroupStats | undefined {
    const files = this.#files;
    const cpu = files.cpu();
    if (!cpu) return undefined;
    if (!this.#spec || now - this.#spec.at > specAgeMs || now < this.#spec.at) {
      this.#spec = { value: files.spec(), at: now };
    }
    return {
      at: now,
      cpu,
      memory: files.memory(),
      pids: { current: numberAt(files.text('pids', 'pids.current'), 0), max: limitOf(files.text('pids', 'pids.max')) },
      io: files.io(),
      psi: files.pressure(),
      spec: this.#spec.value,
    };
  }

  /** Nanoseconds of CPU so far; undefined when the cgroup is gone. The cheapest of all. */
  cpuUsage(): number | undefined {
    return this.#files.cpuUsage();
  }

  /** The processes in the cgroup itself. */
  processes(): readonly number[] {
    const text = this.#files.text('memory', 'cgroup.procs');
    return text ? text.trimEnd().split('\n').map(Number) : [];
  }
}

/** The files of one cgroup, by version. */
interface Files {
  text(controller: string, file: string): string;
  cpu(): CgroupStats['cpu'] | undefined;
  cpuUsage(): number | undefined;
  memory(): CgroupStats['memory'];
  io(): CgroupStats['io'];
  pressure(): CgroupPressure | undefined;
  spec(): CgroupSpec;
}

/** Finds cgroups by their paths, which begin with '/'. */
export class CgroupReader {
  readonly #layout: CgroupLayout;
  /** Files that this kernel does not have: asking again for each of hundreds of cgroups would cost more than the reading. */
  readonly #absent = new Set<string>();
  readonly #present = new Set<string>();

  constructor(layout: CgroupLayout) {
    this.#layout = layout;
  }

  get version(): 1 | 2 {
    return this.#layout.version;
  }

  open(path: string): CgroupFolder {
    const read = (folder: string, file: string) => this.#read(folder, file, path === '/');
    const layout = this.#layout;
    if (layout.version === 2) return new CgroupFolder(new V2Files(join(layout.mount, path), read));
    return new CgroupFolder(new V1Files(foldersOf(layout, path), read));
  }

  /** Whether there is such a cgroup, in the hierarchy that counts memory. */
  exists(path: string): boolean {
    return existsSync(this.#folder(path));
  }

  /** When the cgroup came to be as far as the kernel remembers, milliseconds since the epoch; undefined when it is gone. */
  madeAt(path: string): number | undefined {
    return statSync(this.#folder(path), { throwIfNoEntry: false })?.mtimeMs;
  }

  #folder(path: string): string {
    const layout = this.#layout;
    return layout.version === 2 ? join(layout.mount, path) : (foldersOf(layout, path)['memory'] ?? '');
  }

  #read(folder: string, file: string, isRoot: boolean): string {
    // The root of a hierarchy lacks files that all others have.
    const key = isRoot ? `/${file}` : file;
    if (this.#absent.has(key)) return '';
    // Not `join`: it would leave more behind than the file's own text.
    const path = `${folder}/${file}`;
    const text = readText(path);
    if (text !== '') this.#present.add(key);
    else if (!this.#present.has(key) && existsSync(folder)) {
      (existsSync(path) ? this.#present : this.#absent).add(key);
    }
    return text;
  }
}

type Read = (folder: string, file: string) => string;

function foldersOf(layout: CgroupLayout & { readonly version: 1 }, path: string): Record<string, string> {
  return Object.fromEntries(
    layout.hierarchies.flatMap((h) => h.controllers.map((controller) => [controller, join(h.mount, path)])),
  );
}

class V1Files implements Files {
  readonly #folders: Readonly<Record<string, string>>;
  readonly #read: Read;

  constructor(folders: Readonly<Record<string, string>>, read: Read) {
    this.#folders = folders;
    this.#read = read;
  }

  text(controller: string, file: string): string {
    const folder = this.#folders[controller];
    return folder === undefined ? '' : this.#read(folder, file);
  }

  cpu() {
    const usage = this.text('cpuacct', 'cpuacct.usage');
    if (!usage) return undefined;
    return parseV1Cpu({ usage, ticks: this.text('cpuacct', 'cpuacct.stat'), stat: this.text('cpu', 'cpu.stat') });
  }

  cpuUsage(): number | undefined {
    const usage = this.text('cpuacct', 'cpuacct.usage');
    return usage ? numberAt(usage, 0) : undefined;
  }

  memory() {
    return parseV1Memory({
      stat: this.text('memory', 'memory.stat'),
      usage: this.text('memory', 'memory.usage_in_bytes'),
      maxUsage: this.text('memory', 'memory.max_usage_in_bytes'),
      failcnt: this.text('memory', 'memory.failcnt'),
      kernel: this.text('memory', 'memory.kmem.usage_in_bytes'),
      oomControl: this.text('memory', 'memory.oom_control'),
    });
  }

  io() {
    const bytes =
      this.text('blkio', 'blkio.throttle.io_service_bytes_recursive') ||
      this.text('blkio', 'blkio.throttle.io_service_bytes');
    if (!bytes.includes(':')) return [];
    const operations =
      this.text('blkio', 'blkio.throttle.io_serviced_recursive') || this.text('blkio', 'blkio.throttle.io_serviced');
    return parseV1Io(bytes, operations);
  }

  pressure(): undefined {
    return undefined;
  }

  spec(): CgroupSpec {
    const memoryLimit = limitOf(this.text('memory', 'memory.limit_in_bytes'));
    const both = limitOf(this.text('memory', 'memory.memsw.limit_in_bytes') || 'max');
    return {
      cpuShares: numberAt(this.text('cpu', 'cpu.shares'), 0),
      cpuQuota: limitOf(this.text('cpu', 'cpu.cfs_quota_us') || 'max'),
      cpuPeriod: numberAt(this.text('cpu', 'cpu.cfs_period_us'), 0),
      memoryLimit,
      memoryReservation: limitOf(this.text('memory', 'memory.soft_limit_in_bytes')),
      swapLimit: Number.isFinite(both) ? Math.max(0, both - memoryLimit) : Number.POSITIVE_INFINITY,
    };
  }
}

class V2Files implements Files {
  readonly #folder: string;
  readonly #read: Read;

  constructor(folder: string, read: Read) {
    this.#folder = folder;
    this.#read = read;
  }

  text(_controller: string, file: string): string {
    return this.#read(this.#folder, file);
  }

  cpu() {
    const stat = this.#file('cpu.stat');
    return stat ? parseV2Cpu(stat) : undefined;
  }

  cpuUsage(): number | undefined {
    return this.cpu()?.usage;
  }

  memory() {
    return parseV2Memory({
      stat: this.#file('memory.stat'),
      current: this.#file('memory.current'),
      peak: this.#file('memory.peak'),
      events: this.#file('memory.events'),
      swap: this.#file('memory.swap.current'),
    });
  }

  io() {
    return parseV2Io(this.#file('io.stat'));
  }

  pressure(): CgroupPressure | undefined {
    const [cpu, memory, io] = [this.#file('cpu.pressure'), this.#file('memory.pressure'), this.#file('io.pressure')];
    if (!cpu && !memory && !io) return undefined;
    return { cpu: parsePressure(cpu), memory: parsePressure(memory), io: parsePressure(io) };
  }

  spec(): CgroupSpec {
    const weight = numberAt(this.#file('cpu.weight'), 0);
    const [quota = 'max', period = '0'] = this.#file('cpu.max').trim().split(' ');
    const limit = (file: string) => limitOf(this.#file(file) || 'max');
    return {
      cpuShares: weight === 0 ? 0 : sharesOfWeight(weight),
      cpuQuota: limitOf(quota || 'max'),
      cpuPeriod: Number(period),
      memoryLimit: limit('memory.max'),
      memoryReservation: limit('memory.high'),
      swapLimit: limit('memory.swap.max'),
    };
  }

  #file(name: string): string {
    return this.#read(this.#folder, name);
  }
}
