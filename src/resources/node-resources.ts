import type { Quantity, ResourceList } from '../api/core-v1.ts';
import { formatQuantity, quantityMilliValue, quantityValue } from '../api/quantity.ts';
import type { FilesystemFacts, MachineFacts } from '../host/machine.ts';
import { hugePageResource, type NodeAllocatable } from './compute-cgroup-values.ts';

/** What the operator takes from the machine before pods get any; the kubelet's options of these names. */
export interface Reservations {
  readonly maxPods: number;
  /** 0 is no bound. */
  readonly podsPerCore: number;
  readonly kubeReserved: Readonly<Record<string, Quantity>>;
  readonly systemReserved: Readonly<Record<string, Quantity>>;
  /** Signal to threshold: a quantity, or a percentage as in '10%'. */
  readonly evictionHard: Readonly<Record<string, string>>;
}

export interface NodeResources {
  readonly capacity: ResourceList;
  readonly allocatable: ResourceList;
}

/** Capacity and allocatable of the Node: what is reserved and what eviction keeps free is not for pods. */
export function computeNodeResources(
  facts: MachineFacts,
  rootFilesystem: FilesystemFacts,
  reservations: Reservations,
): NodeResources {
  const { maxPods, podsPerCore } = reservations;
  const pods = podsPerCore > 0 ? Math.min(maxPods, podsPerCore * facts.cpuCount) : maxPods;
  const hugePages = facts.hugePages.map((p) => [hugePageResource(p.pageBytes), p.pages * p.pageBytes] as const);
  const hugePageSum = hugePages.reduce((sum, [, bytes]) => sum + bytes, 0);
  const free = (resource: string, capacity: number, signal: string) =>
    capacity - reservedBytes(reservations, resource) - thresholdBytes(reservations.evictionHard[signal], capacity);
  const hugePageList = Object.fromEntries(hugePages.map(([name, bytes]) => [name, binaryQuantity(bytes)]));
  const storage = rootFilesystem.capacityBytes;
  return {
    capacity: {
      cpu: milliQuantity(facts.cpuCount * 1000),
      'ephemeral-storage': binaryQuantity(storage),
      ...hugePageList,
      memory: binaryQuantity(facts.memoryBytes),
      pods: String(pods),
    },
    allocatable: {
      cpu: milliQuantity(Math.max(0, facts.cpuCount * 1000 - reservedMilli(reservations, 'cpu'))),
      'ephemeral-storage': binaryQuantity(Math.max(0, free('ephemeral-storage', storage, 'nodefs.available'))),
      ...hugePageList,
      // Huge pages are memory that nothing else can use.
      memory: binaryQuantity(Math.max(0, free('memory', facts.memoryBytes, 'memory.available') - hugePageSum)),
      pods: String(pods),
    },
  };
}

/** The limits of all pods together. Eviction's threshold is not subtracted: eviction acts before the kernel does. */
export function computePodsAllocatable(
  facts: MachineFacts,
  reservations: Reservations,
  cgroupVersion: 1 | 2,
): NodeAllocatable {
  return {
    cpuMilli: facts.cpuCount * 1000 - reservedMilli(reservations, 'cpu'),
    memoryBytes: facts.memoryBytes - reservedBytes(reservations, 'memory'),
    pids: facts.maxPids - reservedBytes(reservations, 'pid'),
    hugePageBytes: Object.fromEntries(facts.hugePages.map((p) => [p.pageBytes, p.pages * p.pageBytes])),
    ...(cgroupVersion === 2 && facts.onlineCpus ? { cpus: facts.onlineCpus } : {}),
  };
}

const reservedBytes = ({ kubeReserved, systemReserved }: Reservations, name: string) =>
  [kubeReserved[name], systemReserved[name]].reduce<number>(
    (sum, q) => sum + (q === undefined ? 0 : quantityValue(q)),
    0,
  );

const reservedMilli = ({ kubeReserved, systemReserved }: Reservations, name: string) =>
  [kubeReserved[name], systemReserved[name]].reduce<number>(
    (sum, q) => sum + (q === undefined ? 0 : quantityMilliValue(q)),
    0,
  );

/**
 * A threshold in bytes of a capacity. Percentages are taken in single precision, as the kubelet does, so that both
 * report the same number to the byte.
 */
export function thresholdBytes(threshold: string | undefined, capacity: number): number {
  if (threshold === undefined) return 0;
  if (!threshold.endsWith('%')) return quantityValue(threshold);
  const fraction = Math.fround(Math.fround(Number(threshold.slice(0, -1))) / 100);
  return Math.floor(capacity * fraction);
}

const milliQuantity = (milli: number) => formatQuantity({ nano: BigInt(milli) * 1_000_000n, format: 'DecimalSI' });

const binaryQuantity = (bytes: number) => formatQuantity({ nano: BigInt(bytes) * 1_000_000_000n, format: 'BinarySI' });
