import type { CgroupName, CgroupValues } from './cgroups.ts';

/** One file of a controller and what to write into it, in the order in which the kernel accepts them. */
export interface CgroupSetting {
  readonly controller: 'cpu' | 'cpuset' | 'memory' | 'pids' | 'hugetlb';
  readonly file: string;
  readonly value: string;
}

/** One property of a systemd unit as busctl(1) takes it: name, D-Bus signature, values. */
export type UnitProperty = readonly [name: string, signature: string, ...values: string[]];

const defaultPeriod = 100_000;

/** The files of a v1 hierarchy (Documentation/admin-guide/cgroup-v1). */
export function computeV1Settings(values: CgroupValues): CgroupSetting[] {
  const settings: CgroupSetting[] = [];
  const set = (controller: CgroupSetting['controller'], file: string, value: string | number | undefined) => {
    if (value !== undefined) settings.push({ controller, file, value: String(value) });
  };
  set('cpuset', 'cpuset.cpus', values.cpusetCpus);
  set('cpu', 'cpu.shares', values.cpuShares);
  set('cpu', 'cpu.cfs_period_us', values.cpuPeriod);
  set('cpu', 'cpu.cfs_quota_us', values.cpuQuota);
  set('memory', 'memory.limit_in_bytes', values.memoryLimit);
  set('pids', 'pids.max', maxOr(values.pidsLimit));
  for (const [size, limit] of Object.entries(values.hugepageLimits ?? {})) {
    set('hugetlb', `hugetlb.${size}.limit_in_bytes`, limit);
  }
  return settings;
}

/** The files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst). */
export function computeV2Settings(values: CgroupValues): CgroupSetting[] {
  const settings: CgroupSetting[] = [];
  const set = (controller: CgroupSetting['controller'], file: string, value: string | number | undefined) => {
    if (value !== undefined) settings.push({ controller, file, value: String(value) });
  };
  set('cpuset', 'cpuset.cpus', values.cpusetCpus);
  if (values.cpuShares !== undefined) set('cpu', 'cpu.weight', cpuWeight(values.cpuShares));
  if (values.cpuQuota !== undefined || values.cpuPeriod !== undefined) {
    set('cpu', 'cpu.max', `${maxOr(values.cpuQuota) ?? 'max'} ${values.cpuPeriod ?? defaultPeriod}`);
  }
  set('memory', 'memory.max', maxOr(values.memoryLimit));
  set('pids', 'pids.max', maxOr(values.pidsLimit));
  for (const [size, limit] of Object.entries(values.hugepageLimits ?? {})) {
    set('hugetlb', `hugetlb.${size}.max`, limit);
  }
  return settings;
}

/** -1 is how callers say "no limit"; the kernel's word is 'max'. */
const maxOr = (limit: number | undefined) => (limit === -1 ? 'max' : limit);

/**
 * cpu.weight (1 … 10000) for v1 shares (2 … 262144), on a straight line between the ends. That is what the kubelet
 * uses for the cgroups of nodes, QoS classes and pods; runtimes may use another curve for containers.
 */
export function cpuWeight(shares: number): number {
  const clamped = Math.min(Math.max(shares, 2), 262_144);
  return 1 + Math.floor(((clamped - 2) * 9999) / 262_142);
}

/** The shares that a weight stands for, as near as it tells. */
export function sharesOfWeight(weight: number): number {
  return 2 + Math.ceil(((weight - 1) * 262_142) / 9999);
}

const infinity = '18446744073709551615';

/** The same values as properties of a slice, systemd.resource-control(5). There is none for huge pages. */
export function computeUnitProperties(values: CgroupValues): UnitProperty[] {
  const properties: UnitProperty[] = [];
  const limit = (n: number) => (n === -1 ? infinity : String(n));
  if (values.cpuShares !== undefined) properties.push(['CPUWeight', 't', String(cpuWeight(values.cpuShares))]);
  if (values.cpuQuota !== undefined || values.cpuPeriod !== undefined) {
    const period = values.cpuPeriod ?? defaultPeriod;
    properties.push(['CPUQuotaPeriodUSec', 't', String(period)]);
    properties.push(['CPUQuotaPerSecUSec', 't', quotaPerSecond(values.cpuQuota ?? -1, period)]);
  }
  if (values.memoryLimit !== undefined) properties.push(['MemoryMax', 't', limit(values.memoryLimit)]);
  if (values.pidsLimit !== undefined) properties.push(['TasksMax', 't', limit(values.pidsLimit)]);
  if (values.cpusetCpus !== undefined) {
    const mask = cpuMask(values.cpusetCpus);
    properties.push(['AllowedCPUs', 'ay', String(mask.length), ...mask.map(String)]);
  }
  return properties;
}

/** systemd keeps the quota as whole percents: rounded up, so that a pod never gets less than it asked for. */
function quotaPerSecond(quota: number, period: number): string {
  if (quota <= 0) return infinity;
  const perSecond = (quota * 1_000_000) / period;
  return String(Math.ceil(perSecond / 10_000) * 10_000);
}

/** A CPU list ('0-3,8') as a little-endian bit mask. */
function cpuMask(list: string): number[] {
  const mask: number[] = [];
  for (const part of list.split(',').filter(Boolean)) {
    const [first, last = first] = part.split('-').map(Number);
    for (let cpu = first ?? 0; cpu <= (last ?? 0); cpu++) {
      while (mask.length <= cpu >> 3) mask.push(0);
      mask[cpu >> 3] = (mask[cpu >> 3] ?? 0) | (1 << (cpu & 7));
    }
  }
  return mask;
}

/** The slice of a cgroup: ['kubepods', 'burstable', 'poda-b'] is 'kubepods-burstable-poda_b.slice', systemd.slice(5). */
export function sliceName(name: CgroupName): string {
  return name.length ? `${name.map(escapeSlicePart).join('-')}.slice` : '-.slice';
}

/** Where systemd puts a slice: '/kubepods.slice/kubepods-burstable.slice/…'; '/' for the root. */
export function slicePath(name: CgroupName): string {
  return `/${name.map((_, i) => sliceName(name.slice(0, i + 1))).join('/')}`;
}

/** In a slice's name '-' separates levels, so inside of one level it becomes '_'. */
const escapeSlicePart = (part: string) => part.replaceAll('-', '_');

/** The last component of the cgroup whose slice is `unit`, a child of `parent`; undefined when it is none. */
export function slicePartOf(unit: string, parent: CgroupName): string | undefined {
  const prefix = parent.length ? `${sliceName(parent).slice(0, -'.slice'.length)}-` : '';
  if (!unit.endsWith('.slice') || !unit.startsWith(prefix)) return undefined;
  const part = unit.slice(prefix.length, -'.slice'.length);
  return part && !part.includes('-') ? part.replaceAll('_', '-') : undefined;
}
