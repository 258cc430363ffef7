import { isIPv4, isIPv6 } from 'node:net';
import type { PortProtocol, Service } from '../api/core-v1.ts';

export type IpFamily = 'IPv4' | 'IPv6';

/** What the proxy half knows of a Service: plain, comparable, without what it does not honour. */
export interface ServiceInfo {
  readonly namespace: string;
  readonly name: string;
  /** RFC 3339, '' when unknown. Of two Services that claim the same address and port the older one has it. */
  readonly createdAt: string;
  /** Valid addresses of the family asked for. */
  readonly clusterIps: readonly string[];
  readonly ports: readonly ServicePortInfo[];
  readonly internalTrafficPolicy: 'Cluster' | 'Local';
}

export interface ServicePortInfo {
  /** '' for an unnamed port, as in an EndpointSlice. */
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly port: number;
}

export interface ReadService {
  /** Undefined for a Service that has no virtual address: headless, ExternalName, another proxy's. */
  readonly service: ServiceInfo | undefined;
  /** Fields that are set and have no effect here yet, by their path. */
  readonly notHonoured: readonly string[];
  /** What is wrong with the object; the rest of it is used. */
  readonly problems: readonly string[];
}

export const proxyNameLabel = 'service.kubernetes.io/service-proxy-name';
export const headlessLabel = 'service.kubernetes.io/headless';

const nothing: ReadService = { service: undefined, notHonoured: [], problems: [] };

/** Reads one Service for one address family. */
export function readService(service: Service, family: IpFamily): ReadService {
  const { spec, metadata } = service;
  const labels = metadata.labels ?? {};
  if (proxyNameLabel in labels || headlessLabel in labels || spec.type === 'ExternalName') return nothing;
  const addresses = clusterIpsOf(service);
  if (addresses.length === 0) return nothing;
  const problems: string[] = [];
  const isOurs = family === 'IPv4' ? isIPv4 : isIPv6;
  const isOther = family === 'IPv4' ? isIPv6 : isIPv4;
  const clusterIps = addresses.filter((ip) => {
    if (!isOurs(ip) && !isOther(ip)) problems.push(`spec.clusterIP "${ip}" is not an IP address`);
    return isOurs(ip);
  });
  const ports = (spec.ports ?? []).flatMap((port): ServicePortInfo[] => {
    if (!isPort(port.port)) {
      problems.push(`spec.ports "${port.name ?? ''}": ${port.port} is not a port number`);
      return [];
    }
    return [{ name: port.name ?? '', protocol: port.protocol ?? 'TCP', port: port.port }];
  });
  return {
    service: {
      namespace: metadata.namespace ?? 'default',
      name: metadata.name,
      createdAt: metadata.creationTimestamp ?? '',
      clusterIps,
      ports,
      internalTrafficPolicy: spec.internalTrafficPolicy ?? 'Cluster',
    },
    notHonoured: notHonoured(service),
    problems,
  };
}

/** The addresses a Service answers on inside the cluster; none for a headless one or one without an address yet. */
export function clusterIpsOf(service: Service): readonly string[] {
  const { clusterIP, clusterIPs } = service.spec;
  const all = clusterIPs?.length ? clusterIPs : clusterIP ? [clusterIP] : [];
  return all.filter((ip) => ip !== '' && ip !== 'None');
}

export const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;

function notHonoured({ spec, status }: Service): readonly string[] {
  const fields: string[] = [];
  if (spec.sessionAffinity === 'ClientIP') fields.push('spec.sessionAffinity');
  if (spec.externalIPs?.length) fields.push('spec.externalIPs');
  if (spec.ports?.some((port) => port.nodePort)) fields.push('spec.ports[].nodePort');
  if (status?.loadBalancer?.ingress?.length) fields.push('status.loadBalancer.ingress');
  if (spec.trafficDistribution) fields.push('spec.trafficDistribution');
  return fields;
}
