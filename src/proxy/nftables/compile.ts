import type { PortProtocol } from '../../api/core-v1.ts';
import type { Route } from '../route-services.ts';

/** The element that a frontend has in the kernel, and the slots it shall own; everything in nft's spelling. */
export interface DesiredFrontend {
  readonly id: FrontendId;
  /** `10.244.0.5 . 8080`, in no particular order: which slot holds which is for the diff to choose. */
  readonly endpoints: readonly string[];
  readonly verdict: 'forward' | 'reject' | 'drop';
}

export type Proto = 'tcp' | 'udp' | 'sctp';
export const protos: readonly Proto[] = ['tcp', 'udp', 'sctp'];

export interface FrontendId {
  readonly ip: string;
  readonly proto: Proto;
  readonly port: number;
}

const protoOf: Readonly<Record<PortProtocol, Proto>> = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp' };

/** One route as elements. Pure, and dependent on nothing but the route, so that results may be kept per Service. */
export function compileRoute(route: Route): DesiredFrontend {
  const { ip, protocol, port } = route.frontend;
  return {
    id: { ip, proto: protoOf[protocol], port },
    endpoints: route.targets.map((target) => `${target.ip} . ${target.port}`),
    verdict: route.verdict,
  };
}

/** Key of `frontends` and `no-endpoints`: `10.96.0.9 . tcp . 80`. */
export const frontendElement = ({ ip, proto, port }: FrontendId): string => `${ip} . ${proto} . ${port}`;

/** Key of `endpoints-<proto>`: `10.96.0.9 . 80 . 3`. */
export const slotElement = ({ ip, port }: FrontendId, slot: number): string => `${ip} . ${port} . ${slot}`;

/** The chain that spreads over slots 0 … count-1: `pick-tcp-5`. */
export const pickChainName = (proto: Proto, count: number): string => `pick-${proto}-${count}`;

/** What a pick chain's name says, or undefined for any other name. */
export function parsePickChain(name: string): { readonly proto: Proto; readonly count: number } | undefined {
  const match = /^pick-(tcp|udp|sctp)-([1-9][0-9]{0,4})$/.exec(name);
  return match ? { proto: match[1] as Proto, count: Number(match[2]) } : undefined;
}
