import type { Node, Pod } from '../api/core-v1.ts';
import { isStaticPod } from '../api/pod.ts';
import { hostPortsFree } from './host-ports.ts';
import { matchesNode } from './node-affinity.ts';
import { computeShortages, type Shortage } from './shortages.ts';
import { toleratesNoExecute } from './tolerations.ts';

/** Why a pod may not run here, as its status says it. Reasons and wording are upstream's. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** What is in a pod's way: things that do not change for its sake, and resources that others could give back. */
export interface Obstacles {
  readonly refusals: readonly Refusal[];
  readonly shortages: readonly Shortage[];
}

/**
 * What nothing can be done about, asked before anything else: nobody is to make room for a pod that
 * could not run anyway.
 */
export function refusedOutright(pod: Pod, node: Node | undefined): Refusal | undefined {
  const os = pod.metadata.labels?.['kubernetes.io/os'];
  if (os !== undefined && os !== 'linux') {
    const message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
    return { reason: 'PodOSSelectorNodeLabelDoesNotMatch', message };
  }
  if (pod.spec.os && pod.spec.os.name !== 'linux') {
    return { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" };
  }
  const strict = pod.spec.securityContext?.supplementalGroupsPolicy === 'Strict';
  if (strict && node && node.status?.features?.supplementalGroupsPolicy !== true) {
    const message = 'SupplementalGroupsPolicy=Strict is not supported in this node';
    return { reason: 'SupplementalGroupsPolicyNotSupported', message };
  }
  return undefined;
}

/**
 * What keeps the pod from this node beside those that have a place already. The scheduler asked the same,
 * but against what it knew then; static pods were never asked. Without a Node object (before the first
 * registration) nothing does.
 */
export function findObstacles(pod: Pod, node: Node | undefined, others: readonly Pod[]): Obstacles {
  if (!node) return { refusals: [], shortages: [] };
  const allocatable = node.status?.allocatable;
  const refusals = [
    matchesNode(pod, node)
      ? undefined
      : predicate(nodeAffinityReason, "node(s) didn't match Pod's node affinity/selector"),
    pod.spec.nodeName && pod.spec.nodeName !== node.metadata.name
      ? predicate('NodeName', "node(s) didn't match the requested node name")
      : undefined,
    hostPortsFree(pod, others)
      ? undefined
      : predicate('NodePorts', "node(s) didn't have free ports for the requested pod ports"),
    // What a manifest puts on a node belongs there, whatever drives the others away.
    isStaticPod(pod) || toleratesNoExecute(pod.spec.tolerations ?? [], node.spec?.taints ?? [])
      ? undefined
      : predicate('TaintToleration', "node(s) had taints that the pod didn't tolerate"),
  ];
  return {
    refusals: refusals.filter((r) => r !== undefined),
    shortages: allocatable ? computeShortages(pod, allocatable, others) : [],
  };
}

/** How a pod is told that the node has too little of something. */
export const shortageRefusal = ({ resource, requested, used, capacity }: Shortage): Refusal => ({
  reason: `OutOf${resource}`,
  message: `Node didn't have enough resource: ${resource}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
});

/** The only refusal that is worth a second look: labels change. */
export const nodeAffinityReason = 'NodeAffinity';

const predicate = (name: string, description: string): Refusal => ({
  reason: name,
  message: `Predicate ${name} failed: ${description}`,
});
