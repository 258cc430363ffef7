import { createHash } from 'node:crypto';
import type { Proto } from './compile.ts';
import { parsePickChain, protos } from './compile.ts';

/**
 * The part of the table that does not depend on Services: sets, maps, base chains, and the shape of a pick chain.
 *
 *   client ─► prerouting / output ─ vmap @frontends ─► pick-<proto>-<N> ─ mark?, dnat to slot random mod N
 *          ─► filter hooks ─ vmap @no-endpoints ─► reject / drop
 *          ─► postrouting ─ marked, or endpoint talks to itself ─► masquerade
 *
 * Endpoint maps and pick chains are per protocol because nft (1.0.6 at least) cannot add a rule that looks up a map
 * declared with `th dport` once that map is in the kernel: "conflicting protocols specified: tcp vs. th". With the
 * protocol's own header it can.
 */
export interface RulesetOptions {
  readonly family: 'ip' | 'ip6';
  readonly table: string;
  /** All connections to virtual addresses get a node address as source. */
  readonly masqueradeAll: boolean;
  /** Connections from elsewhere get a node address as source; empty: not known, so none do. CIDRs of the family. */
  readonly clusterCidrs: readonly string[];
  /** The bit (0 … 31) of the packet mark that asks postrouting to masquerade. */
  readonly masqueradeBit: number;
}

export interface ChainSpec {
  readonly name: string;
  /** `type nat hook prerouting priority -100`; undefined for a chain that is only jumped to. */
  readonly base: BaseChain | undefined;
  readonly rules: readonly string[];
}

export interface BaseChain {
  readonly type: 'nat' | 'filter';
  readonly hook: string;
  readonly priority: number;
}

export interface SetSpec {
  readonly kind: 'map' | 'set';
  readonly name: string;
  /** What stands between the braces of its declaration. */
  readonly declaration: string;
}

/** Raised with every change of the sets or base chains that a rewrite of rules cannot bring about in place. */
export const layoutVersion = 1;
/** An empty chain whose name tells a later keelson which layout it finds; every nft version lists names alike. */
export const markerChain = `layout-${layoutVersion}`;

export const rejectChain = 'refuse';
export const hairpinSet = 'hairpins';
export const frontendMap = 'frontends';
export const noEndpointsMap = 'no-endpoints';
export const endpointMap = (proto: Proto): string => `endpoints-${proto}`;

export function staticSets(options: RulesetOptions): readonly SetSpec[] {
  const address = options.family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const frontends = `type ${address} . inet_proto . inet_service : verdict;`;
  return [
    { kind: 'map', name: frontendMap, declaration: frontends },
    { kind: 'map', name: noEndpointsMap, declaration: frontends },
    { kind: 'set', name: hairpinSet, declaration: `type ${address} . ${address};` },
    ...protos.map((proto): SetSpec => {
      const target = `${options.family} daddr . ${proto} dport`;
      const declaration = `typeof ${target} . numgen random mod 65536 : ${target};`;
      return { kind: 'map', name: endpointMap(proto), declaration };
    }),
  ];
}

export function staticChains(options: RulesetOptions): readonly ChainSpec[] {
  const lookup = `${options.family} daddr . meta l4proto . th dport`;
  const bit = markOf(options);
  const pairs = `${options.family} saddr . ${options.family} daddr`;
  const nat = (hook: string, priority: number): BaseChain => ({ type: 'nat', hook, priority });
  const filter = (hook: string): BaseChain => ({ type: 'filter', hook, priority: 0 });
  const noEndpoints = [`ct state new ${lookup} vmap @${noEndpointsMap}`];
  return [
    { name: markerChain, base: undefined, rules: [] },
    { name: rejectChain, base: undefined, rules: ['reject'] },
    { name: 'prerouting', base: nat('prerouting', -100), rules: [`${lookup} vmap @${frontendMap}`] },
    { name: 'output', base: nat('output', -100), rules: [`${lookup} vmap @${frontendMap}`] },
    {
      name: 'postrouting',
      base: nat('postrouting', 100),
      rules: [
        // The bit is cleared so that a packet which passes again (through a tunnel, say) is not masqueraded twice.
        `meta mark & ${bit} == ${bit} meta mark set meta mark ^ ${bit} masquerade fully-random`,
        `ct status dnat ${pairs} @${hairpinSet} masquerade fully-random`,
      ],
    },
    ...['forward', 'input'].map((hook): ChainSpec => ({ name: hook, base: filter(hook), rules: noEndpoints })),
    { name: 'filter-output', base: filter('output'), rules: noEndpoints },
  ];
}

/** The chain `pick-<proto>-<count>`. */
export function pickChain(name: string, options: RulesetOptions): ChainSpec {
  const pick = parsePickChain(name);
  if (!pick) throw new TypeError(`${name} is not the name of a pick chain`);
  const { proto, count } = pick;
  const key = `${options.family} daddr . ${proto} dport . numgen random mod ${count}`;
  const dnat = `meta l4proto ${proto} dnat ${options.family} to ${key} map @${endpointMap(proto)}`;
  return { name, base: undefined, rules: [...masqueradeRules(options), dnat] };
}

function masqueradeRules(options: RulesetOptions): readonly string[] {
  const mark = `meta mark set meta mark | ${markOf(options)}`;
  if (options.masqueradeAll) return [mark];
  if (options.clusterCidrs.length === 0) return [];
  return [`${options.family} saddr != { ${options.clusterCidrs.join(', ')} } ${mark}`];
}

const markOf = (options: RulesetOptions): string => `0x${((1 << options.masqueradeBit) >>> 0).toString(16)}`;

/** What a rule's comment holds, so that the rule is known again whatever way nft prints it. */
export const ruleTag = (rule: string): string =>
  `keelson ${createHash('sha256').update(rule).digest('hex').slice(0, 12)}`;

export const addChain = (options: RulesetOptions, chain: ChainSpec): string => {
  const base = chain.base
    ? ` { type ${chain.base.type} hook ${chain.base.hook} priority ${chain.base.priority}; policy accept; }`
    : '';
  return `add chain ${options.family} ${options.table} ${chain.name}${base}`;
};

export const addRules = (options: RulesetOptions, chain: ChainSpec): readonly string[] =>
  chain.rules.map(
    (rule) => `add rule ${options.family} ${options.table} ${chain.name} ${rule} comment "${ruleTag(rule)}"`,
  );
