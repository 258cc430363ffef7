import { isIPv4, isIPv6 } from 'node:net';
import type { Node } from '../api/core-v1.ts';
import type { IpFamily } from './read-service.ts';
import { canonicalIp, disjointRanges } from './read-service.ts';

/** What of the node decides how its packets are routed; plain and comparable. */
export interface NodeFacts {
  readonly zone: string | undefined;
  readonly podCidrs: readonly string[];
  /** Its InternalIPs, else its ExternalIPs; before them what the proxy is bound to. */
  readonly addresses: readonly string[];
}

/** The part of KubeProxyConfiguration that says which packets are whose. */
export interface TrafficConfig {
  readonly detectLocalMode: '' | 'ClusterCIDR' | 'NodeCIDR' | 'BridgeInterface' | 'InterfaceNamePrefix';
  readonly bridgeInterface: string;
  readonly interfaceNamePrefix: string;
  readonly clusterCidrs: readonly string[];
  /** CIDRs, or one of `primary`, `localhost`, `all`. Empty: all. */
  readonly nodePortAddresses: readonly string[];
  readonly localhostNodePorts: boolean;
  /** The node's primary address of its family; absent, 0.0.0.0 and :: leave that to the node's object. */
  readonly bindAddress?: string;
}

/** Sources in some ranges (never empty), or what comes in by an interface whose name is, or with `*` begins, so. */
export type LocalTraffic = { readonly cidrs: readonly string[] } | { readonly interface: string };

/** `bindAddress`: see TrafficConfig. */
export function nodeFactsOf(node: Node | undefined, bindAddress = ''): NodeFacts {
  const addresses = node?.status?.addresses ?? [];
  const ofType = (type: string) => addresses.filter((one) => one.type === type).map((one) => one.address);
  const internal = ofType('InternalIP');
  const bound = isSpecific(bindAddress) ? [bindAddress] : [];
  return {
    zone: node?.metadata.labels?.['topology.kubernetes.io/zone'] || undefined,
    podCidrs: node?.spec?.podCIDRs ?? [],
    addresses: [...bound, ...(internal.length > 0 ? internal : ofType('ExternalIP'))],
  };
}

/** Neither empty nor an address that stands for all of a family. */
const isSpecific = (ip: string): boolean => ip !== '' && !/^[0:.]+$/.test(ip);

/** How packets of local pods are known; undefined: not, because what the mode needs is missing for the family. */
export function detectLocal(config: TrafficConfig, facts: NodeFacts, family: IpFamily): LocalTraffic | undefined {
  switch (config.detectLocalMode) {
    case 'BridgeInterface':
      return config.bridgeInterface ? { interface: config.bridgeInterface } : undefined;
    case 'InterfaceNamePrefix':
      return config.interfaceNamePrefix ? { interface: `${config.interfaceNamePrefix}*` } : undefined;
    case 'NodeCIDR':
      return inCidrs(facts.podCidrs, family);
    case 'ClusterCIDR':
    case '':
      return inCidrs(config.clusterCidrs, family);
    default:
      return config.detectLocalMode satisfies never;
  }
}

function inCidrs(cidrs: readonly string[], family: IpFamily): LocalTraffic | undefined {
  const disjoint = disjointRanges(cidrs, family, () => {});
  return disjoint.length > 0 ? { cidrs: disjoint } : undefined;
}

/** Only the first of each family: a node may have more, and a Service shall not answer on those. */
const primaryOf = ({ addresses }: NodeFacts, family: IpFamily): string | undefined =>
  addresses.find((ip) => (family === 'IPv4' ? isIPv4(ip) : isIPv6(ip)));

/** Whether node ports are for the node's primary address, and that is not known. */
export const lacksPrimary = (wanted: readonly string[], facts: NodeFacts, family: IpFamily): boolean =>
  wanted.includes('primary') && !wanted.includes('all') && primaryOf(facts, family) === undefined;

/** No packet is ever sent there. */
const nowhere: Readonly<Record<IpFamily, string>> = { IPv4: '0.0.0.0/32', IPv6: '::/128' };

/**
 * The node's addresses that serve node ports, as disjoint CIDRs of the family; none: every one. A primary address that
 * is not known, or that the node does not have in the family, stands for no address at all.
 */
export function nodePortRanges(wanted: readonly string[], facts: NodeFacts, family: IpFamily): readonly string[] {
  const loopback = family === 'IPv4' ? '127.0.0.0/8' : '::1/128';
  if (wanted.includes('all')) return [];
  const primary = primaryOf(facts, family);
  const cidrs = wanted.flatMap((one): readonly string[] => {
    if (one === 'localhost') return [loopback];
    if (one !== 'primary') return [one];
    return primary === undefined ? [] : [`${canonicalIp(primary, family)}/${family === 'IPv4' ? 32 : 128}`];
  });
  const ranges = disjointRanges(cidrs, family, () => {});
  return ranges.length === 0 && wanted.includes('primary') ? [nowhere[family]] : ranges;
}
