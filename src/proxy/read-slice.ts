import type { PortProtocol } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { IpFamily } from './read-service.ts';
import { canonicalIp, isPort } from './read-service.ts';

/** What the proxy half knows of an EndpointSlice: one entry for each port, each with all addresses. */
export interface SliceInfo {
  /** `namespace/name` of the Service. */
  readonly serviceKey: string;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly EndpointInfo[];
}

export interface SlicePort {
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly port: number;
}

export interface EndpointInfo {
  readonly ip: string;
  /** Undefined when the slice does not say where the endpoint runs. */
  readonly nodeName: string | undefined;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  /** The zones and nodes that this endpoint is meant for; absent: no hint. */
  readonly forZones?: readonly string[];
  readonly forNodes?: readonly string[];
}

export interface ReadSlice {
  /** Undefined for a slice that belongs to no Service or is of another address family. */
  readonly slice: SliceInfo | undefined;
  readonly problems: readonly string[];
}

/**
 * Reads one EndpointSlice for one address family. A condition that is absent counts as the API defines it: ready
 * and serving are then true, terminating false. Of an endpoint with several addresses the first one counts.
 */
export function readSlice(slice: EndpointSlice, family: IpFamily): ReadSlice {
  const serviceName = slice.metadata.labels?.[serviceNameLabel];
  if (!serviceName || slice.addressType !== family) return { slice: undefined, problems: [] };
  const problems: string[] = [];
  const endpoints = (slice.endpoints ?? []).flatMap((endpoint): EndpointInfo[] => {
    const address = endpoint.addresses[0] ?? '';
    const ip = canonicalIp(address, family);
    if (ip === undefined) {
      problems.push(`endpoint address "${address}" is not an ${family} address`);
      return [];
    }
    const { ready = true, serving = ready, terminating = false } = endpoint.conditions ?? {};
    const { forZones, forNodes } = endpoint.hints ?? {};
    const hints = {
      ...(forZones?.length ? { forZones: forZones.map(({ name }) => name) } : {}),
      ...(forNodes?.length ? { forNodes: forNodes.map(({ name }) => name) } : {}),
    };
    return [{ ip, nodeName: endpoint.nodeName, ready, serving, terminating, ...hints }];
  });
  const ports = (slice.ports ?? []).flatMap((port): SlicePort[] => {
    if (!isPort(port.port)) {
      problems.push(`port "${port.name ?? ''}": ${port.port ?? 'no value'} is not a port number`);
      return [];
    }
    return [{ name: port.name ?? '', protocol: port.protocol ?? 'TCP', port: port.port }];
  });
  const serviceKey = `${slice.metadata.namespace ?? 'default'}/${serviceName}`;
  return { slice: { serviceKey, ports, endpoints }, problems };
}
