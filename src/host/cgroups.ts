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
  /** Removes an empty cgroup with the empty cgroups below it; one that is gone is a success. Fails with EBUSY while processes live in it. */
  remove(name: CgroupName, signal: AbortSignal): Promise<void>;
  /** The last components of the direct children, e.g. 'burstable', 'pod<uid>'. */
  children(name: CgroupName): Promise<readonly string[]>;
  /** The processes in the cgroup and below it. */
  pids(name: CgroupName): Promise<readonly number[]>;
  /** What CRI's cgroup_parent wants: '/kubepods/burstable/pod<uid>' or 'kubepods-burstable-pod<uid_>.slice'. */
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
}
