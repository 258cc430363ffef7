import type { Container, Pod, ResourceList, ResourceRequirements } from '../api/core-v1.ts';
import { compareQuantities } from '../api/quantity.ts';
import type { Notes } from '../pod/pod-notes.ts';

/** What a pod was granted: the part of its notes that a resize changes. */
export type Allocation = Pick<Notes, 'allocated' | 'allocatedPod'>;

/** What the pod asks for now, as what it would be granted. */
export function allocationOf({ spec }: Pod): Allocation {
  const containers = [...spec.containers, ...(spec.initContainers ?? [])];
  return {
    allocated: Object.fromEntries(containers.map((c) => [c.name, c.resources ?? {}])),
    ...(spec.resources ? { allocatedPod: spec.resources } : {}),
  };
}

/**
 * Whether the pod's resources can change while it lives, so that what it was granted has to be remembered:
 * one that asks for no CPU and memory would change its class, and a manifest that changes is another pod.
 */
export function isResizable(pod: Pod): boolean {
  const bearers = [
    pod.spec.resources,
    ...[...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map(ownResources),
  ];
  return bearers.some((r) => [r?.requests, r?.limits].some((list) => list?.['cpu'] ?? list?.['memory']));
}

/**
 * The pod with the resources that it was granted. Everything on this node that counts, limits or shows
 * resources goes by it; what the pod asks for beyond that is only looked at when a resize is decided.
 * The same object when nothing differs.
 */
export function allocatedPod(pod: Pod, allocation: Allocation): Pod {
  const { allocated, allocatedPod: whole } = allocation;
  if (!allocated) return pod;
  const containers = pod.spec.containers.map((c) => granted(c, allocated[c.name]));
  const init = pod.spec.initContainers?.map((c) => granted(c, allocated[c.name]));
  const sameWhole = whole === undefined || sameResources(pod.spec.resources, whole);
  const same =
    sameWhole &&
    containers.every((c, i) => c === pod.spec.containers[i]) &&
    (init ?? []).every((c, i) => c === pod.spec.initContainers?.[i]);
  if (same) return pod;
  const spec = {
    ...pod.spec,
    containers,
    ...(init ? { initContainers: init } : {}),
    ...(sameWhole ? {} : { resources: whole }),
  };
  return { ...pod, spec };
}

const ownResources = (container: Container) => container.resources;

const granted = (container: Container, resources: ResourceRequirements | undefined): Container =>
  resources === undefined || sameResources(container.resources, resources) ? container : { ...container, resources };

function sameResources(a: ResourceRequirements | undefined, b: ResourceRequirements | undefined): boolean {
  return a === b || (sameList(a?.requests, b?.requests) && sameList(a?.limits, b?.limits));
}

/** Whether the amounts are the same, however they are written. */
function sameList(a: ResourceList = {}, b: ResourceList = {}): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => sameQuantity(a[name], b[name]));
}

export function sameQuantity(a: ResourceList[string] | undefined, b: ResourceList[string] | undefined): boolean {
  if (a === b) return true;
  return a !== undefined && b !== undefined && compareQuantities(a, b) === 0;
}
