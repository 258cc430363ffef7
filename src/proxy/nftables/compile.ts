import { createHash } from 'node:crypto';
import type { PortProtocol } from '../../api/core-v1.ts';
import type { Delivery, Route } from '../route-services.ts';
import { nodeAddress } from '../route-services.ts';
import type { Affinity } from './keep-chain.ts';

/** The elements that a frontend has in the kernel, and the slots it shall own; everything in nft's spelling. */
export interface DesiredFrontend {
  readonly id: FrontendId;
  /** `10.244.0.5 . 8080`, in no particular order: which slot holds which is for the diff to choose. */
  readonly endpoints: readonly string[];
  readonly verdict: Delivery['verdict'];
  /** Who is masqueraded; default: outsiders. */
  readonly masquerade?: Route['masquerade'];
  /** What clients from outside get instead; undefined: the same. */
  readonly outside?: { readonly endpoints: readonly string[]; readonly verdict: Delivery['verdict'] } | undefined;
  readonly affinity?: Affinity | undefined;
  /** The only ranges that may send here; undefined: all. */
  readonly sources?: readonly string[] | undefined;
}

export type Proto = 'tcp' | 'udp' | 'sctp';
export const protos: readonly Proto[] = ['tcp', 'udp', 'sctp'];

export interface FrontendId {
  /** An address, or `nodeAddress`. */
  readonly ip: string;
  readonly proto: Proto;
  readonly port: number;
}

const protoNames: Readonly<Record<PortProtocol, Proto>> = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp' };

/** One route as elements. Pure, and dependent on nothing but the route, so that results may be kept per Service. */
export function compileRoute(route: Route): DesiredFrontend {
  const { ip, port } = route.frontend;
  const { masquerade, sources } = route;
  const outside = route.outside && { endpoints: endpointsOf(route.outside), verdict: route.outside.verdict };
  const id = { ip, proto: protoOf(route), port };
  return {
    ...{ id, verdict: route.verdict, endpoints: endpointsOf(route), masquerade },
    ...{ sources, outside, affinity: affinityOf(route) },
  };
}

/** How a route's clients keep their endpoints; undefined: they do not. */
export function affinityOf({ affinitySeconds, origin }: Route): Affinity | undefined {
  const servicePort = `${origin.namespace}/${origin.name} ${origin.portName}`;
  return affinitySeconds === undefined ? undefined : { servicePort, seconds: affinitySeconds };
}

export const protoOf = (route: Route): Proto => protoNames[route.frontend.protocol];

export const endpointsOf = ({ targets }: Delivery): readonly string[] =>
  targets.map(({ ip, port }) => `${ip} . ${port}`);

/** Key of the maps of verdicts: `10.96.0.9 . tcp . 80`, or `tcp . 30080` for a node port. */
export const frontendElement = ({ ip, proto, port }: FrontendId): string =>
  ip === nodeAddress ? `${proto} . ${port}` : `${ip} . ${proto} . ${port}`;

/** Key of the maps of endpoints: `10.96.0.9 . 80 . 3`, or `30080 . 3`. */
export const slotElement = ({ ip, port }: FrontendId, slot: number): string =>
  ip === nodeAddress ? `${port} . ${slot}` : `${ip} . ${port} . ${slot}`;

/**
 * What a chain that picks an endpoint is made for; its name says all of it. `pick` masquerades outsiders, `masq`
 * everybody, `host` this host, and `plain`, which alone looks among the endpoints for outside, nobody.
 */
export interface PickChain {
  readonly kind: 'pick' | 'masq' | 'host' | 'plain';
  readonly onNode: boolean;
  readonly proto: Proto;
  readonly count: number;
}

/** `pick-tcp-5`, `masq-node-udp-3`: spreads over slots 0 … count-1. */
export const pickChainName = ({ kind, onNode, proto, count }: PickChain): string =>
  `${kind}${onNode ? '-node' : ''}-${proto}-${count}`;

/** What a pick chain's name says, or undefined for any other name. */
export function parsePickChain(name: string): PickChain | undefined {
  const match = /^(pick|masq|host|plain)(-node)?-(tcp|udp|sctp)-([1-9][0-9]{0,4})$/.exec(name);
  if (!match) return undefined;
  const [, kind, node, proto, count] = match;
  return {
    kind: kind as PickChain['kind'],
    onNode: node !== undefined,
    proto: proto as Proto,
    count: Number(count),
  };
}

/** `only-1a2b3c4d5e6f`: drops what does not come from these ranges. Frontends with equal ranges share it. */
export const sourcesChainName = (ranges: readonly string[]): string =>
  `only-${createHash('sha256').update(ranges.join()).digest('hex').slice(0, 12)}`;

export const isSourcesChain = (name: string): boolean => /^only-[0-9a-f]{12}$/.test(name);
