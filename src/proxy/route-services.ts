import type { PortProtocol } from '../api/core-v1.ts';
import { categorizeEndpoints } from './categorize-endpoints.ts';
import type { PortEndpoints } from './endpointslice-tracker.ts';
import type { ServiceInfo } from './read-service.ts';

/** Where a client sends to. */
export interface Frontend {
  readonly ip: string;
  readonly protocol: PortProtocol;
  readonly port: number;
}

export interface Target {
  readonly ip: string;
  readonly port: number;
  /** Whether it may run on this node, so that it may be a client of its own Service through this node's rules. */
  readonly mayBeLocal: boolean;
}

/**
 * Who gets the packets of one frontend; says nothing of how a kernel is told.
 * `reject`: nobody serves it, the client hears so at once. `drop`: served, but not for this node.
 */
export interface Route {
  readonly frontend: Frontend;
  readonly verdict: 'forward' | 'reject' | 'drop';
  /** Not empty exactly with `forward`; each target once. */
  readonly targets: readonly Target[];
}

/** Routes of one Service. Slices hold resolved target ports, so Service and slice meet by port name and protocol. */
export function routeService(
  service: ServiceInfo,
  endpoints: readonly PortEndpoints[],
  context: { readonly nodeName: string },
): readonly Route[] {
  return service.ports.flatMap((port) => {
    const served = endpoints.find((other) => other.name === port.name && other.protocol === port.protocol);
    const { usable, elsewhere } = categorizeEndpoints(served?.endpoints ?? [], {
      trafficPolicy: service.internalTrafficPolicy,
      nodeName: context.nodeName,
    });
    const targets = usable.map((endpoint) => ({
      ip: endpoint.ip,
      port: endpoint.port,
      mayBeLocal: endpoint.nodeName === undefined || endpoint.nodeName === context.nodeName,
    }));
    const verdict = targets.length > 0 ? 'forward' : elsewhere ? 'drop' : 'reject';
    return service.clusterIps.map(
      (ip): Route => ({ frontend: { ip, protocol: port.protocol, port: port.port }, verdict, targets }),
    );
  });
}

export const frontendKey = ({ ip, protocol, port }: Frontend): string => `${ip} ${protocol} ${port}`;
