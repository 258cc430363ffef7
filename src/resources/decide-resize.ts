import type { Container, Pod } from '../api/core-v1.ts';
import { isSidecar, isStaticPod } from '../api/pod.ts';
import { type ObservedPod, runningContainers } from '../pod/observed.ts';
import { requestOf } from '../pod/shortages.ts';
import { sameQuantity } from './allocation.ts';
import { type ResourceOptions, usesSwap } from './compute-cgroup-values.ts';

/** Why a resize waits, or will never be, as the condition PodResizePending says it. */
export interface ResizeRefusal {
  readonly reason: 'Deferred' | 'Infeasible';
  readonly message: string;
}

/** What the node has for pods when there are no others: capacity less what is reserved. */
export interface NodeCapacity {
  readonly cpuMilli: number;
  readonly memoryBytes: number;
}

/** Why the pod can never have what it asks for here instead of `granted`; undefined when it could, if others let it. */
export function infeasible(
  granted: Pod,
  pod: Pod,
  capacity: NodeCapacity,
  options: ResourceOptions,
): ResizeRefusal | undefined {
  if (isStaticPod(pod)) return { reason: 'Infeasible', message: 'In-place resize of static-pods is not supported' };
  if (changesSwap(granted, pod, options))
    return { reason: 'Infeasible', message: 'In-place resize of containers with swap is not supported.' };
  const [cpu, memory] = [requestOf(pod, 'cpu'), requestOf(pod, 'memory')];
  if (memory > capacity.memoryBytes) return tooMuch('memory', memory, capacity.memoryBytes);
  if (cpu > capacity.cpuMilli) return tooMuch('cpu', cpu, capacity.cpuMilli);
  return undefined;
}

/** A container's part of the swap follows from its request for memory, and only a new life gives it another. */
function changesSwap(granted: Pod, pod: Pod, options: ResourceOptions): boolean {
  const old = new Map(allContainers(granted).map((c) => [c.name, c]));
  return allContainers(pod).some((container) => {
    const before = old.get(container.name);
    if (!before || resizePolicyOf(container, 'memory') === 'RestartContainer') return false;
    if (sameQuantity(before.resources?.requests?.['memory'], container.resources?.requests?.['memory'])) return false;
    return usesSwap(granted, before, options) || usesSwap(pod, container, options);
  });
}

const resizePolicyOf = (container: Container, resource: string) =>
  container.resizePolicy?.find((p) => p.resourceName === resource)?.restartPolicy;

const tooMuch = (resource: string, requested: number, capacity: number): ResizeRefusal => ({
  reason: 'Infeasible',
  message: `Node didn't have enough capacity: ${resource}, requested: ${requested}, capacity: ${capacity}`,
});

/** Running containers whose resizePolicy wants a restart for what changes from `before` to `after`; their ids. */
export function containersToRestart(before: Pod, after: Pod, observed: ObservedPod | undefined): string[] {
  const old = new Map(allContainers(before).map((c) => [c.name, c]));
  // An init container that ends by itself is not run twice.
  const restartable = [...after.spec.containers, ...(after.spec.initContainers ?? []).filter(isSidecar)];
  const names = restartable
    .filter((container) => wantsRestart(old.get(container.name), container))
    .map((container) => container.name);
  return runningContainers(observed)
    .filter((c) => names.includes(c.name))
    .map((c) => c.id);
}

function wantsRestart(before: Container | undefined, after: Container): boolean {
  return ['cpu', 'memory'].some((resource) => {
    if (resizePolicyOf(after, resource) !== 'RestartContainer') return false;
    return (['requests', 'limits'] as const).some(
      (kind) => !sameQuantity(before?.resources?.[kind]?.[resource], after.resources?.[kind]?.[resource]),
    );
  });
}

const allContainers = ({ spec }: Pod): readonly Container[] => [...spec.containers, ...(spec.initContainers ?? [])];

/** Whom to consider first when room is short: what asks for no more, then by priority, class and time of waiting. */
export interface PendingResize {
  readonly granted: Pod;
  readonly desired: Pod;
  readonly guaranteed: boolean;
  /** Milliseconds since the epoch from which on it has been pending. */
  readonly since: number;
}

export function compareResizes(a: PendingResize, b: PendingResize): number {
  return (
    Number(increases(a)) - Number(increases(b)) ||
    (b.desired.spec.priority ?? 0) - (a.desired.spec.priority ?? 0) ||
    Number(b.guaranteed) - Number(a.guaranteed) ||
    a.since - b.since
  );
}

const increases = ({ granted, desired }: PendingResize): boolean =>
  ['cpu', 'memory'].some((resource) => requestOf(desired, resource) > requestOf(granted, resource));
