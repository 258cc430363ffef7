import type { ObservedContainer, ObservedPod, ObservedSandbox } from '../pod/observed.ts';
import type { CgroupPressure, CgroupStats } from './cgroup-stats.ts';
import type { DiskUsage } from './disk-usage.ts';
import type { FilesystemStats } from './filesystems.ts';
import type { InterfaceStats, MemoryInfo } from './parse-proc.ts';
import type { ProcessStats } from './processes.ts';
import type { LayerUsage, RuntimeUsage } from './runtime-usage.ts';
import type { VolumeStats } from './volume-stats.ts';

/** All cgroups of the node as of one pass. Plain data. */
export interface Snapshot {
  /** When the pass began: milliseconds since the epoch. */
  readonly at: number;
  readonly node: NodeSample;
  readonly pods: readonly PodSample[];
  /** Cgroups that are nobody's pod: the pods' root, QoS classes, keelson's own. */
  readonly groups: readonly GroupSample[];
}

/** One cgroup, read. */
export interface CgroupSample {
  /** As the kernel knows it: '/kubepods/burstable/pod…'. */
  readonly path: string;
  /** Milliseconds since the epoch at which it came to be, as far as known. */
  readonly startedAt: number;
  readonly stats: CgroupStats;
  /** Nanoseconds of CPU per second; undefined until it has been read twice. */
  readonly nanoCores: number | undefined;
  readonly processes: ProcessStats;
}

export interface GroupSample extends CgroupSample {
  /** What kubelet calls it in its summary; undefined for the QoS classes. */
  readonly name: 'pods' | 'kubelet' | undefined;
}

export interface NodeSample extends CgroupSample {
  readonly memory: MemoryInfo;
  readonly interfaces: readonly InterfaceStats[];
  readonly psi: CgroupPressure | undefined;
  readonly tasks: number;
}

export interface PodSample {
  readonly observed: ObservedPod;
  /** undefined for a pod whose cgroup is not there (any more). */
  readonly cgroup: CgroupSample | undefined;
  readonly sandbox: SandboxSample | undefined;
  /** Those that run. */
  readonly containers: readonly ContainerSample[];
}

export interface SandboxSample {
  readonly observed: ObservedSandbox;
  readonly image: string;
  readonly cgroup: CgroupSample;
  readonly interfaces: readonly InterfaceStats[];
}

export interface ContainerSample {
  readonly observed: ObservedContainer;
  readonly cgroup: CgroupSample;
}

/** What lies on disks, as of one look. */
export interface StorageSnapshot {
  readonly at: number;
  readonly nodeFs: FilesystemStats;
  /** Of the file system that the runtime keeps images on. */
  readonly imageFs: FilesystemStats | undefined;
  readonly runtime: RuntimeUsage;
  /** By pod UID. */
  readonly pods: ReadonlyMap<string, PodStorage>;
}

export interface PodStorage {
  /** By container name. */
  readonly logs: ReadonlyMap<string, DiskUsage>;
  /** Files beside the containers' folders, and the pod's /etc/hosts. */
  readonly other: DiskUsage;
  readonly volumes: readonly VolumeStats[];
}

export type { LayerUsage };
