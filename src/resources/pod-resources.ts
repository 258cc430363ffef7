import type { Pod, Quantity } from '../api/core-v1.ts';
import { podLimits, podRequests, type TotalsOptions } from '../api/pod.ts';
import { quantityMilliValue, quantityValue } from '../api/quantity.ts';

/** What a whole pod asks for or is limited to: CPU in thousandths, memory and huge pages in bytes. */
export interface ResourceTotals {
  /** Undefined when nobody in the pod names it. */
  readonly cpuMilli: number | undefined;
  readonly memoryBytes: number | undefined;
  /** By resource name, 'hugepages-2Mi'. */
  readonly hugePageBytes: Readonly<Record<string, number>>;
}

/** A pod's requests or limits in the kernel's units. */
export function podResources(pod: Pod, kind: 'requests' | 'limits', options: TotalsOptions): ResourceTotals {
  const list = kind === 'requests' ? podRequests(pod, options) : podLimits(pod, options);
  const hugePages = Object.entries(list).filter(([name]) => name.startsWith('hugepages-'));
  return {
    cpuMilli: read(list['cpu'], quantityMilliValue),
    memoryBytes: read(list['memory'], quantityValue),
    hugePageBytes: Object.fromEntries(hugePages.map(([name, quantity]) => [name, quantityValue(quantity)])),
  };
}

/** Whether every container has a limit for the resource: only then has the pod as a whole. */
export function everyContainerLimited(pod: Pod, name: 'cpu' | 'memory'): boolean {
  if (pod.spec.resources?.limits?.[name] !== undefined) return true;
  return [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].every((container) => {
    const limit = container.resources?.limits?.[name];
    return limit !== undefined && quantityMilliValue(limit) > 0;
  });
}

const read = (quantity: Quantity | undefined, as: (q: Quantity) => number) =>
  quantity === undefined ? undefined : as(quantity);
