import { BlockList, isIPv4, isIPv6 } from 'node:net';
import type { PortProtocol, Service } from '../api/core-v1.ts';
import { FieldReader } from './field-reader.ts';
import { spelledSix } from './usable-address.ts';

export { isPort } from './field-reader.ts';

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
const protocols = ['TCP', 'UDP', 'SCTP'] as const;
const policies = ['Cluster', 'Local'] as const;
const defaultAffinitySeconds = 10_800;
/** As the API has it: a day. */
const maxAffinitySeconds = 86_400;

/**
 * Reads one Service for one address family. Whatever stands in the object, this does not throw: what cannot be used
 * is named and left out, and what the API has a default for gets that.
 */
export function readService(service: Service, family: IpFamily): ReadService {
  const fields = new FieldReader();
  const metadata = fields.object(service.metadata, 'metadata') ?? {};
  const spec = fields.object(service.spec, 'spec');
  const labels = fields.object(metadata['labels'], 'metadata.labels') ?? {};
  if (proxyNameLabel in labels || headlessLabel in labels || spec?.['type'] === 'ExternalName') return nothing;
  const name = fields.text(metadata['name'], 'metadata.name');
  if (!name) fields.refuse('metadata.name', name, 'is no name');
  if (!spec) fields.refuse('spec', service.spec, 'is no specification');
  const info = name && spec ? readSpec(service, name, family, fields) : undefined;
  return { service: info, problems: fields.problems };
}

function readSpec(
  { metadata, spec, status }: Service,
  name: string,
  family: IpFamily,
  fields: FieldReader,
): ServiceInfo | undefined {
  const ofFamily = (values: readonly unknown[], path: string, options?: { readonly mayBeLinkLocal: boolean }) => {
    const ips = values.map((value) => fields.address(value, path, options));
    return [...new Set(ips.filter((ip) => ip !== undefined).filter((ip) => familyOf(ip) === family))];
  };
  const many = fields.list(spec.clusterIPs, 'spec.clusterIPs');
  const written = (many.length > 0 ? many : [spec.clusterIP ?? '']).filter((ip) => ip !== '' && ip !== 'None');
  // The range of a cluster's Services is its administrator's choice.
  const clusterIps = ofFamily(written, 'spec.clusterIP', { mayBeLinkLocal: true });
  const ports = readPorts(spec.ports, fields);
  if (clusterIps.length === 0) return undefined;
  const policy = (key: 'internalTrafficPolicy' | 'externalTrafficPolicy') =>
    fields.oneOf(spec[key], policies, `spec.${key}`) ?? 'Cluster';
  const externalTrafficPolicy = policy('externalTrafficPolicy');
  const hasHealthCheck = externalTrafficPolicy === 'Local' && spec.type === 'LoadBalancer';
  const healthCheckNodePort = fields.optionalPort(spec.healthCheckNodePort, 'spec.healthCheckNodePort');
  return {
    namespace: fields.text(metadata.namespace, 'metadata.namespace') || 'default',
    name,
    createdAt: fields.text(metadata.creationTimestamp, 'metadata.creationTimestamp') ?? '',
    clusterIps,
    // A copy, because a list that has grown keeps room for many more.
    ports: [...ports],
    internalTrafficPolicy: policy('internalTrafficPolicy'),
    externalTrafficPolicy,
    externalIps: ofFamily(fields.list(spec.externalIPs, 'spec.externalIPs'), 'spec.externalIPs'),
    loadBalancerIps: ofFamily(readIngress(status, fields), 'status.loadBalancer.ingress'),
    sourceRanges: readSourceRanges(spec.loadBalancerSourceRanges, family, fields),
    affinitySeconds: readAffinity(spec, fields),
    publishesNotReady: fields.flag(spec.publishNotReadyAddresses, 'spec.publishNotReadyAddresses') === true,
    healthCheckNodePort: hasHealthCheck ? healthCheckNodePort : undefined,
  };
}

