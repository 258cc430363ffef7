import { createHash } from 'node:crypto';
import type { TrafficRules } from '../backend.ts';
import type { DesiredFrontend, PickChain, Proto } from './compile.ts';
import { isSourcesChain, parsePickChain, protos, sourcesChainName } from './compile.ts';
import { affinitySet, isKeepChain, keepChainName, keepChainsOf, keepRules, maxAffinities } from './keep-chain.ts';

/**
 * The part of the table that does not depend on Services: sets, maps, base chains, and the shape of a pick chain.
 *
 *   client ─► prerouting / output ─ vmap @frontends ─► pick-<proto>-<N> ─ mark?, dnat to slot random mod N
 *                                                ─► keep-<hash>, with session affinity: the one it had, or one and a note
 *          ─► before them, at -110: vmap @sources ─► only-<hash>: drop what may not come in
 *          ─► prerouting from outside: vmap @outside first ─► plain-<proto>-<N>, the same over local endpoints alone
 *          ─► filter hooks ─ vmap @no-endpoints ─► reject / drop
 *          ─► postrouting ─ marked, or talks to itself: masquerade
 *
 * Node ports have the same maps without the address, behind `fib daddr type local`.
 * Endpoint maps and pick chains are per protocol because nft (1.0.6 at least) cannot add a rule that looks up a map
 * declared with `th dport` once that map is in the kernel: "conflicting protocols specified: tcp vs. th". With the
 * protocol's own header it can.
 */
