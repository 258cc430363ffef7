import { createHash } from 'node:crypto';
import type { TrafficRules } from '../backend.ts';
import type { PickChain, Proto } from './compile.ts';
import { isSourcesChain, parsePickChain, parseRememberChain, protos } from './compile.ts';

/**
 * The part of the table that does not depend on Services: sets, maps, base chains, and the shape of a pick chain.
 *
 *   client ─► prerouting / output ─ vmap @frontends ─► pick-<proto>-<N> ─ mark?, dnat to slot random mod N
 *          ─► before them, at -110: vmap @sources ─► only-<hash>: drop what may not come in
 *          ─► prerouting from outside: vmap @outside first ─► plain-<proto>-<N>, the same over local endpoints alone
 *          ─► filter hooks ─ vmap @no-endpoints ─► reject / drop
 *          ─► postrouting ─ of a sticky frontend: note the endpoint ─ marked, or talks to itself: masquerade
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
export const layoutVersion = 2;
/** An empty chain whose name tells a later keelson which layout it finds; every nft version lists names alike. */
export const markerChain = `layout-${layoutVersion}`;

export const rejectChain = 'refuse';
export const hairpinSet = 'hairpins';
export type VerdictRole = 'frontends' | 'outside' | 'no-endpoints' | 'sources';
export const verdictRoles: readonly VerdictRole[] = ['frontends', 'outside', 'no-endpoints', 'sources'];
export const verdictMap = (role: VerdictRole, onNode: boolean): string => (onNode ? `node-${role}` : role);
export const endpointMap = (proto: Proto, { onNode = false, outside = false } = {}): string =>
  `${onNode ? 'node-' : ''}${outside ? 'outside-' : ''}endpoints-${proto}`;
export const stickyMap = (proto: Proto, onNode: boolean): string => `${onNode ? 'node-' : ''}sticky-${proto}`;
/** What a client of a sticky frontend got: client, address and port asked for, to endpoint. The kernel writes it. */
export const affinityMap = (proto: Proto): string => `affinity-${proto}`;
/** A client more than this is spread as if it had no affinity. */
const maxAffinities = 262_144;
export const bothPlaces: readonly boolean[] = [false, true];

/**
 * nft (1.0.6 at least) aborts on a rule that notes an endpoint where key or value have more than 16 bytes: "dreg <
 * ctx->reg_low". One IPv6 address fits on each side, but no port with it.
 * With IPv6 a client keeps its endpoint by a hash of its address instead, for as long as the endpoints stay the same.
 */
const remembers = (options: RulesetOptions): boolean => options.family === 'ip';

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
      const sticky = bothPlaces.map((onNode) =>
        map(stickyMap(proto, onNode), `type ${where(onNode)}inet_service : verdict;`),
      );
      const affinity = `typeof ${family} saddr . ${target} : ${target}; flags dynamic,timeout; size ${maxAffinities};`;
      return [...endpoints, ...sticky, ...(remembers(options) ? [map(affinityMap(proto), affinity)] : [])];
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
  const outside = lookup('outside').map((rule) => (outsider === '' ? rule : `${outsider} ${rule}`));
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
    { name: 'prerouting', base: base('nat', 'prerouting', -100), rules: [...outside, ...lookup('frontends')] },
    { name: 'output', base: base('nat', 'output', -100), rules: lookup('frontends') },
    {
      name: 'postrouting',
      base: base('nat', 'postrouting', 100),
      rules: [
        ...protos.flatMap((proto) => [
          `meta l4proto ${proto} ct status dnat ct original ${family} daddr . ct original proto-dst vmap @${stickyMap(proto, false)}`,
          `meta l4proto ${proto} ct status dnat ct original proto-dst vmap @${stickyMap(proto, true)}`,
        ]),
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

/** A chain that some element leads to, by its name; `sources` are the ranges where the name does not tell. */
export function chainFor(
  name: string,
  sources: readonly string[] | undefined,
  options: RulesetOptions,
): ChainSpec | undefined {
  const pick = parsePickChain(name);
  if (pick) return { name, base: undefined, rules: pickRules(pick, options) };
  const { family } = options;
  const remember = parseRememberChain(name);
  if (remember) {
    const { proto, seconds } = remember;
    const key = `ct original ${family} saddr . ct original ${family} daddr . ct original proto-dst`;
    const value = `${family} daddr . ${proto} dport`;
    const note = `meta l4proto ${proto} update @${affinityMap(proto)} { ${key} timeout ${seconds}s : ${value} }`;
    return { name, base: undefined, rules: remembers(options) ? [note] : [] };
  }
  if (!sources) return undefined;
  return { name, base: undefined, rules: [`${family} saddr != { ${sources.join(', ')} } drop`] };
}

/** Whether chains of this name come and go with the elements that lead to them. */
export const isMadeOnDemand = (name: string): boolean =>
  parsePickChain(name) !== undefined || parseRememberChain(name) !== undefined || isSourcesChain(name);

function pickRules(pick: PickChain, options: RulesetOptions): readonly string[] {
  const { kind, onNode, proto, count, sticky } = pick;
  const { family } = options;
  const dnat = `meta l4proto ${proto} dnat ${family} to`;
  const target = `${family} daddr . ${proto} dport`;
  const client = `${family} saddr . ${target}`;
  const choice = sticky && !remembers(options) ? `jhash ${family} saddr mod ${count}` : `numgen random mod ${count}`;
  const key = `${onNode ? `${proto} dport` : target} . ${choice}`;
  const map = endpointMap(proto, { onNode, outside: kind === 'plain' });
  return [
    ...masqueradeRules(kind, options),
    ...(sticky && remembers(options) ? [`${dnat} ${client} map @${affinityMap(proto)}`] : []),
    `${dnat} ${key} map @${map}`,
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
