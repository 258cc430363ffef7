import type { Container, Pod, Quantity } from '../api/core-v1.ts';
import { quantityMilliValue, quantityValue } from '../api/quantity.ts';

/** What a whole pod asks for or is limited to: CPU in thousandths, memory and huge pages in bytes. */
export interface ResourceTotals {
  /** Undefined when nobody in the pod names it. */
  readonly cpuMilli: number | undefined;
  readonly memoryBytes: number | undefined;
  /** By resource name, 'hugepages-2Mi'. */
  readonly hugePageBytes: Readonly<Record<string, number>>;
}

type Kind = 'requests' | 'limits';
const isSidecar = (container: Container) => container.restartPolicy === 'Always';

/**
 * Adds up a pod's requests or limits: the larger of what the containers need together with the sidecars, and what the
 * init containers need one after another (KEP-753); resources of the pod as a whole replace the sum (KEP-2837); overhead
 * comes on top, for limits only where there is one to add to.
 */
export function podResources(pod: Pod, kind: Kind, options: { readonly overhead: boolean }): ResourceTotals {
  const total = (name: string, read: (q: Quantity) => number): number | undefined => {
    const wholePod = pod.spec.resources?.[kind]?.[name];
    const own = wholePod === undefined ? containersTotal(pod, kind, name, read) : read(wholePod);
    const overhead = options.overhead ? pod.spec.overhead?.[name] : undefined;
    if (overhead === undefined || (kind === 'limits' && !own)) return own;
    return (own ?? 0) + read(overhead);
  };
  const hugePageBytes = Object.fromEntries(
    hugePageNames(pod, kind).map((name) => [name, total(name, quantityValue) ?? 0]),
  );
  return { cpuMilli: total('cpu', quantityMilliValue), memoryBytes: total('memory', quantityValue), hugePageBytes };
}

function containersTotal(pod: Pod, kind: Kind, name: string, read: (q: Quantity) => number): number | undefined {
  const of = (c: Container): number | undefined => {
    const quantity = amount(c, kind, name);
    return quantity === undefined ? undefined : read(quantity);
  };
  const init = pod.spec.initContainers ?? [];
  const named = [...pod.spec.containers, ...init].some((c) => of(c) !== undefined);
  if (!named) return undefined;
  let sidecars = 0;
  let highestInit = 0;
  for (const container of init) {
    const needs = of(container) ?? 0;
    if (isSidecar(container)) sidecars += needs;
    highestInit = Math.max(highestInit, isSidecar(container) ? sidecars : sidecars + needs);
  }
  const regular = pod.spec.containers.reduce((sum, c) => sum + (of(c) ?? 0), 0);
  return Math.max(regular + sidecars, highestInit);
}

/** A container's request or limit. A limit without a request is a request too, as the API's defaults have it. */
export function amount(container: Container, kind: Kind, name: string): Quantity | undefined {
  const resources = container.resources;
  const own = resources?.[kind]?.[name];
  return own === undefined && kind === 'requests' ? resources?.limits?.[name] : own;
}

/** Whether every container has a limit for the resource: only then has the pod as a whole. */
export function everyContainerLimited(pod: Pod, name: 'cpu' | 'memory'): boolean {
  if (pod.spec.resources?.limits?.[name] !== undefined) return true;
  const limited = (container: Container) => {
    const limit = container.resources?.limits?.[name];
    return limit !== undefined && quantityMilliValue(limit) > 0;
  };
  return [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].every(limited);
}

function hugePageNames(pod: Pod, kind: Kind): string[] {
  const all = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].flatMap((c) =>
    Object.keys(c.resources?.[kind] ?? {}),
  );
  const wholePod = Object.keys(pod.spec.resources?.[kind] ?? {});
  return [...new Set([...all, ...wholePod])].filter((name) => name.startsWith('hugepages-')).sort();
}
