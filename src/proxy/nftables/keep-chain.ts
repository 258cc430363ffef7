import { createHash } from 'node:crypto';
import type { DesiredFrontend, PickChain, Proto } from './compile.ts';

/**
 * Session affinity. A frontend that has it is led to a chain of its own, which holds its endpoints: a client that is
 * noted for one of them gets it, anybody else a random one and a note. The notes of all are in one set per protocol,
 * as a client and the number of an endpoint of a Service port; so a client has the same endpoint by every address of
 * that port.
 *
 * A map of client to endpoint would take one rule instead of two per endpoint, but nft (1.0.6 at least) aborts where a
 * rule notes an address of IPv6 together with a port in one: "dreg < ctx->reg_low".
 */
export interface Affinity {
  /** `default/web http`: those that share notes. */
  readonly servicePort: string;
  /** How long an absent client keeps its endpoint. */
  readonly seconds: number;
}

export interface KeepChain {
  readonly kind: PickChain['kind'];
  readonly proto: Proto;
  /** `10.244.0.5 . 8080`, in nft's spelling. */
  readonly endpoints: readonly string[];
  readonly affinity: Affinity;
}

/** Clients and the numbers of their endpoints; the kernel writes it. */
export const affinitySet = (proto: Proto): string => `affinity-${proto}`;
/** A client more than this is spread as if it had no affinity. */
export const maxAffinities = 262_144;

/** The chains of one frontend that keep clients, for everybody and for outside; none without affinity or endpoints. */
export function keepChainsOf(desired: DesiredFrontend): {
  readonly pick: KeepChain | undefined;
  readonly outside: KeepChain | undefined;
} {
  const { affinity, masquerade = 'outsiders', outside } = desired;
  const { proto } = desired.id;
  const keep = (kind: PickChain['kind'], endpoints: readonly string[] = []) =>
    affinity && endpoints.length > 0 ? { kind, proto, endpoints, affinity } : undefined;
  return { pick: keep(pickKinds[masquerade], desired.endpoints), outside: keep('plain', outside?.endpoints) };
}

export const pickKinds = { outsiders: 'pick', everybody: 'masq', host: 'host' } as const;

/** `keep-1a2b3c4d5e6f`: stands for all that is in the chain, whatever order the endpoints come in. */
export function keepChainName({ kind, proto, endpoints, affinity }: KeepChain): string {
  const all = [kind, proto, affinity.servicePort, affinity.seconds, ...endpoints.toSorted()];
  return `keep-${createHash('sha256').update(all.join('\n')).digest('hex').slice(0, 12)}`;
}

export const isKeepChain = (name: string): boolean => /^keep-[0-9a-f]{12}$/.test(name);

/** The number that stands for an endpoint (`10.244.0.5 . 8080`) of a Service port in the notes; two may share one. */
export const endpointNumber = (
  { servicePort }: Pick<Affinity, 'servicePort'>,
  proto: Proto,
  endpoint: string,
): number => createHash('sha256').update(`${servicePort}\n${proto}\n${endpoint}`).digest().readUInt32BE() >>> 1;

/** What follows the rules that masquerade. */
export function keepRules(chain: KeepChain, family: 'ip' | 'ip6'): readonly string[] {
  const { proto, affinity } = chain;
  const endpoints = chain.endpoints.toSorted();
  const of = `meta l4proto ${proto}`;
  const set = affinitySet(proto);
  const all = endpoints.map((endpoint) => {
    // nft takes a number of this width from nothing but an expression: this one has a single value.
    const note = `${family} saddr . numgen random mod 1 offset ${endpointNumber(affinity, proto, endpoint)}`;
    const lead = `update @${set} { ${note} timeout ${affinity.seconds}s } dnat ${family} to ${addressOf(endpoint)}`;
    return { note, lead };
  });
  const count = endpoints.length;
  const anywhere = endpoints.map((endpoint, i) => `${i} : ${endpoint}`).join(', ');
  return [
    ...all.map(({ note, lead }) => `${of} ${note} @${set} ${lead}`),
    ...all.map(({ lead }, i) => `${of} numgen random mod ${count - i} 0 ${lead}`),
    // Where the set is full, a rule that would add to it ends there.
    `${of} dnat ${family} to numgen random mod ${count} map { ${anywhere} }`,
  ];
}

const addressOf = (endpoint: string): string => {
  const [ip = '', port = ''] = endpoint.split(' . ');
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
};
