import type { Pod, Quantity, ResourceList } from '../api/core-v1.ts';
import { podRequests } from '../api/pod.ts';
import { quantityMilliValue, quantityValue } from '../api/quantity.ts';

/** A resource of which the node has too little left: CPU in thousandths, everything else in whole units. */
export interface Shortage {
  readonly resource: string;
  readonly requested: number;
  readonly used: number;
  readonly capacity: number;
}

/** How much of `resource` the pod takes away from others, in the units of a Shortage. */
export function requestOf(pod: Pod, resource: string): number {
  return resource === 'pods' ? 1 : inUnits(resource, podRequests(pod)[resource] ?? 0);
}

/**
 * What the node lacks to take the pod beside the others, in the order in which upstream looks: places,
 * CPU, memory, ephemeral storage, then the rest by name.
 */
export function computeShortages(pod: Pod, allocatable: ResourceList, others: readonly Pod[]): Shortage[] {
  const asked = podRequests(pod);
  const rest = Object.keys(asked).filter((name) => !basics.includes(name));
  const used = memoized(others);
  return ['pods', ...basics, ...rest.sort()].flatMap((resource) => {
    const capacity = allocatable[resource];
    // Devices that the node has never heard of are counted by whoever manages them for the whole cluster.
    if (capacity === undefined && (resource === 'pods' || isExtended(resource))) return [];
    const shortage = {
      resource,
      requested: resource === 'pods' ? 1 : inUnits(resource, asked[resource] ?? 0),
      used: used(resource),
      capacity: inUnits(resource, capacity ?? 0),
    };
    return shortage.requested > 0 && shortage.used + shortage.requested > shortage.capacity ? [shortage] : [];
  });
}

const basics: readonly string[] = ['cpu', 'memory', 'ephemeral-storage'];

const inUnits = (resource: string, quantity: Quantity): number =>
  resource === 'cpu' ? quantityMilliValue(quantity) : quantityValue(quantity);

/** The sums of the others' requests, added up once per pod and not once per resource. */
function memoized(others: readonly Pod[]): (resource: string) => number {
  let requests: readonly ResourceList[] | undefined;
  return (resource) => {
    if (resource === 'pods') return others.length;
    requests ??= others.map((pod) => podRequests(pod));
    return requests.reduce((sum, list) => sum + inUnits(resource, list[resource] ?? 0), 0);
  };
}

/** A resource that somebody outside of Kubernetes has defined: 'example.com/gpu'. */
const isExtended = (resource: string): boolean => {
  const [domain, name] = resource.split('/');
  return name !== undefined && domain !== 'kubernetes.io' && domain?.endsWith('.kubernetes.io') !== true;
};
