import type { TrafficRules } from '../backend.ts';
import { comment } from '../iptables/rule-text.ts';
import type { IpFamily } from '../read-service.ts';
import type { Delivery, Route, Target } from '../route-services.ts';
import { nodeAddress } from '../route-services.ts';
import type { SourceMatch } from './cidr-match.ts';
import { inBoth, matchOf } from './cidr-match.ts';

/** Tells keelson's chains from those of a kube-proxy, which have the same names; always empty. No other mode has it. */
export const canaryChain = 'KEELSON-PORTALS-CANARY';
/** The tables of iptables that hold rules of ours, each with our chains in the order that they are written. */
export const portalChains = {
  nat: [
    ...[canaryChain, 'KUBE-PORTALS-CONTAINER', 'KUBE-PORTALS-HOST'],
    ...['KUBE-NODEPORT-CONTAINER', 'KUBE-NODEPORT-HOST'],
  ],
  filter: [canaryChain, 'KUBE-NODEPORT-NON-LOCAL', 'KEELSON-PORTALS-CONTAINER', 'KEELSON-PORTALS-HOST'],
} as const;
export type PortalTable = keyof typeof portalChains;
export const portalTables: readonly PortalTable[] = ['nat', 'filter'];

/**
 * Where relays listen: an address of their own on the loopback interface, so that the answer to a datagram leaves with
 * the address that it was sent to, whichever interface the client is behind, and so that one rule keeps everybody
 * away who was not led here. (REDIRECT leads to whatever address the interface has, 127.0.0.1 for this host's own
 * packets, from which no other source may be answered.)
 */
export const relayAddress: Readonly<Record<IpFamily, string>> = {
  IPv4: '169.254.75.75',
  IPv6: 'fd6b:6565:6c73:6f6e::1',
};

/** What one relay does: which endpoints its clients get. Several frontends of a Service port share one. */
export interface RelayWish {
  readonly protocol: 'TCP' | 'UDP';
  readonly targets: readonly Target[];
  readonly affinitySeconds: number | undefined;
}

/** The side of a Service that a relay serves: its cluster IPs, the other ways in, or those for clients from outside. */
type Side = 'internal' | 'external' | 'outside';

/** Names the relay of one side of a Service port, for as long as that exists. */
export const relayKey = ({ origin, frontend }: Route, side: Side): string =>
  [`${origin.namespace}/${origin.name}`, origin.portName, frontend.protocol, side].join(' ');

const insideOf = (route: Route): Side => (route.origin.kind === 'clusterIP' ? 'internal' : 'external');

/** The relays that a route leads to. SCTP has none: this process has no sockets for it. */
export function relaysOf(route: Route): readonly (readonly [key: string, wish: RelayWish])[] {
  const { protocol } = route.frontend;
  if (protocol === 'SCTP') return [];
  const wish = ({ targets }: Delivery): RelayWish => ({ protocol, targets, affinitySeconds: route.affinitySeconds });
  const sides: readonly (readonly [Side, Delivery | undefined])[] = [
    [insideOf(route), route],
    ['outside', route.outside],
  ];
  return sides.flatMap(([side, delivery]) =>
    delivery?.verdict === 'forward' ? [[relayKey(route, side), wish(delivery)] as const] : [],
  );
}

/** Rules by chain, without their `-A CHAIN`, spelled as iptables-save prints them. */
export type PortalRules = Readonly<Record<PortalTable, ReadonlyMap<string, readonly string[]>>>;

/** All rules for some routes. `portOf` is undefined for a relay that is not there; its clients are refused. */
export function compilePortals(
  routes: Iterable<Route>,
  rules: TrafficRules,
  portOf: (relay: string) => number | undefined,
): PortalRules {
  const lines: Record<PortalTable, Map<string, string[]>> = { nat: new Map(), filter: new Map() };
  for (const table of portalTables) for (const chain of portalChains[table]) lines[table].set(chain, []);
  const relayHost = matchOf(relayAddress[rules.family]);
  lines.filter.set('KUBE-NODEPORT-NON-LOCAL', [
    `-d ${relayHost} -m conntrack ! --ctstate DNAT -j DROP`,
    // A firewall that lets nothing in by itself would keep clients from the relays.
    `-d ${relayHost} -j ACCEPT`,
  ]);
  const all = [...routes].filter(({ frontend }) => frontend.protocol !== 'SCTP');
  const append = (some: readonly Route[]) => {
    for (const route of some) {
      for (const { table, chain, line } of compileRoute(route, rules, portOf)) lines[table].get(chain)?.push(line);
    }
  };
  // A load balancer may make its address local to the node: its ports are no node ports.
  append(all.filter(({ frontend }) => frontend.ip !== nodeAddress));
  if (rules.family === 'IPv6' || !rules.localhostNodePorts) {
    const line = `-d ${rules.family === 'IPv4' ? '127.0.0.0/8' : '::1/128'} -j RETURN`;
    lines.nat.get('KUBE-NODEPORT-HOST')?.push(line);
    lines.filter.get('KEELSON-PORTALS-HOST')?.push(line);
  }
  append(all.filter(({ frontend }) => frontend.ip === nodeAddress));
  return lines;
}

