import type { Container, Pod, QosClass, Quantity, ResourceList } from '../api/core-v1.ts';
import type { HugepageLimit, LinuxContainerResources } from '../api/cri.ts';
import { isCriticalPod, qosClass, resourcesOf } from '../api/pod.ts';
import { quantityMilliValue, quantityValue } from '../api/quantity.ts';
import type { CgroupValues } from '../host/cgroups.ts';
import { milliCpuToQuota, milliCpuToShares, pageSizeName } from './cpu-units.ts';
import { oomScoreAdj } from './oom-score.ts';
import { everyContainerLimited, podResources } from './pod-resources.ts';

/** What the values depend on besides the pod. */
export interface ResourceOptions {
  readonly cgroupVersion: 1 | 2;
  /** Whether CPU limits are enforced at all (cpuCFSQuota), and over which period. */
  readonly cpuCfsQuota: boolean;
  readonly cpuCfsPeriodUs: number;
  readonly memoryCapacityBytes: number;
  /** Page sizes of the machine in bytes, smallest first. */
  readonly hugePageSizes: readonly number[];
  /** Whether cgroups can bound swap here. */
  readonly swapController: boolean;
  /** The machine's swap in bytes, where pods may use it (LimitedSwap, on v2 only). */
  readonly limitedSwapBytes?: number;
  /** On v2: an out-of-memory kill takes one process instead of the container. */
  readonly singleProcessOomKill: boolean;
  /** podPidsLimit; -1 is no limit. */
  readonly podPidsLimit: number;
}

/** What the node gives to all pods together: capacity less what is reserved. Undefined fields are not enforced. */
export interface NodeAllocatable {
  readonly cpuMilli?: number;
  readonly memoryBytes?: number;
  readonly pids?: number;
  /** By page size in bytes. */
  readonly hugePageBytes?: Readonly<Record<number, number>>;
  /** On v2: the CPUs as a list, which also turns the controller on for pods. */
  readonly cpus?: string;
}

/** The `linux.resources` of a container's CRI configuration. */
export function containerResources(pod: Pod, container: Container, options: ResourceOptions): LinuxContainerResources {
  // What the container does not limit itself, the pod does for it.
  const limits = { ...pod.spec.resources?.limits, ...positive(container.resources?.limits ?? {}) };
  const cpuRequest = resourcesOf(container, 'requests')['cpu'];
  const basic = linuxResources(
    {
      cpuRequestMilli: cpuRequest === undefined ? undefined : quantityMilliValue(cpuRequest),
      cpuLimitMilli: limits['cpu'] === undefined ? 0 : quantityMilliValue(limits['cpu']),
      memoryLimitBytes: limits['memory'] === undefined ? 0 : quantityValue(limits['memory']),
    },
    options,
  );
  const memoryLimit = basic.memoryLimitInBytes;
  const v1NoSwap = options.cgroupVersion === 1 && options.swapController && memoryLimit;
  const v2Swap = options.cgroupVersion === 2 && options.swapController;
  const swap = v2Swap ? { 'memory.swap.max': String(swapBytes(pod, container, options)) } : {};
  const unified = { ...basic.unified, ...swap };
  return {
    ...basic,
    oomScoreAdj: oomScoreAdj(pod, container, options.memoryCapacityBytes),
    hugepageLimits: options.hugePageSizes.map((bytes) => hugePageLimit(bytes, limits[hugePageResource(bytes)])),
    ...(v1NoSwap ? { memorySwapLimitInBytes: memoryLimit } : {}),
    ...(Object.keys(unified).length ? { unified } : {}),
  };
}

/**
 * Whether the container may use swap: only burstable ones may that could use more memory than they ask
 * for; critical pods have none.
 */
export function usesSwap(pod: Pod, container: Container, options: ResourceOptions): boolean {
  const { cgroupVersion, swapController, limitedSwapBytes } = options;
  if (cgroupVersion !== 2 || !swapController || limitedSwapBytes === undefined) return false;
  if ((pod.status?.qosClass ?? qosClass(pod)) !== 'Burstable' || isCriticalPod(pod)) return false;
  const request = quantityValue(resourcesOf(container, 'requests')['memory'] ?? 0);
  const limit = container.resources?.limits?.['memory'];
  return request > 0 && (limit === undefined || quantityValue(limit) !== request);
}

/** How much swap that is: of the machine's as much as the container's request is of the machine's memory. */
function swapBytes(pod: Pod, container: Container, options: ResourceOptions): number {
  if (!usesSwap(pod, container, options)) return 0;
  const request = quantityValue(resourcesOf(container, 'requests')['memory'] ?? 0);
  return Math.trunc((request / options.memoryCapacityBytes) * (options.limitedSwapBytes ?? 0));
}

const positive = (list: ResourceList): ResourceList =>
  Object.fromEntries(Object.entries(list).filter(([, quantity]) => quantityMilliValue(quantity) > 0));

/** The `linux.resources` of a sandbox's CRI configuration: the pod's, without its overhead. */
export function sandboxResources(pod: Pod, options: ResourceOptions): LinuxContainerResources {
  const requests = podResources(pod, 'requests', { overhead: false });
  const limits = podResources(pod, 'limits', { overhead: false });
  return linuxResources(
    {
      cpuRequestMilli: requests.cpuMilli,
      cpuLimitMilli: limits.cpuMilli ?? 0,
      memoryLimitBytes: limits.memoryBytes ?? 0,
    },
    options,
  );
}

