import type { Node, Pod } from '../api/core-v1.ts';
import { podRequests } from '../api/pod.ts';
import { quantityMilliValue } from '../api/quantity.ts';

export type Admission =
  | { readonly admitted: true }
  | { readonly admitted: false; readonly reason: string; readonly message: string };

/**
 * May the pod run on this node, beside those that have a place already? The scheduler asked the same,
 * but against what it knew then; static pods were never asked. Reasons and wording are upstream's.
 * Without a Node object (before the first registration) everything is let in.
 */
export function admit(pod: Pod, node: Node | undefined, others: readonly Pod[]): Admission {
  if (pod.spec.os && pod.spec.os.name !== 'linux') {
    return refuse('PodOSNotSupported', "Failed to admit pod as the OS field doesn't match node OS");
  }
  if (!node) return { admitted: true };
  for (const [key, value] of Object.entries(pod.spec.nodeSelector ?? {})) {
    if (node.metadata.labels?.[key] !== value) {
      return refuse('NodeAffinity', "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector");
    }
  }
  return fits(
    pod,
    node,
    others.filter((o) => o.metadata.uid !== pod.metadata.uid),
  );
}

function fits(pod: Pod, node: Node, others: readonly Pod[]): Admission {
  const allocatable = node.status?.allocatable ?? {};
  const maxPods = Number(allocatable['pods'] ?? Number.POSITIVE_INFINITY);
  if (others.length + 1 > maxPods) {
    return insufficient('pods', 1, others.length, maxPods);
  }
  const asked = podRequests(pod);
  for (const [resource, quantity] of Object.entries(asked)) {
    const capacity = allocatable[resource];
    const wanted = quantityMilliValue(quantity);
    if (wanted === 0) continue;
    if (capacity === undefined) continue;
    const used = others.reduce((sum, o) => sum + quantityMilliValue(podRequests(o)[resource] ?? 0), 0);
    if (used + wanted <= quantityMilliValue(capacity)) continue;
    const scale = resource === 'cpu' ? 1 : 1000;
    return insufficient(resource, wanted / scale, used / scale, quantityMilliValue(capacity) / scale);
  }
  return { admitted: true };
}

const insufficient = (resource: string, requested: number, used: number, capacity: number): Admission =>
  refuse(
    `OutOf${resource}`,
    `Node didn't have enough resource: ${resource}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
  );

const refuse = (reason: string, message: string): Admission => ({ admitted: false, reason, message });
