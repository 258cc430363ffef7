import { BlockList, isIPv4, isIPv6, SocketAddress } from 'node:net';
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
  /** Whom node ports, external and load balancer addresses lead to. */
  readonly externalTrafficPolicy: 'Cluster' | 'Local';
  readonly externalIps: readonly string[];
  /** Those that packets arrive with; a load balancer of mode Proxy rewrites them, and its address is not ours. */
  readonly loadBalancerIps: readonly string[];
  /** Whose packets may come in by a load balancer address, disjoint; undefined, also without one of the family: anybody's. */
  readonly sourceRanges: readonly string[] | undefined;
  /** How long a client that was away keeps its endpoint; undefined: no session affinity. */
  readonly affinitySeconds: number | undefined;
  /** Slices call pods ready that are not. */
  readonly publishesNotReady: boolean;
  /** Where load balancers ask whether there is an endpoint on this node. */
  readonly healthCheckNodePort: number | undefined;
}

export interface ServicePortInfo {
  /** '' for an unnamed port, as in an EndpointSlice. */
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly port: number;
  readonly nodePort: number | undefined;
}

export interface ReadService {
  /** Undefined for a Service that has no virtual address of the family: headless, ExternalName, another proxy's. */
  readonly service: ServiceInfo | undefined;
  /** What is wrong with the object; the rest of it is used. */
  readonly problems: readonly string[];
}

export const proxyNameLabel = 'service.kubernetes.io/service-proxy-name';
export const headlessLabel = 'service.kubernetes.io/headless';

const nothing: ReadService = { service: undefined, problems: [] };
const defaultAffinitySeconds = 10_800;

/** Reads one Service for one address family. */
export function readService(service: Service, family: IpFamily): ReadService {
  const { spec, metadata, status } = service;
  const labels = metadata.labels ?? {};
  if (proxyNameLabel in labels || headlessLabel in labels || spec.type === 'ExternalName') return nothing;
  const problems: string[] = [];
  const ofFamily = (path: string, addresses: readonly string[]): readonly string[] =>
    addresses.flatMap((ip) => {
      if (!isIPv4(ip) && !isIPv6(ip)) problems.push(`${path} "${ip}" is not an IP address`);
      return canonicalIp(ip, family) ?? [];
    });
  const clusterIps = ofFamily('spec.clusterIP', clusterIpsOf(service));
  const ports = readPorts(service, problems);
  if (clusterIps.length === 0) return { service: undefined, problems };
  const ingress = (status?.loadBalancer?.ingress ?? []).filter(({ ip, ipMode }) => ip && ipMode !== 'Proxy');
  const sourceRanges = disjointRanges(spec.loadBalancerSourceRanges ?? [], family, (text) =>
    problems.push(`spec.loadBalancerSourceRanges "${text}" is not a range such as 10.0.0.0/8`),
  );
  const isExternal = spec.externalTrafficPolicy === 'Local';
  const affinity = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds;
  return {
    service: {
      namespace: metadata.namespace ?? 'default',
      name: metadata.name,
      createdAt: metadata.creationTimestamp ?? '',
      clusterIps,
      ports,
      internalTrafficPolicy: spec.internalTrafficPolicy ?? 'Cluster',
      externalTrafficPolicy: spec.externalTrafficPolicy ?? 'Cluster',
      externalIps: ofFamily('spec.externalIPs', spec.externalIPs ?? []),
      loadBalancerIps: ofFamily(
        'status.loadBalancer.ingress',
        ingress.map(({ ip }) => ip ?? ''),
      ),
      sourceRanges: sourceRanges.length > 0 ? sourceRanges : undefined,
      affinitySeconds: spec.sessionAffinity === 'ClientIP' ? affinity : undefined,
      publishesNotReady: spec.publishNotReadyAddresses === true,
      healthCheckNodePort: isExternal && isPort(spec.healthCheckNodePort) ? spec.healthCheckNodePort : undefined,
    },
    problems,
  };
}

function readPorts({ spec }: Service, problems: string[]): readonly ServicePortInfo[] {
  return (spec.ports ?? []).flatMap((port): ServicePortInfo[] => {
    const { name = '', protocol = 'TCP' } = port;
    if (!isPort(port.port)) {
      problems.push(`spec.ports "${name}": ${port.port} is not a port number`);
      return [];
    }
    const nodePort = port.nodePort ? port.nodePort : undefined;
    if (nodePort === undefined || isPort(nodePort)) return [{ name, protocol, port: port.port, nodePort }];
    problems.push(`spec.ports "${name}": ${nodePort} is not a port number`);
    return [{ name, protocol, port: port.port, nodePort: undefined }];
  });
}

/** Disjoint ranges of the family, sorted, so that equal sets of them are equal. `refuse` is told what is no range. */
export function disjointRanges(
  ranges: readonly string[],
  family: IpFamily,
  refuse: (text: string) => void,
): readonly string[] {
  const read = ranges.flatMap((text): Range[] => {
    const [address = '', length = '', ...rest] = text.trim().split('/');
    const bits = isIPv4(address) ? 32 : 128;
    if ((!isIPv4(address) && !isIPv6(address)) || !/^\d+$/.test(length) || Number(length) > bits || rest.length > 0) {
      refuse(text);
      return [];
    }
    const ip = canonicalIp(address, family);
    return ip === undefined ? [] : [{ ip, length: Number(length) }];
  });
  const kept: Range[] = [];
  for (const range of read.sort((a, b) => a.length - b.length)) {
    if (
      !inRanges(
        range.ip,
        kept.map((wider) => `${wider.ip}/${wider.length}`),
      )
    )
      kept.push(range);
  }
  return kept.map(({ ip, length }) => `${ip}/${length}`).sort();
}

interface Range {
  readonly ip: string;
  readonly length: number;
}

/** Whether an address is in one of some CIDRs of its family. */
export function inRanges(ip: string, cidrs: readonly string[]): boolean {
  const type = isIPv4(ip) ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = '', length] = cidr.split('/');
    list.addSubnet(address, Number(length), type);
  }
  return list.check(ip, type);
}

/** The address as nft spells it, or undefined when it is none of the family. */
export function canonicalIp(ip: string, family: IpFamily): string | undefined {
  if (family === 'IPv4') return isIPv4(ip) ? ip : undefined;
  return isIPv6(ip) ? new SocketAddress({ address: ip, family: 'ipv6' }).address : undefined;
}

/** The addresses a Service answers on inside the cluster; none for a headless one or one without an address yet. */
export function clusterIpsOf(service: Service): readonly string[] {
  const { clusterIP, clusterIPs } = service.spec;
  const all = clusterIPs?.length ? clusterIPs : clusterIP ? [clusterIP] : [];
  return all.filter((ip) => ip !== '' && ip !== 'None');
}

export const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;