export interface PortalRule {
  readonly table: PortalTable;
  readonly chain: string;
  readonly line: string;
}

/** The rules for one route, in the order in which they have to stand. */
export function compileRoute(
  route: Route,
  rules: TrafficRules,
  portOf: (relay: string) => number | undefined,
): readonly PortalRule[] {
  if (route.frontend.protocol === 'SCTP') return [];
  const isNode = route.frontend.ip === nodeAddress;
  const write = (way: 'CONTAINER' | 'HOST', clauses: readonly Clause[]) =>
    clauses.flatMap((clause, at): readonly PortalRule[] => {
      const verdict = verdictOf(route, clause.to, portOf);
      const nat = `KUBE-${isNode ? 'NODEPORT' : 'PORTALS'}-${way}`;
      const filter = `KEELSON-PORTALS-${way}`;
      const more = (verb: string) => matches(route, clause, rules, verb);
      if (typeof verdict === 'number') {
        const host = relayAddress[rules.family];
        const to = rules.family === 'IPv4' ? `${host}:${verdict}` : `[${host}]:${verdict}`;
        return more('').map((match) => ({ table: 'nat', chain: nat, line: `${match} -j DNAT --to-destination ${to}` }));
      }
      // What is refused must not fall to a later rule of the route that leads on.
      const isLast = !clauses.slice(at + 1).some(({ to }) => typeof verdictOf(route, to, portOf) === 'number');
      const reject = `REJECT --reject-with ${rules.family === 'IPv4' ? 'icmp' : 'icmp6'}-port-unreachable`;
      const end = verdict === 'drop' ? 'DROP' : reject;
      return [
        ...(isLast ? [] : more('').map((match) => ({ table: 'nat', chain: nat, line: `${match} -j RETURN` }) as const)),
        ...more(isNode ? ' -m addrtype --dst-type LOCAL' : '').map(
          (match) => ({ table: 'filter', chain: filter, line: `${match} -j ${end}` }) as const,
        ),
      ];
    });
  return [...write('CONTAINER', clausesFromNetwork(route, rules)), ...write('HOST', clausesFromHost(route))];
}

/** Some clients of a route, and what becomes of them. The first clause that matches counts. */
interface Clause {
  readonly source: SourceMatch;
  readonly interface?: string;
  readonly to: 'inside' | 'outside' | 'nowhere';
}

function clausesFromHost({ sources }: Route): readonly Clause[] {
  const admitted = sources?.map(matchOf) ?? [undefined];
  return [
    ...admitted.map((source): Clause => ({ source, to: 'inside' })),
    ...(sources ? [{ source: undefined, to: 'nowhere' } as const] : []),
  ];
}

function clausesFromNetwork(route: Route, { local }: TrafficRules): readonly Clause[] {
  if (!route.outside) return clausesFromHost(route);
  const admitted = route.sources?.map(matchOf) ?? [undefined];
  const inside = admitted.flatMap((source): readonly Clause[] => {
    if (!local) return [];
    // nft's `cni*` is `cni+` here.
    if ('interface' in local) return [{ source, interface: local.interface.replace(/\*$/, '+'), to: 'inside' }];
    return local.cidrs.flatMap((cidr) =>
      inBoth(source, matchOf(cidr)).map((both): Clause => ({ source: both, to: 'inside' })),
    );
  });
  return [
    ...inside,
    ...admitted.map((source): Clause => ({ source, to: 'outside' })),
    ...(route.sources ? [{ source: undefined, to: 'nowhere' } as const] : []),
  ];
}

/** The port of the relay, or what else becomes of the packet. */
function verdictOf(
  route: Route,
  to: Clause['to'],
  portOf: (relay: string) => number | undefined,
): number | 'reject' | 'drop' {
  if (to === 'nowhere') return 'drop';
  const delivery = to === 'inside' ? route : (route.outside ?? route);
  if (delivery.verdict !== 'forward') return delivery.verdict;
  return portOf(relayKey(route, to === 'inside' ? insideOf(route) : 'outside')) ?? 'reject';
}

/** One match for each address that the frontend stands for. */
function matches(
  { frontend, origin }: Route,
  clause: Clause,
  { nodePortAddresses }: TrafficRules,
  more: string,
): readonly string[] {
  const protocol = frontend.protocol.toLowerCase();
  const name = `${origin.namespace}/${origin.name}${origin.portName === '' ? '' : `:${origin.portName}`}`;
  const destinations =
    frontend.ip !== nodeAddress
      ? [matchOf(frontend.ip)]
      : nodePortAddresses.length > 0
        ? nodePortAddresses.map(matchOf)
        : [undefined];
  return destinations.map((destination) => {
    const from = clause.source === undefined ? '' : `-s ${clause.source} `;
    const to = destination === undefined ? '' : `-d ${destination} `;
    const by = clause.interface === undefined ? '' : `-i ${clause.interface} `;
    return `${from}${to}${by}-p ${protocol} ${comment(name)}${more} -m ${protocol} --dport ${frontend.port}`;
  });
}