/** The `linux.overhead` of a sandbox's CRI configuration: empty where the pod has none. */
export function sandboxOverhead(pod: Pod, options: ResourceOptions): LinuxContainerResources {
  const overhead = pod.spec.overhead;
  if (!overhead) return {};
  const cpuMilli = overhead['cpu'] === undefined ? 0 : quantityMilliValue(overhead['cpu']);
  const memoryLimitBytes = overhead['memory'] === undefined ? 0 : quantityValue(overhead['memory']);
  return linuxResources({ cpuRequestMilli: cpuMilli, cpuLimitMilli: cpuMilli, memoryLimitBytes }, options);
}

interface Basics {
  readonly cpuRequestMilli: number | undefined;
  readonly cpuLimitMilli: number;
  readonly memoryLimitBytes: number;
}

function linuxResources(basics: Basics, options: ResourceOptions): LinuxContainerResources {
  const quota = options.cpuCfsQuota ? milliCpuToQuota(basics.cpuLimitMilli, options.cpuCfsPeriodUs) : 0;
  const oomGroup = options.cgroupVersion === 2 && !options.singleProcessOomKill;
  return {
    cpuShares: milliCpuToShares(basics.cpuRequestMilli ?? basics.cpuLimitMilli),
    ...(options.cpuCfsQuota ? { cpuPeriod: options.cpuCfsPeriodUs } : {}),
    ...(quota ? { cpuQuota: quota } : {}),
    ...(basics.memoryLimitBytes ? { memoryLimitInBytes: basics.memoryLimitBytes } : {}),
    ...(oomGroup ? { unified: { 'memory.oom.group': '1' } } : {}),
  };
}

/** The cgroup of a pod. It is limited where all of its containers are. */
export function podCgroupValues(pod: Pod, options: ResourceOptions): CgroupValues {
  const qos = pod.status?.qosClass ?? qosClass(pod);
  const requests = podResources(pod, 'requests', { overhead: true });
  const limits = podResources(pod, 'limits', { overhead: true });
  const pids = options.podPidsLimit > 0 ? { pidsLimit: options.podPidsLimit } : {};
  if (qos === 'BestEffort') return { cpuShares: milliCpuToShares(0), ...pids };
  const quota = milliCpuToQuota(limits.cpuMilli ?? 0, options.cpuCfsPeriodUs);
  const limited = (name: 'cpu' | 'memory') => qos === 'Guaranteed' || everyContainerLimited(pod, name);
  return {
    cpuShares: milliCpuToShares(requests.cpuMilli ?? limits.cpuMilli ?? 0),
    ...(options.cpuCfsQuota && quota && limited('cpu') ? { cpuQuota: quota, cpuPeriod: options.cpuCfsPeriodUs } : {}),
    ...(limits.memoryBytes && limited('memory') ? { memoryLimit: limits.memoryBytes } : {}),
    hugepageLimits: Object.fromEntries(
      options.hugePageSizes.map((bytes) => [pageSizeName(bytes), limits.hugePageBytes[hugePageResource(bytes)] ?? 0]),
    ),
    ...pids,
  };
}

/** The cgroup of a QoS class: burstable weighs as much as its pods request together, best effort next to nothing. */
export function qosCgroupValues(qos: Exclude<QosClass, 'Guaranteed'>, pods: readonly Pod[]): CgroupValues {
  if (qos === 'BestEffort') return { cpuShares: milliCpuToShares(0) };
  const milliCpu = pods
    .filter((pod) => (pod.status?.qosClass ?? qosClass(pod)) === 'Burstable')
    .reduce((sum, pod) => sum + (podResources(pod, 'requests', { overhead: true }).cpuMilli ?? 0), 0);
  return { cpuShares: milliCpuToShares(milliCpu) };
}

/** The cgroup above all pods. */
export function podsRootValues(allocatable: NodeAllocatable): CgroupValues {
  const hugePages = Object.entries(allocatable.hugePageBytes ?? {});
  return {
    ...(allocatable.cpuMilli === undefined ? {} : { cpuShares: milliCpuToShares(allocatable.cpuMilli) }),
    ...(allocatable.memoryBytes === undefined ? {} : { memoryLimit: allocatable.memoryBytes }),
    ...(allocatable.pids === undefined ? {} : { pidsLimit: allocatable.pids }),
    ...(allocatable.cpus === undefined ? {} : { cpusetCpus: allocatable.cpus }),
    ...(hugePages.length
      ? { hugepageLimits: Object.fromEntries(hugePages.map(([size, bytes]) => [pageSizeName(Number(size)), bytes])) }
      : {}),
  };
}

/** The resource that stands for pages of this size: 'hugepages-2Mi'. */
export function hugePageResource(bytes: number): string {
  const name = pageSizeName(bytes);
  return `hugepages-${name.endsWith('KB') || name.endsWith('MB') || name.endsWith('GB') ? `${name.slice(0, -1)}i` : name}`;
}

function hugePageLimit(bytes: number, limit: Quantity | undefined): HugepageLimit {
  const pageSize = pageSizeName(bytes);
  return limit === undefined || quantityValue(limit) === 0 ? { pageSize } : { pageSize, limit: quantityValue(limit) };
}
