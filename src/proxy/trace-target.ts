import type { PortProtocol, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { TraceStep } from '../api/service-views.ts';
import type { ProxyMode, Routes, TrafficRules } from './backend.ts';
import type { NodePlace } from './categorize-endpoints.ts';
import type { PortEndpoints } from './endpointslice-tracker.ts';
import type { IpFamily, ServiceInfo, ServicePortInfo } from './read-service.ts';
import { canonicalIp, clusterIpsOf, headlessLabel, inRanges, proxyNameLabel } from './read-service.ts';
import type { Frontend, Route, RouteOrigin } from './route-services.ts';
import { frontendKey, nodeAddress } from './route-services.ts';
import { count, few } from './trace-endpoints.ts';
import type { TraceQuestion, TraceTarget } from './trace-question.ts';

/** What is known of one address family, to trace packets with. */
export interface TraceFacts {
  readonly family: IpFamily;
  readonly mode: ProxyMode;
  readonly place: NodePlace;
  readonly rules: TrafficRules;
  readonly routes: Pick<Routes, 'get' | 'frontends' | 'routesOf'> & {
    /** Keys of the Services that want a frontend, the one that has it first. */
    claimants(frontend: string): readonly string[];
  };
  /** The node's, that which packets of this host leave with first. */
  readonly nodeAddresses: readonly string[];
  readonly podCidrs: readonly string[];
  service(key: string): ServiceInfo | undefined;
  /** As the slices say, and as this node knows them. */
  endpoints(key: string): { readonly told: readonly PortEndpoints[]; readonly known: readonly PortEndpoints[] };
  explain(frontend: string): readonly string[];
}

/** The objects as the API server or the manifests have them. */
export interface TraceObjects {
  services(): Iterable<Service>;
  /** Of every family. */
  slicesOf(serviceKey: string): readonly EndpointSlice[];
  /** Addresses of this host's interfaces. */
  hostAddresses(): readonly string[];
}

/** Where a packet goes to, and which Service has it. */
export interface Destination {
  readonly ip: string;
  readonly protocol: PortProtocol;
  readonly port: number;
  /** Undefined: no Service has it, and the steps say why. */
  readonly route: Route | undefined;
  readonly steps: readonly TraceStep[];
}

/** The destinations that a target stands for in one family; none: the Service has no address of the family. */
export function destinations(
  facts: TraceFacts,
  objects: TraceObjects,
  { target, protocol }: Pick<TraceQuestion, 'target' | 'protocol'>,
): readonly Destination[] {
  if ('ip' in target) return [destinationAt(facts, objects, { ...target, protocol: protocol ?? 'TCP' })];
  const service = facts.service(`${target.namespace}/${target.name}`);
  if (!service) return [];
  const port = choosePort(service, target.port, protocol);
  return service.clusterIps.map((ip): Destination => {
    if ('problem' in port) {
      const wanted = typeof target.port === 'number' ? target.port : 0;
      const step = { object: objectOf(service), field: 'spec.ports', sentence: port.problem };
      return { ip, protocol: protocol ?? 'TCP', port: wanted, route: undefined, steps: [about(step)] };
    }
    const at = destinationAt(facts, objects, { ip, protocol: port.protocol, port: port.port });
    const owner = at.route && keyOf(at.route.origin);
    if (owner === undefined || owner === `${target.namespace}/${target.name}`) return at;
    const sentence = `the older Service ${owner} has ${addressText(at)}: the packet goes its way`;
    const lost: TraceStep = {
      ...{ about: 'conflict', object: objectOf(service), field: 'metadata.creationTimestamp', sentence },
    };
    return { ...at, steps: [lost, ...at.steps] };
  });
}

function choosePort(
  service: ServiceInfo,
  wanted: number | string | undefined,
  protocol: PortProtocol | undefined,
): ServicePortInfo | { readonly problem: string } {
  const offered = few(service.ports.map(portText));
  const [only, another] = service.ports;
  if (!only) return { problem: 'it has no usable port' };
  if (wanted === undefined) return another ? { problem: `it has several ports: ${offered}` } : only;
  const found = service.ports.filter((port) =>
    typeof wanted === 'number' ? port.port === wanted : port.name === wanted && port.name !== '',
  );
  const byProtocol = protocol ?? (typeof wanted === 'number' ? 'TCP' : undefined);
  const port = found.find((one) => byProtocol === undefined || one.protocol === byProtocol);
  if (port) return port;
  if (service.ports.some((one) => one.nodePort === wanted)) {
    return { problem: `${wanted} is a node port of it: trace an address of the node with it; it has ${offered}` };
  }
  const what = typeof wanted === 'number' ? `port ${wanted}/${byProtocol}` : `port "${wanted}"`;
  return { problem: `it has no ${what}, but ${offered}` };
}

function destinationAt(
  facts: TraceFacts,
  objects: TraceObjects,
  at: { readonly ip: string; readonly protocol: PortProtocol; readonly port: number },
): Destination {
  const { ip, protocol, port } = at;
  const own = facts.routes.get(frontendKey({ ip, protocol, port }));
  if (own) return { ...at, route: own, steps: [frontendStep(at, own), ...claimStep(facts, own.frontend)] };
  const isHosts = isLoopback(ip) || [...facts.nodeAddresses, ...objects.hostAddresses()].includes(ip);
  const nodePort = isHosts ? nodePortAt(facts, at) : undefined;
  // The host's addresses may be external ones of Services too.
  if (nodePort?.route) return nodePort;
  const others = offeredAt(facts, ip);
  const [first] = others;
  if (first) return { ...at, route: undefined, steps: [otherPortStep(at, first, others)] };
  return nodePort ?? { ...at, route: undefined, steps: [absentAddress(facts, objects, ip)] };
}

function otherPortStep({ ip, protocol, port }: Frontend, first: Route, others: readonly Route[]): TraceStep {
  const owners = [...new Set(others.map((route) => keyOf(route.origin)))];
  const ports = few(others.map(({ frontend }) => `${frontend.port}/${frontend.protocol}`));
  const whose = owners.length === 1 ? 'the Service' : 'these Services';
  const sentence = `${ip} is an address of ${whose}, but not with port ${port}/${protocol}; it has ${ports}`;
  return about({ object: `Service ${few(owners)}`, field: fieldOf(first.origin), sentence });
}

function offeredAt({ routes }: TraceFacts, ip: string): readonly Route[] {
  const keys = [...routes.frontends()].filter((key) => key.startsWith(`${ip} `));
  return keys.flatMap((key) => routes.get(key) ?? []);
}

const isLoopback = (ip: string): boolean => ip === '::1' || ip.startsWith('127.');

function nodePortAt({ routes, rules, family, mode }: TraceFacts, at: Omit<Frontend, 'route'>): Destination {
  const { ip, protocol, port } = at;
  const route = routes.get(frontendKey({ ip: nodeAddress, protocol, port }));
  const untouched = (sentence: string, object?: string, field?: string): Destination => ({
    ...at,
    route: undefined,
    steps: [about({ sentence, ...(object ? { object } : {}), ...(field ? { field } : {}) })],
  });
  if (!route) return untouched(`${ip} is this host's own, and no Service has the node port ${port}/${protocol}`);
  const owner = keyOf(route.origin);
  if (isLoopback(ip) && mode === 'ipvs') {
    const sentence = `${port} is a node port of Service ${owner}, but IPVS leads nothing from a loopback address elsewhere`;
    return untouched(sentence, 'KubeProxyConfiguration', 'mode: ipvs');
  }
  if (isLoopback(ip) && !(rules.localhostNodePorts && family === 'IPv4')) {
    const sentence = `${port} is a node port of Service ${owner}, which does not answer on loopback addresses`;
    const isIPv6 = family === 'IPv6';
    return untouched(`${sentence}${isIPv6 ? ' of IPv6' : ''}`, 'KubeProxyConfiguration', 'iptables.localhostNodePorts');
  }
  if (rules.nodePortAddresses.length > 0 && !inRanges(ip, rules.nodePortAddresses)) {
    const served = few(rules.nodePortAddresses);
    const sentence = `${port} is a node port of Service ${owner}, but node ports answer in ${served} only`;
    return untouched(sentence, 'KubeProxyConfiguration', 'nodePortAddresses');
  }
  return { ...at, route, steps: [frontendStep(at, route)] };
}

const kindText: Readonly<Record<RouteOrigin['kind'], string>> = {
  clusterIP: 'cluster IP',
  externalIP: 'external IP',
  loadBalancer: 'load balancer address',
  nodePort: 'node port',
};

function fieldOf(origin: RouteOrigin | undefined): string {
  switch (origin?.kind) {
    case 'externalIP':
      return 'spec.externalIPs';
    case 'loadBalancer':
      return 'status.loadBalancer.ingress';
    case 'nodePort':
      return 'spec.ports[].nodePort';
    default:
      return 'spec.clusterIPs';
  }
}

function frontendStep(at: Omit<Frontend, 'route'>, { origin }: Route): TraceStep {
  const name = origin.portName === '' ? '' : `, port "${origin.portName}"`;
  const sentence = `${addressText(at)} is its ${kindText[origin.kind]}${name}`;
  return about({ object: objectOf(origin), field: fieldOf(origin), sentence });
}

function claimStep({ routes }: TraceFacts, frontend: Frontend): readonly TraceStep[] {
  const [winner, ...losers] = routes.claimants(frontendKey(frontend));
  if (losers.length === 0) return [];
  const sentence = `${few(losers)} ${losers.length === 1 ? 'wants' : 'want'} the same address and port; the oldest Service has it`;
  return [{ about: 'conflict', object: `Service ${winner}`, field: 'metadata.creationTimestamp', sentence }];
}

/** An address that no Service answers on; a Service may name it all the same. */
function absentAddress({ family, nodeAddresses }: TraceFacts, objects: TraceObjects, ip: string): TraceStep {
  for (const { metadata, spec, status } of objects.services()) {
    const object = `Service ${metadata.namespace ?? 'default'}/${metadata.name}`;
    const ingress = listOf(status?.loadBalancer?.ingress).find((one) => canonicalIp(one.ip ?? '', family) === ip);
    if (ingress?.ipMode === 'Proxy') {
      const sentence = 'mode Proxy: the balancer sends with an address of its own, and the packet is left to it';
      return about({ object, field: 'status.loadBalancer.ingress[].ipMode', sentence });
    }
    if (listOf(spec?.externalIPs).some((one) => canonicalIp(one, family) === ip) || ingress) {
      const sentence = `names ${ip}, but has no cluster IP of ${family} or no usable port: it is not programmed`;
      return about({ object, field: 'spec.clusterIPs', sentence });
    }
  }
  if (nodeAddresses.length === 0 && objects.hostAddresses().length === 0) {
    const sentence = `${ip} is no address of a Service, and which ones this node has is not known: its Node is missing, or has none`;
    return about({ sentence, field: 'status.addresses' });
  }
  return about({ sentence: `${ip} is no address of a Service and none of this host: the packet goes on as it is` });
}

/** The API server makes sure of types; a manifest may hold anything. */
const listOf = <T>(value: readonly T[] | null | undefined): readonly T[] => (Array.isArray(value) ? value : []);

/** Why a Service has no destination in any family that was asked for. */
export function explainAbsence(
  target: Exclude<TraceTarget, { ip: string }>,
  families: readonly IpFamily[],
  objects: TraceObjects,
): TraceStep {
  const key = `${target.namespace}/${target.name}`;
  const all = [...objects.services()];
  const found = all.find(
    ({ metadata }) => metadata.name === target.name && (metadata.namespace ?? 'default') === target.namespace,
  );
  const object = `Service ${key}`;
  if (!found) {
    const elsewhere = all.filter(({ metadata }) => metadata.name === target.name).map((one) => one.metadata.namespace);
    const hint = elsewhere.length > 0 ? `; one of this name is in ${few(elsewhere.map((one) => `${one}`))}` : '';
    const sentence = `not known here${hint}. A Service with one of the labels ${proxyNameLabel} and ${headlessLabel} is another proxy's, or nobody's`;
    return about({ object, sentence });
  }
  const { spec, metadata } = found;
  const labels = metadata.labels ?? {};
  if (proxyNameLabel in labels) {
    const sentence = `it is for the proxy "${labels[proxyNameLabel]}", and keelson leaves it alone`;
    return about({ object, field: `metadata.labels["${proxyNameLabel}"]`, sentence });
  }
  if (spec.type === 'ExternalName') {
    const sentence = `it is an alias in DNS for ${spec.externalName}: clients go there themselves`;
    return about({ object, field: 'spec.type: ExternalName', sentence });
  }
  if (headlessLabel in labels || spec.clusterIP === 'None') {
    const endpoints = objects.slicesOf(key).reduce((sum, slice) => sum + (slice.endpoints?.length ?? 0), 0);
    const field = headlessLabel in labels ? `metadata.labels["${headlessLabel}"]` : 'spec.clusterIP: None';
    const sentence = `it is headless: DNS gives clients its ${count(endpoints, 'endpoint')}, and no rule is made`;
    return about({ object, field, sentence });
  }
  const addresses = clusterIpsOf(found);
  const has = addresses.length > 0 ? `its addresses are ${few(addresses)}` : 'it has no address yet';
  const sentence = `it has no cluster IP of ${families.join(' or ')}: ${has}`;
  return about({ object, field: 'spec.clusterIPs', sentence });
}

const about = (rest: Omit<TraceStep, 'about'>): TraceStep => ({ about: 'frontend', ...rest });
const objectOf = ({ namespace, name }: { namespace: string; name: string }): string => `Service ${namespace}/${name}`;
export const keyOf = ({ namespace, name }: RouteOrigin): string => `${namespace}/${name}`;

const portText = ({ name, protocol, port }: ServicePortInfo): string =>
  name === '' ? `${port}/${protocol}` : `${port}/${protocol} "${name}"`;

export function addressText({ ip, protocol, port }: Frontend): string {
  const host = ip === nodeAddress ? 'every address of the node' : ip.includes(':') ? `[${ip}]` : ip;
  return `${host}${ip === nodeAddress ? ', port ' : ':'}${port}/${protocol}`;
}
