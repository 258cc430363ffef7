import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PodUid } from '../api/ids.ts';
import { aborted } from '../lib/aborted.ts';
import type { Clock } from '../lib/clock.ts';
import { type ObservedContainer, type ObservedPod, readySandbox } from '../pod/observed.ts';
import type { CgroupReader } from './cgroup-reader.ts';
import type { CgroupPressure, CgroupStats, MemoryStats } from './cgroup-stats.ts';
import { measureFile, measureFiles } from './disk-usage.ts';
import { readFilesystemStats } from './filesystems.ts';
import { parsePressure } from './parse-pressure.ts';
import { type MemoryInfo, parseBootTime, parseMemoryInfo, parseNetDev, parseTaskCount } from './parse-proc.ts';
import { readText } from './read-text.ts';
import type { RuntimeMeter } from './runtime-usage.ts';
import type {
  CgroupSample,
  ContainerSample,
  GroupSample,
  NodeSample,
  PodSample,
  PodStorage,
  SandboxSample,
  Snapshot,
  StorageSnapshot,
} from './snapshot.ts';
import { TrackedCgroup } from './tracked-cgroup.ts';
import type { VolumeMeter } from './volume-stats.ts';

export interface StatsProviderOptions {
  readonly reader: CgroupReader;
  readonly driver: 'cgroupfs' | 'systemd';
  /** Every pod that the runtime has. */
  readonly pods: () => readonly ObservedPod[];
  /** Path of the pod's cgroup; undefined for a pod of which nothing is known but its containers. */
  readonly podCgroup: (uid: PodUid) => string | undefined;
  /** Cgroups above the pods', and keelson's own. */
  readonly groups: readonly { readonly path: string; readonly name: GroupSample['name'] }[];
  readonly rootDir: string;
  readonly podLogsDir: string;
  readonly runtime: RuntimeMeter;
  readonly volumes: VolumeMeter;
  readonly clock: Clock;
}

/** What eviction compares with its thresholds. Bytes and counts. */
export interface NodeStats {
  readonly at: number;
  readonly memory: { readonly capacity: number; readonly available: number; readonly workingSet: number };
  readonly nodeFs: Room;
  /** Undefined until the runtime has told where images are. */
  readonly imageFs: Room | undefined;
  readonly pids: { readonly current: number };
}

export interface Room {
  readonly capacity: number;
  readonly available: number;
  readonly inodes: number;
  readonly inodesFree: number;
}

/** Readers that come one after another see the same figures: a scrape of three endpoints is one pass. */
const freshMs = 2_000;
/** Work before others have their turn. */
const turnMs = 5;
/** How often counters are looked at for rates while somebody reads them, as upstream. */
const housekeepingMs = 10_000;
/** Nobody has asked for so long: rates are of no interest, and a node at rest does nothing. */
const interestMs = 180_000;

/**
 * Reads what everything on the node uses, when somebody asks: one pass over the cgroups' files, /proc and the network
 * namespaces, for the metrics, the summary and eviction alike. What it keeps between passes is one small record a cgroup.
 */
export class StatsProvider {
  readonly #o: StatsProviderOptions;
  readonly #tracked = new Map<string, TrackedCgroup>();
  #snapshot: Snapshot | undefined;
  #snapshotAt = Number.NEGATIVE_INFINITY;
  #passing: Promise<Snapshot> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asked = Promise.withResolvers<void>();
  readonly #bootTime: number;

  constructor(options: StatsProviderOptions) {
    this.#o = options;
    this.#bootTime = parseBootTime(readText('/proc/stat'));
  }

