import { type CgroupName, type CgroupReading, type Cgroups, type CgroupValues, cgroupBusy } from './cgroups.ts';
import { sliceName, slicePath } from './compute-cgroup-settings.ts';
import { type Exec, ExecError, type ExecOptions, type ExecResult, notFound } from './exec.ts';
import type { MountPoint, Mounts } from './mounts.ts';

interface FakeCgroup {
  values: CgroupValues;
  readonly pids: Set<number>;
}

/** Cgroups in memory: what was created with which values, and the processes that a test put there. */
export class FakeCgroups implements Cgroups {
  readonly version: 1 | 2;
  readonly driver: 'cgroupfs' | 'systemd';
  /** Every call in order, e.g. 'ensure kubepods/burstable'. */
  readonly calls: string[] = [];
  /** Bytes in use, by the cgroup's path or a container's id. */
  readonly memoryUsage = new Map<string, number>();
  readonly #cgroups = new Map<string, FakeCgroup>();
  readonly #failures = new Map<string, unknown>();

  constructor(version: 1 | 2 = 1, driver: 'cgroupfs' | 'systemd' = 'cgroupfs') {
    this.version = version;
    this.driver = driver;
  }

  async ensure(name: CgroupName, values: CgroupValues, signal: AbortSignal): Promise<void> {
    this.#called('ensure', name, signal);
    for (let depth = 1; depth <= name.length; depth++) {
      const path = name.slice(0, depth).join('/');
      if (!this.#cgroups.has(path)) this.#cgroups.set(path, { values: {}, pids: new Set() });
    }
    const cgroup = this.#cgroups.get(name.join('/'));
    if (cgroup) cgroup.values = { ...cgroup.values, ...values };
  }

  async remove(name: CgroupName, signal: AbortSignal): Promise<void> {
    this.#called('remove', name, signal);
    const pids = await this.pids(name);
    if (pids.length) throw cgroupBusy(this.criParent(name), pids);
    for (const path of this.#below(name)) this.#cgroups.delete(path);
  }

  async children(name: CgroupName): Promise<readonly string[]> {
    const prefix = name.length ? `${name.join('/')}/` : '';
    const names = [...this.#cgroups.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length).split('/')[0] ?? '');
    return [...new Set(names)].sort();
  }

  async pids(name: CgroupName): Promise<readonly number[]> {
    const pids = this.#below(name).flatMap((path) => [...(this.#cgroups.get(path)?.pids ?? [])]);
    return pids.sort((a, b) => a - b);
  }

  async kill(name: CgroupName, signal: AbortSignal): Promise<void> {
    this.#called('kill', name, signal);
    for (const path of this.#below(name)) this.#cgroups.get(path)?.pids.clear();
  }

  async read(name: CgroupName): Promise<CgroupReading | undefined> {
    const cgroup = this.#cgroups.get(name.join('/'));
    const { memoryLimit = -1, cpuQuota = -1, cpuShares = 1024 } = cgroup?.values ?? {};
    return cgroup && { memoryLimit, cpuQuota, cpuShares, memoryUsage: this.memoryUsage.get(name.join('/')) ?? 0 };
  }

  async containerMemory(_name: CgroupName, containerId: string): Promise<number | undefined> {
    return this.memoryUsage.get(containerId) ?? 0;
  }

  criParent(name: CgroupName): string {
    return this.driver === 'systemd' ? slicePath(name) : `/${name.join('/')}`;
  }

  /** The values in force, or undefined when the cgroup does not exist. */
  values(name: CgroupName): CgroupValues | undefined {
    return this.#cgroups.get(name.join('/'))?.values;
  }

  /** Every cgroup's path, sorted. */
  paths(): string[] {
    return [...this.#cgroups.keys()].sort();
  }

  addProcess(name: CgroupName, pid: number): void {
    const cgroup = this.#cgroups.get(name.join('/'));
    if (!cgroup) throw new Error(`no cgroup ${this.driver === 'systemd' ? sliceName(name) : name.join('/')}`);
    cgroup.pids.add(pid);
  }

  /** The next `verb` on `name` fails with `error`. */
  injectError(verb: 'ensure' | 'remove' | 'kill', name: CgroupName, error: unknown): void {
    this.#failures.set(`${verb} ${name.join('/')}`, error);
  }

  #called(verb: string, name: CgroupName, signal: AbortSignal): void {
    signal.throwIfAborted();
    const call = `${verb} ${name.join('/')}`;
    this.calls.push(call);
    if (!this.#failures.has(call)) return;
    const error = this.#failures.get(call);
    this.#failures.delete(call);
    throw error;
  }

  #below(name: CgroupName): string[] {
    const path = name.join('/');
    return [...this.#cgroups.keys()].filter((p) => p === path || p.startsWith(`${path}/`));
  }
}

/** A mount table in memory: mounts stack, as the kernel's do. */
export class FakeMounts implements Mounts {
  readonly calls: string[] = [];
  #table: MountPoint[] = [];

  async list(): Promise<readonly MountPoint[]> {
    return [...this.#table];
  }

  async mount(
    source: string,
    target: string,
    type: string,
    options: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    this.calls.push(`mount ${target}`);
    this.#table.push({ source, target, type, options, device: `0:${this.#table.length + 100}` });
  }

  async unmount(target: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.calls.push(`unmount ${target}`);
    if (this.#table.some((m) => m.target.startsWith(`${target}/`))) {
      throw new ExecError('umount', `exited with status 32: ${target}: target is busy.`, {
        code: 'ExecFailed',
        exitCode: 32,
        stderr: `umount: ${target}: target is busy.\n`,
        timedOut: false,
      });
    }
    this.#table = this.#table.filter((m) => m.target !== target);
  }
}

/** What a program of the fake host does; throw an ExecError for a bad end. */
export type FakeProgram = (args: readonly string[], options: ExecOptions) => ExecResult | Promise<ExecResult>;

/** A host that has exactly the programs a test gives it. */
export class FakeExec implements Exec {
  /** Command lines in order. */
  readonly calls: string[] = [];
  readonly #programs: Map<string, FakeProgram>;

  constructor(programs: Readonly<Record<string, FakeProgram>> = {}) {
    this.#programs = new Map(Object.entries(programs));
  }

  async run(file: string, args: readonly string[], options: ExecOptions): Promise<ExecResult> {
    options.signal.throwIfAborted();
    this.calls.push([file, ...args].join(' '));
    const program = this.#programs.get(file);
    if (!program) throw notFound(file);
    return program(args, options);
  }
}
