import { AgentError } from '../lib/errors.ts';

/**
 * PORT: the cgroups that keelson owns: the pods' root, one per QoS class, one per pod. What is below
 * a pod's cgroup belongs to the runtime.
 */
export interface Cgroups {
  /** 1 also on a hybrid host, where the controllers are in v1 hierarchies. */
  readonly version: 1 | 2;
  readonly driver: 'cgroupfs' | 'systemd';
  /** Creates the cgroup where it is missing (in every controller's hierarchy on v1) and sets what `values` names. */
  ensure(name: CgroupName, values: CgroupValues, signal: AbortSignal): Promise<void>;
  /**
   * Removes an empty cgroup with the empty cgroups below it; one that is gone is a success.
   * Fails with code CgroupBusy (see `isCgroupBusy`) while processes live in it.
   */
  remove(name: CgroupName, signal: AbortSignal): Promise<void>;
  /** The last components of the direct children, e.g. 'burstable', 'pod<uid>'. */
  children(name: CgroupName): Promise<readonly string[]>;
  /** The processes in the cgroup and below it. */
  pids(name: CgroupName): Promise<readonly number[]>;
  /** SIGKILL to every process in the cgroup and below it. Resolves when they are gone; fails with CgroupBusy when they will not go. */
  kill(name: CgroupName, signal: AbortSignal): Promise<void>;
  /** What the cgroup has and uses now; undefined when there is none. */
  read(name: CgroupName): Promise<CgroupReading | undefined>;
  /** Memory in use, in bytes, by the container that the runtime has put below the cgroup; undefined when it is not found. */
  containerMemory(name: CgroupName, containerId: string): Promise<number | undefined>;
  /**
   * What CRI's cgroup_parent wants, and the folder below a hierarchy's mount: '/kubepods/burstable/pod<uid>' or
   * '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice'.
   */
  criParent(name: CgroupName): string;
}

/** Driver-neutral components from the root down, e.g. ['kubepods', 'burstable', 'pod0f6c…']. */
export type CgroupName = readonly string[];

/** Undefined fields are left as they are. */
export interface CgroupValues {
  /** v1 scale, 2 … 262144; converted to cpu.weight on v2. */
  readonly cpuShares?: number;
  /** Microseconds per period; -1 is no limit. */
  readonly cpuQuota?: number;
  /** Microseconds. */
  readonly cpuPeriod?: number;
  /** Bytes; -1 is no limit. */
  readonly memoryLimit?: number;
  /** -1 is no limit. */
  readonly pidsLimit?: number;
  /** Bytes by page size as the kernel spells it ('2MB', '1GB'). */
  readonly hugepageLimits?: Readonly<Record<string, number>>;
  /** A list of CPUs such as '0-3,8'; naming it also turns the controller on for what lies below on v2. */
  readonly cpusetCpus?: string;
}

/** In the units of CgroupValues; -1 is no limit. */
export interface CgroupReading {
  readonly memoryLimit: number;
  /** Bytes. */
  readonly memoryUsage: number;
  readonly cpuQuota: number;
  /** On v2 as near as cpu.weight tells. */
  readonly cpuShares: number;
}

/** Processes still live in the cgroup. */
export function cgroupBusy(path: string, pids: readonly number[], cause?: unknown): AgentError {
  const who = pids.length ? `: processes ${pids.slice(0, 5).join(', ')}${pids.length > 5 ? ', …' : ''}` : '';
  return new AgentError('CgroupBusy', `cgroup ${path} is in use${who}`, { cause, retryable: true });
}

export const isCgroupBusy = (error: unknown): error is AgentError =>
  error instanceof AgentError && error.code === 'CgroupBusy';