export interface RulesetOptions extends Omit<TrafficRules, 'family'> {
  readonly family: 'ip' | 'ip6';
  readonly table: string;
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
export const layoutVersion = 3;
/** An empty chain whose name tells a later keelson which layout it finds; every nft version lists names alike. */
export const markerChain = `layout-${layoutVersion}`;

export const rejectChain = 'refuse';
export const hairpinSet = 'hairpins';
export type VerdictRole = 'frontends' | 'outside' | 'no-endpoints' | 'sources';
export const verdictRoles: readonly VerdictRole[] = ['frontends', 'outside', 'no-endpoints', 'sources'];
export const verdictMap = (role: VerdictRole, onNode: boolean): string => (onNode ? `node-${role}` : role);
export const endpointMap = (proto: Proto, { onNode = false, outside = false } = {}): string =>
  `${onNode ? 'node-' : ''}${outside ? 'outside-' : ''}endpoints-${proto}`;
export const bothPlaces: readonly boolean[] = [false, true];

export function staticSets(options: RulesetOptions): readonly SetSpec[] {
  const { family } = options;
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const map = (name: string, declaration: string): SetSpec => ({ kind: 'map', name, declaration });
  const where = (onNode: boolean) => (onNode ? '' : `${address} . `);
  const verdicts = bothPlaces.flatMap((onNode) =>
    verdictRoles.map((role) =>
      map(verdictMap(role, onNode), `type ${where(onNode)}inet_proto . inet_service : verdict;`),
    ),
  );
  return [
    ...verdicts,
    { kind: 'set', name: hairpinSet, declaration: `type ${address} . ${address};` },
    ...protos.flatMap((proto) => {
      const target = `${family} daddr . ${proto} dport`;
      const endpoints = bothPlaces.flatMap((onNode) =>
        bothPlaces.map((outside) => {
          const key = onNode ? `${proto} dport` : target;
          const name = endpointMap(proto, { onNode, outside });
          return map(name, `typeof ${key} . numgen random mod 65536 : ${target};`);
        }),
      );
      const affinity = `typeof ${family} saddr . numgen random mod 65536; flags dynamic,timeout; size ${maxAffinities};`;
      return [...endpoints, { kind: 'set', name: affinitySet(proto), declaration: affinity } as const];
    }),
  ];
}

export function staticChains(options: RulesetOptions): readonly ChainSpec[] {
  const { family } = options;
  const port = 'meta l4proto . th dport';
  const lookup = (role: VerdictRole): readonly string[] => [
    `${family} daddr . ${port} vmap @${verdictMap(role, false)}`,
    `${nodeMatch(options)} ${port} vmap @${verdictMap(role, true)}`,
  ];
  const bit = markOf(options);
  const pairs = `${family} saddr . ${family} daddr`;
  const base = (type: BaseChain['type'], hook: string, priority: number): BaseChain => ({ type, hook, priority });
  const onlyNew = (rules: readonly string[]) => rules.map((rule) => `ct state new ${rule}`);
  const outsider = notLocal(options);
  // What an address leads to goes before what the same port of the node does.
  const outsideFirst = lookup('frontends').flatMap((rule, place) => {
    const outside = lookup('outside')[place] ?? '';
    return [outsider === '' ? outside : `${outsider} ${outside}`, rule];
  });
  const sources = onlyNew(lookup('sources'));
  const noEndpoints = onlyNew(lookup('no-endpoints'));
  const filters: readonly (readonly [name: string, hook: string])[] = [
    ['forward', 'forward'],
    ['input', 'input'],
    ['filter-output', 'output'],
  ];
  return [
    { name: markerChain, base: undefined, rules: [] },
    { name: rejectChain, base: undefined, rules: ['reject'] },
    { name: 'sources-prerouting', base: base('filter', 'prerouting', -110), rules: sources },
    { name: 'sources-output', base: base('filter', 'output', -110), rules: sources },
    { name: 'prerouting', base: base('nat', 'prerouting', -100), rules: outsideFirst },
    { name: 'output', base: base('nat', 'output', -100), rules: lookup('frontends') },
    {
      name: 'postrouting',
      base: base('nat', 'postrouting', 100),
      rules: [
        // The bit is cleared so that a packet which passes again (through a tunnel, say) is not masqueraded twice.
        `meta mark & ${bit} == ${bit} meta mark set meta mark ^ ${bit} masquerade fully-random`,
        `ct status dnat ${pairs} @${hairpinSet} masquerade fully-random`,
      ],
    },
    ...filters.map(([name, hook]): ChainSpec => {
      // Whoever routes loopback addresses for node ports must not let neighbours reach what listens there.
      const martians = 'iifname != "lo" ip daddr 127.0.0.0/8 ct state new ct status & dnat != dnat drop';
      const guard = name === 'input' && options.localhostNodePorts && family === 'ip' ? [martians] : [];
      return { name, base: base('filter', hook, 0), rules: [...guard, ...noEndpoints] };
    }),
  ];
}

/** A chain whose name says all that is in it, or undefined for any other name. */
export function chainFor(name: string, options: RulesetOptions): ChainSpec | undefined {
  const pick = parsePickChain(name);
  return pick && { name, base: undefined, rules: pickRules(pick, options) };
}

/** The chains of one frontend whose names stand for what is in them, without saying it. */
export function ownChains(desired: DesiredFrontend, options: RulesetOptions): readonly ChainSpec[] {
  const { family } = options;
  const { pick, outside } = keepChainsOf(desired);
  const keeps = [pick, outside].flatMap((keep) => {
    if (!keep) return [];
    const rules = [...masqueradeRules(keep.kind, options), ...keepRules(keep, family)];
    return [{ name: keepChainName(keep), base: undefined, rules }];
  });
  const { sources } = desired;
  if (!sources) return keeps;
  const only = [`${family} saddr != { ${sources.join(', ')} } drop`];
  return [...keeps, { name: sourcesChainName(sources), base: undefined, rules: only }];
}

/** Whether chains of this name come and go with the elements that lead to them. */
export const isMadeOnDemand = (name: string): boolean =>
  parsePickChain(name) !== undefined || isKeepChain(name) || isSourcesChain(name);

function pickRules({ kind, onNode, proto, count }: PickChain, options: RulesetOptions): readonly string[] {
  const { family } = options;
  const target = onNode ? `${proto} dport` : `${family} daddr . ${proto} dport`;
  const map = endpointMap(proto, { onNode, outside: kind === 'plain' });
  return [
    ...masqueradeRules(kind, options),
    `meta l4proto ${proto} dnat ${family} to ${target} . numgen random mod ${count} map @${map}`,
  ];
}

function masqueradeRules(kind: PickChain['kind'], options: RulesetOptions): readonly string[] {
  const mark = `meta mark set meta mark | ${markOf(options)}`;
  if (kind === 'plain') return [];
  if (kind === 'host') return [`fib saddr type local ${mark}`];
  if (kind === 'masq' || options.masqueradeAll) return [mark];
  const outsider = notLocal(options);
  return outsider === '' ? [] : [`${outsider} ${mark}`];
}

/** Matches what does not come from a pod of this node or cluster; '' when that cannot be told. */
function notLocal({ family, local }: RulesetOptions): string {
  if (!local) return '';
  return 'cidrs' in local ? `${family} saddr != { ${local.cidrs.join(', ')} }` : `iifname != "${local.interface}"`;
}

/** Matches packets to the addresses that serve node ports. */
function nodeMatch({ family, nodePortAddresses, localhostNodePorts }: RulesetOptions): string {
  const loopback = family === 'ip' ? '127.0.0.0/8' : '::1';
  const parts = ['fib daddr type local'];
  if (family === 'ip6' || !localhostNodePorts) parts.push(`${family} daddr != ${loopback}`);
  if (nodePortAddresses.length > 0) parts.push(`${family} daddr { ${nodePortAddresses.join(', ')} }`);
  return parts.join(' ');
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