  /** Figures that are at most two seconds old. Fails when the node's own cannot be read. */
  async snapshot(): Promise<Snapshot> {
    const now = this.#o.clock.monotonic();
    this.#askedAt = now;
    this.#asked.resolve();
    if (this.#snapshot && now - this.#snapshotAt < freshMs) return this.#snapshot;
    this.#passing ??= this.#pass().finally(() => {
      this.#passing = undefined;
    });
    return this.#passing;
  }

  /** What lies on disks. Volumes and layers as last measured: no reader waits for a disk. */
  async storage(): Promise<StorageSnapshot> {
    const { clock, rootDir, runtime, pods } = this.#o;
    const at = clock.now();
    const [nodeFs, usage] = await Promise.all([readFilesystemStats(rootDir, at), runtime.usage()]);
    // The runtime's folder may be on a file system that we do not see: its figures are then left out.
    const imageFs = usage.images && (await readFilesystemStats(usage.images.path, at).catch(() => undefined));
    const stored = new Map<string, PodStorage>();
    for (const pod of pods()) stored.set(pod.uid, this.#podStorage(pod));
    return { at, nodeFs, imageFs, runtime: usage, pods: stored };
  }

  /** The signals that eviction watches. */
  async nodeStats(): Promise<NodeStats> {
    const [{ node }, { at, nodeFs, imageFs }] = await Promise.all([this.snapshot(), this.storage()]);
    const { workingSet } = node.stats.memory;
    const capacity = node.memory.total;
    return {
      at,
      memory: { capacity, workingSet, available: Math.max(0, capacity - workingSet) },
      nodeFs,
      imageFs,
      pids: { current: node.tasks },
    };
  }

  /** Keeps rates current for as long as somebody reads them; else it waits, at no cost. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#o;
    const stopped = aborted(signal);
    while (!signal.aborted) {
      if (clock.monotonic() - this.#askedAt > interestMs) {
        this.#asked = Promise.withResolvers();
        await Promise.race([this.#asked.promise, stopped]);
      }
      await clock.sleep(housekeepingMs, signal);
      for (const tracked of this.#tracked.values()) tracked.count(clock.monotonic());
    }
  }

  async #pass(): Promise<Snapshot> {
    const { clock, groups, pods, runtime } = this.#o;
    const at = clock.now();
    const visited = new Set<string>();
    const sandboxImage = await runtime.sandboxImage();
    const node = await this.#node(visited);
    const grouped: GroupSample[] = [];
    for (const { path, name } of groups) {
      const sample = await this.#sample(path, undefined, visited);
      if (sample) grouped.push({ ...sample, name });
    }
    const sampled: PodSample[] = [];
    let turnSince = clock.monotonic();
    for (const observed of pods()) {
      sampled.push(await this.#pod(observed, sandboxImage, visited));
      if (clock.monotonic() - turnSince < turnMs) continue;
      await nextTurn();
      turnSince = clock.monotonic();
    }
    for (const path of this.#tracked.keys()) if (!visited.has(path)) this.#tracked.delete(path);
    this.#snapshot = { at, node, groups: grouped, pods: sampled };
    this.#snapshotAt = clock.monotonic();
    return this.#snapshot;
  }

  async #node(visited: Set<string>): Promise<NodeSample> {
    const sample = await this.#sample('/', this.#bootTime, visited);
    if (!sample) throw new Error('the root cgroup cannot be read');
    const memory = parseMemoryInfo(readText('/proc/meminfo'));
    return {
      ...sample,
      stats: withNodeMemory(sample.stats, memory, this.#o.reader.version),
      memory,
      interfaces: parseNetDev(readText('/proc/net/dev')),
      psi: nodePressure() ?? sample.stats.psi,
      tasks: parseTaskCount(readText('/proc/loadavg')),
    };
  }

  async #pod(observed: ObservedPod, sandboxImage: string, visited: Set<string>): Promise<PodSample> {
    const path = this.#o.podCgroup(observed.uid);
    const sandbox = readySandbox(observed);
    const none: PodSample = { observed, cgroup: undefined, sandbox: undefined, containers: [] };
    if (path === undefined) return none;
    const cgroup = await this.#sample(path, sandbox?.createdAt, visited);
    if (!cgroup) return none;
    const containers: ContainerSample[] = [];
    for (const container of observed.containers) {
      if (container.state !== 'running') continue;
      const found = await this.#inPod(path, container.id, startOf(container), visited);
      if (found) containers.push({ observed: container, cgroup: found });
    }
    const own = sandbox && (await this.#inPod(path, sandbox.id, sandbox.createdAt, visited));
    return { observed, cgroup, containers, sandbox: own && this.#sandbox(sandbox, own, sandboxImage) };
  }

  #sandbox(observed: SandboxSample['observed'], cgroup: CgroupSample, image: string): SandboxSample {
    const [pid] = this.#tracked.get(cgroup.path)?.folder.processes() ?? [];
    const text = pid === undefined ? '' : readText(`/proc/${pid}/net/dev`);
    return { observed, cgroup, image, interfaces: parseNetDev(text) };
  }

  /** A cgroup that the runtime has made below a pod's; runtimes have their own ways to name it. */
  async #inPod(pod: string, id: string, startedAt: number, visited: Set<string>): Promise<CgroupSample | undefined> {
    const paths = (
      this.#o.driver === 'systemd' ? [`cri-containerd-${id}.scope`, `crio-${id}.scope`] : [id, `crio-${id}`]
    ).map((name) => `${pod}/${name}`);
    const path = paths.find((p) => this.#tracked.has(p)) ?? paths.find((p) => this.#o.reader.exists(p));
    return path === undefined ? undefined : this.#sample(path, startedAt, visited);
  }

  async #sample(path: string, startedAt: number | undefined, visited: Set<string>): Promise<CgroupSample | undefined> {
    const { clock, reader } = this.#o;
    const now = clock.now();
    const tracked =
      this.#tracked.get(path) ?? new TrackedCgroup(reader.open(path), startedAt ?? reader.madeAt(path) ?? now);
    const sample = await tracked.read(now, clock.monotonic());
    if (!sample) return undefined;
    visited.add(path);
    this.#tracked.set(path, tracked);
    return { path, startedAt: tracked.startedAt, ...sample };
  }

  #podStorage({ uid, name, namespace, containers }: ObservedPod): PodStorage {
    const { rootDir, podLogsDir, volumes } = this.#o;
    const folder = join(podLogsDir, `${namespace}_${name}_${uid}`);
    const hosts = measureFile(join(rootDir, 'pods', uid, 'etc-hosts'));
    const beside = measureFiles(folder);
    const names = new Set(containers.map((c) => c.name));
    return {
      logs: new Map([...names].map((container) => [container, measureFiles(join(folder, container))])),
      other: { bytes: hosts.bytes + beside.bytes, inodes: hosts.inodes + beside.inodes },
      volumes: volumes.of(uid),
    };
  }
}

const startOf = (container: ObservedContainer): number => container.startedAt || container.createdAt;

/** The root of v2 counts no memory of its own; the kernel's summary of the machine stands in. */
function withNodeMemory(stats: CgroupStats, info: MemoryInfo, version: 1 | 2): CgroupStats {
  const limits = { ...stats.spec, memoryLimit: info.total, swapLimit: info.swapTotal };
  if (version === 1) return { ...stats, spec: limits };
  const usage = info.total - info.free;
  const memory: MemoryStats = {
    ...stats.memory,
    usage,
    workingSet: Math.max(0, usage - stats.memory.inactiveFile),
    swap: info.swapTotal - info.swapFree,
  };
  return { ...stats, memory, spec: limits };
}

function nodePressure(): CgroupPressure | undefined {
  const [cpu = '', memory = '', io = ''] = ['cpu', 'memory', 'io'].map((what) => readText(`/proc/pressure/${what}`));
  if (!cpu && !memory && !io) return undefined;
  return { cpu: parsePressure(cpu), memory: parsePressure(memory), io: parsePressure(io) };
}
