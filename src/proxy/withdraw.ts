import type { PortEndpoints } from './endpointslice-tracker.ts';

/**
 * Local pods by address: those that serve nobody, because they fail their readiness probe, have died or are gone, and
 * those that are being deleted and still serve, should nobody else.
 */
export type Withdrawn = ReadonlyMap<string, 'unready' | 'terminating'>;

/**
 * Endpoints as this node knows them: what a slice calls ready and a local pod is not, is not. Never the other way, so
 * that a pod becomes an endpoint when its slice says so and not before.
 */
export function withdraw(
  ports: readonly PortEndpoints[],
  withdrawn: Withdrawn,
  context: { readonly nodeName: string; readonly publishesNotReady: boolean },
): readonly PortEndpoints[] {
  if (withdrawn.size === 0 || context.publishesNotReady) return ports;
  return ports.map((port) => ({
    ...port,
    endpoints: port.endpoints.map((endpoint) => {
      const why = endpoint.nodeName === context.nodeName ? withdrawn.get(endpoint.ip) : undefined;
      if (why === 'unready') return { ...endpoint, ready: false, serving: false };
      return why === 'terminating' ? { ...endpoint, ready: false, terminating: true } : endpoint;
    }),
  }));
}

/** A pod of this node that has addresses of its own; those of the host network share the node's and are left out. */
export interface LocalAddress {
  readonly ips: readonly string[];
  readonly ready: boolean;
  readonly terminating: boolean;
}

/**
 * Who is to get no connections any more. The address of a pod that is gone stays withdrawn for as long as a slice
 * still names it: the slice has only not heard yet. Of pods with the same address the one that serves speaks for it.
 */
export function nextWithdrawn(
  previous: Withdrawn,
  pods: Iterable<LocalAddress>,
  isEndpoint: (ip: string) => boolean,
): Withdrawn {
  const serving = new Set<string>();
  const next = new Map<string, 'unready' | 'terminating'>();
  for (const { ips, ready, terminating } of pods) {
    for (const ip of ips) {
      if (ready && !terminating) serving.add(ip);
      else if (next.get(ip) !== 'terminating') next.set(ip, ready ? 'terminating' : 'unready');
    }
  }
  for (const ip of previous.keys()) if (!next.has(ip) && isEndpoint(ip)) next.set(ip, 'unready');
  for (const ip of serving) next.delete(ip);
  return next;
}
