import type { PortEndpoint } from './endpointslice-tracker.ts';

export interface Categorized {
  /** Those that get traffic: the ready ones, else those that still serve while they terminate. */
  readonly usable: readonly PortEndpoint[];
  /** Whether the Service has usable endpoints somewhere that this policy may not use here: drop, do not reject. */
  readonly elsewhere: boolean;
}

/**
 * The one home of traffic policy and of the terminating fallback (KEP-1669, KEP-2086): with `Local` only endpoints
 * of this node count, and the fallback is decided among those alone.
 */
export function categorizeEndpoints(
  endpoints: readonly PortEndpoint[],
  policy: { readonly trafficPolicy: 'Cluster' | 'Local'; readonly nodeName: string },
): Categorized {
  const cluster = usableOf(endpoints);
  if (policy.trafficPolicy === 'Cluster') return { usable: cluster, elsewhere: false };
  const local = usableOf(endpoints.filter((endpoint) => endpoint.nodeName === policy.nodeName));
  return { usable: local, elsewhere: local.length === 0 && cluster.length > 0 };
}

function usableOf(endpoints: readonly PortEndpoint[]): readonly PortEndpoint[] {
  const ready = endpoints.filter((endpoint) => endpoint.ready);
  return ready.length > 0 ? ready : endpoints.filter((endpoint) => endpoint.serving && endpoint.terminating);
}