function readPorts(written: unknown, fields: FieldReader): readonly ServicePortInfo[] {
  const taken = new Map<string, string>();
  const isFree = (what: string, path: string): boolean => {
    const other = taken.get(what);
    if (other === undefined) taken.set(what, path);
    else fields.refuse(path, what, `is taken by ${other}`);
    return other === undefined;
  };
  return fields.list(written, 'spec.ports').flatMap((one, i): ServicePortInfo[] => {
    const path = `spec.ports[${i}]`;
    const fieldsOfOne = fields.object(one, path);
    if (!fieldsOfOne) return [];
    const name = fields.text(fieldsOfOne['name'], `${path}.name`) ?? '';
    const protocol = readProtocol(fieldsOfOne['protocol'], `${path}.protocol`, fields);
    const port = fields.port(fieldsOfOne['port'], `${path}.port`);
    if (protocol === undefined || port === undefined || !isFree(`${protocol} ${port}`, `${path}.port`)) return [];
    const nodePort = fields.optionalPort(fieldsOfOne['nodePort'], `${path}.nodePort`);
    const hasNodePort = nodePort !== undefined && isFree(`${protocol} *:${nodePort}`, `${path}.nodePort`);
    return [{ name, protocol, port, nodePort: hasNodePort ? nodePort : undefined }];
  });
}

/** TCP where none is written, undefined for one that nobody knows. */
export function readProtocol(written: unknown, path: string, fields: FieldReader): PortProtocol | undefined {
  return written === undefined || written === null || written === '' ? 'TCP' : fields.oneOf(written, protocols, path);
}

/** The addresses that packets come with; those of a balancer that rewrites them are none of ours. */
function readIngress(written: Service['status'], fields: FieldReader): readonly unknown[] {
  const status = fields.object(written, 'status')?.['loadBalancer'];
  const balancer = fields.object(status, 'status.loadBalancer')?.['ingress'];
  return fields.list(balancer, 'status.loadBalancer.ingress').flatMap((one, i) => {
    const ingress = fields.object(one, `status.loadBalancer.ingress[${i}]`);
    return ingress?.['ip'] && ingress['ipMode'] !== 'Proxy' ? [ingress['ip']] : [];
  });
}

/** Where every range is unreadable, somebody is to be kept out, and nobody knows who: then all are. */
function readSourceRanges(written: unknown, family: IpFamily, fields: FieldReader): readonly string[] | undefined {
  const path = 'spec.loadBalancerSourceRanges';
  const ranges = fields.texts(written, path);
  let refused = 0;
  const read = disjointRanges(ranges, family, (text) => {
    refused += 1;
    fields.refuse(path, text, 'is not a range such as 10.0.0.0/8');
  });
  const isUnreadable = ranges.length > 0 && refused === ranges.length;
  return read.length > 0 || isUnreadable ? read : undefined;
}

function readAffinity(spec: Service['spec'], fields: FieldReader): number | undefined {
  const affinity = fields.oneOf(spec.sessionAffinity, ['None', 'ClientIP'], 'spec.sessionAffinity');
  if (affinity !== 'ClientIP') return undefined;
  const config = 'spec.sessionAffinityConfig';
  const clientIp = fields.object(fields.object(spec.sessionAffinityConfig, config)?.['clientIP'], `${config}.clientIP`);
  const seconds = clientIp?.['timeoutSeconds'];
  if (seconds === undefined || seconds === null) return defaultAffinitySeconds;
  if (Number.isInteger(seconds) && Number(seconds) >= 1 && Number(seconds) <= maxAffinitySeconds)
    return Number(seconds);
  fields.refuse(`${config}.clientIP.timeoutSeconds`, seconds, `is not from 1 to ${maxAffinitySeconds}`);
  return defaultAffinitySeconds;
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
export const inRanges = (ip: string, cidrs: readonly string[]): boolean => rangeTest(cidrs, familyOf(ip))(ip);

/** The same for many addresses of one family. */
export function rangeTest(cidrs: readonly string[], family: IpFamily): (ip: string) => boolean {
  const type = family === 'IPv4' ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = '', length] = cidr.split('/');
    list.addSubnet(address, Number(length), type);
  }
  return (ip) => list.check(ip, type);
}

/** The address as nft spells it, or undefined when it is none of the family. */
export function canonicalIp(ip: string, family: IpFamily): string | undefined {
  if (family === 'IPv4') return isIPv4(ip) ? ip : undefined;
  return isIPv6(ip) && !ip.includes('%') ? spelledSix(ip) : undefined;
}

export const familyOf = (ip: string): IpFamily => (ip.includes(':') ? 'IPv6' : 'IPv4');

/** The addresses a Service answers on inside the cluster; none for a headless one or one without an address yet. */
export function clusterIpsOf(service: Service): readonly string[] {
  const { clusterIP, clusterIPs } = service.spec;
  const all = clusterIPs?.length ? clusterIPs : clusterIP ? [clusterIP] : [];
  return all.filter((ip) => ip !== '' && ip !== 'None');
}
