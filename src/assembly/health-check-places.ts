import { BlockList } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import type { Node } from '../api/core-v1.ts';
import { nodeFactsOf, nodePortRanges } from '../proxy/node-facts.ts';

/** Where to listen. */
export interface Place {
  readonly address: string;
  /** At `::`: not for IPv4. */
  readonly ipv6Only: boolean;
}

export interface PlacesInput {
  readonly nodePortAddresses: readonly string[];
  readonly bindAddress: string;
  readonly node: Node | undefined;
  readonly hasIpv6: boolean;
  /** The host's, as the system tells them. */
  readonly interfaces: Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;
}

/**
 * Where health checks are served: at those addresses of the host that serve node ports too. A family that is not
 * limited is served at all its addresses.
 */
export function healthCheckPlaces(input: PlacesInput): readonly Place[] {
  const facts = nodeFactsOf(input.node, input.bindAddress);
  const families = input.hasIpv6 ? (['IPv4', 'IPv6'] as const) : (['IPv4'] as const);
  const ranges = new Map(families.map((family) => [family, nodePortRanges(input.nodePortAddresses, facts, family)]));
  if ([...ranges.values()].every((one) => one.length === 0)) {
    return [{ address: input.hasIpv6 ? '::' : '0.0.0.0', ipv6Only: false }];
  }
  const own = Object.values(input.interfaces).flatMap((addresses) => addresses ?? []);
  return [...ranges].flatMap(([family, cidrs]): Place[] => {
    if (cidrs.length === 0) return [{ address: family === 'IPv4' ? '0.0.0.0' : '::', ipv6Only: true }];
    const served = rangesOf(cidrs);
    // Nobody asks a link-local address, which is none without its interface.
    const ips = own.filter((one) => one.family === family && !one.scopeid).map((one) => one.address);
    const asked = ips.filter((ip) => served.check(ip, family === 'IPv4' ? 'ipv4' : 'ipv6'));
    return [...new Set(asked)].sort().map((address) => ({ address, ipv6Only: true }));
  });
}

function rangesOf(cidrs: readonly string[]): BlockList {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [ip = '', prefix = ''] = cidr.split('/');
    list.addSubnet(ip, Number(prefix), ip.includes(':') ? 'ipv6' : 'ipv4');
  }
  return list;
}
