import type { PortEndpoint } from './endpointslice-tracker.ts';

export interface Categorized {
  /** Those that get traffic: the ready ones, else those that still serve while they terminate. */
  readonly usable: readonly PortEndpoint[];
  /** Whether the Service has usable endpoints somewhere that this policy may not use here: drop, do not reject. */
  readonly elsewhere: boolean;
}

/** Where this node is, as far as routes care. */
export interface NodePlace {
  readonly nodeName: string;
  /** The node's label topology.kubernetes.io/zone. */
  readonly zone?: string | undefined;
  /** Its addresses as far as they are known. */
  readonly addresses?: readonly string[];
}

/**
 * The one home of traffic policy, topology hints and the terminating fallback (KEP-1669, KEP-2086, KEP-2433): with
 * `Local` only endpoints of this node count, and the fallback is decided among those alone. Hints narrow the ready
 * endpoints of policy `Cluster` only.
 */
export function categorizeEndpoints(
  endpoints: readonly PortEndpoint[],
  policy: NodePlace & { readonly trafficPolicy: 'Cluster' | 'Local' },
): Categorized {
  if (policy.trafficPolicy === 'Cluster') {
    const ready = nearest(endpoints.filter(isReady), policy);
    return { usable: ready.length > 0 ? ready : endpoints.filter(isLeaving), elsewhere: false };
  }
  const local = usableOf(endpoints.filter((endpoint) => endpoint.nodeName === policy.nodeName));
  return { usable: local, elsewhere: local.length === 0 && usableOf(endpoints).length > 0 };
}

/** Hints count only when every ready endpoint has one and one of them is for here: a half-told story sends nobody away. */
function nearest(ready: readonly PortEndpoint[], { nodeName, zone }: NodePlace): readonly PortEndpoint[] {
  if (ready.every((endpoint) => endpoint.forNodes !== undefined)) {
    const forNode = ready.filter((endpoint) => endpoint.forNodes?.includes(nodeName));
    if (forNode.length > 0) return forNode;
  }
  if (zone === undefined || !ready.every((endpoint) => endpoint.forZones !== undefined)) return ready;
  const forZone = ready.filter((endpoint) => endpoint.forZones?.includes(zone));
  return forZone.length > 0 ? forZone : ready;
}

function usableOf(endpoints: readonly PortEndpoint[]): readonly PortEndpoint[] {
  const ready = endpoints.filter(isReady);
  return ready.length > 0 ? ready : endpoints.filter(isLeaving);
}

/** Whether it may answer those that it already serves, whoever gets new connections. */
export const isUsable = (endpoint: PortEndpoint): boolean => isReady(endpoint) || isLeaving(endpoint);

const isReady = ({ ready }: PortEndpoint): boolean => ready;
const isLeaving = ({ serving, terminating }: PortEndpoint): boolean => serving && terminating;
