import { isIP } from 'node:net';
import type { PortProtocol } from '../api/core-v1.ts';
import type { NodePlace } from './categorize-endpoints.ts';
import { categorizeEndpoints, isUsable } from './categorize-endpoints.ts';
import type { PortEndpoint, PortEndpoints } from './endpointslice-tracker.ts';
import type { ServiceInfo } from './read-service.ts';
import { inRanges } from './read-service.ts';

/** Stands for every address on which the node serves node ports. */
export const nodeAddress = '*';

/** Where a client sends to. */
export interface Frontend {
  /** An address, or `nodeAddress`. */
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

/** `reject`: nobody serves it, the client hears so at once. `drop`: served, but not for this node. */
export interface Delivery {
  readonly verdict: 'forward' | 'reject' | 'drop';
  /** Not empty exactly with `forward`; each target once. */
  readonly targets: readonly Target[];
}

/** Which part of which Service a route is for. */
export interface RouteOrigin {
  readonly namespace: string;
  readonly name: string;
  /** Of the Service port; '' for an unnamed one. */
  readonly portName: string;
  readonly kind: 'clusterIP' | 'externalIP' | 'loadBalancer' | 'nodePort';
}

/** Who gets the packets of one frontend; says nothing of how a kernel is told. */
export interface Route extends Delivery {
  readonly frontend: Frontend;
  readonly origin: RouteOrigin;
  /**
   * Who is shown a node address as the client's: those outside the cluster (where it is known who that is), everybody,
   * or processes of this host alone.
   */
  readonly masquerade: 'outsiders' | 'everybody' | 'host';
  /** What clients that are neither local pods nor this host get instead, with their own address; undefined: the same. */
  readonly outside: Delivery | undefined;
  /** Seconds that an absent client keeps its endpoint; undefined: every connection may get another. */
  readonly affinitySeconds: number | undefined;
  /** Ranges whose packets may come in at all; undefined: everybody's. */
  readonly sources: readonly string[] | undefined;
  /** By UDP: those that get no new connections by this route, and keep the flows that they have. Absent: nobody. */
  readonly holds?: readonly Pick<Target, 'ip' | 'port'>[];
  /**
   * The TCP port at which this node answers balancers' health checks of the Service; told with each of its cluster IPs.
   * Absent: none.
   */
  readonly healthPort?: number;
}

/** Routes of one Service. Slices hold resolved target ports, so Service and slice meet by port name and protocol. */
export function routeService(
  service: ServiceInfo,
  endpoints: readonly PortEndpoints[],
  place: NodePlace,
): readonly Route[] {
  return service.ports.flatMap((port) => {
    const served = endpoints.find((other) => other.name === port.name && other.protocol === port.protocol);
    const deliver = (trafficPolicy: 'Cluster' | 'Local') => delivery(served?.endpoints ?? [], place, trafficPolicy);
    const { protocol } = port;
    const holds = (...deliveries: readonly Delivery[]) =>
      protocol === 'UDP' ? holdersOf(served?.endpoints ?? [], deliveries) : {};
    const { affinitySeconds } = service;
    const common = { affinitySeconds, outside: undefined, sources: undefined };
    const { namespace, name } = service;
    const origin = (kind: RouteOrigin['kind']) => ({ origin: { namespace, name, portName: port.name, kind } });
    const internal = deliver(service.internalTrafficPolicy);
    const health = service.healthCheckNodePort === undefined ? {} : { healthPort: service.healthCheckNodePort };
    const routes = service.clusterIps.map(
      (ip): Route => ({
        ...common,
        ...internal,
        ...holds(internal),
        ...health,
        ...origin('clusterIP'),
        frontend: { ip, protocol, port: port.port },
        masquerade: 'outsiders',
      }),
    );
    const isLocal = service.externalTrafficPolicy === 'Local';
    const inside = deliver('Cluster');
    const outside = isLocal ? deliver('Local') : undefined;
    const external = {
      ...common,
      ...inside,
      ...holds(inside, ...(outside ? [outside] : [])),
      masquerade: isLocal ? 'host' : 'everybody',
      outside,
    } as const;
    for (const ip of service.externalIps) {
      routes.push({ ...external, ...origin('externalIP'), frontend: { ip, protocol, port: port.port } });
    }
    for (const ip of service.loadBalancerIps) {
      const sources = sourcesOf(service, ip, place);
      routes.push({ ...external, ...origin('loadBalancer'), frontend: { ip, protocol, port: port.port }, sources });
    }
    if (port.nodePort !== undefined) {
      const frontend = { ip: nodeAddress, protocol, port: port.nodePort };
      routes.push({ ...external, ...origin('nodePort'), frontend });
    }
    return routes;
  });
}

/**
 * Who may come in by a balancer's address. A node whose own traffic to it loops back has that address as source, which
 * may come in where the node may.
 */
function sourcesOf({ sourceRanges }: ServiceInfo, ip: string, { addresses = [] }: NodePlace): Route['sources'] {
  if (!sourceRanges || inRanges(ip, sourceRanges)) return sourceRanges;
  return addresses.some((own) => isIP(own) === isIP(ip) && inRanges(own, sourceRanges))
    ? [...sourceRanges, ip]
    : sourceRanges;
}

function delivery(endpoints: readonly PortEndpoint[], place: NodePlace, trafficPolicy: 'Cluster' | 'Local'): Delivery {
  const { usable, elsewhere } = categorizeEndpoints(endpoints, { ...place, trafficPolicy });
  const targets = usable.map(({ ip, port, nodeName }) => ({
    ip,
    port,
    mayBeLocal: nodeName === undefined || nodeName === place.nodeName,
  }));
  return { verdict: targets.length > 0 ? 'forward' : elsewhere ? 'drop' : 'reject', targets };
}

/** Who gets new connections may change at any time; as by TCP, what goes on is not cut off for it. */
function holdersOf(endpoints: readonly PortEndpoint[], deliveries: readonly Delivery[]): Pick<Route, 'holds'> {
  const reached = new Set(deliveries.flatMap(({ targets }) => targets.map(({ ip, port }) => `${ip} ${port}`)));
  const others = endpoints.filter((one) => isUsable(one) && !reached.has(`${one.ip} ${one.port}`));
  return others.length > 0 ? { holds: others.map(({ ip, port }) => ({ ip, port })) } : {};
}

export const frontendKey = ({ ip, protocol, port }: Frontend): string => `${ip} ${protocol} ${port}`;
