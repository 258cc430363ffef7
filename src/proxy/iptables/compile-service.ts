import type { TrafficRules } from '../backend.ts';
import type { Delivery, Route, Target } from '../route-services.ts';
import { nodeAddress } from '../route-services.ts';
import type { TableName } from './chain-names.ts';
import {
  chainName,
  externalServicesChain,
  markMasqueradeChain,
  markOutsidersChain,
  nodePortsChain,
  proxyFirewallChain,
  servicePortName,
  servicesChain,
} from './chain-names.ts';
import type { Chain } from './fixed-chains.ts';
import {
  comment,
  from,
  hostRange,
  interfaceMatch,
  isEverything,
  localMatches,
  probability,
  rule,
} from './rule-text.ts';

/** A rule among those of other Services in a shared chain. */
export interface Entry {
  readonly table: TableName;
  readonly chain: string;
  readonly rule: string;
}

/** All rules of one Service: chains of its own, each after those that it leads to, and entries in shared chains. */
export interface CompiledService {
  readonly chains: readonly Chain[];
  readonly entries: readonly Entry[];
}

/** What the rules of a Service depend on besides its routes. */
export type ServiceRules = Pick<TrafficRules, 'family' | 'masqueradeAll' | 'local'>;

/** The routes of one Service as rules. */
export function compileService(routes: readonly Route[], rules: ServiceRules): CompiledService {
  const ports = Map.groupBy(routes, ({ origin, frontend }) => `${origin.portName} ${frontend.protocol}`);
  const compiled = [...ports.values()].map((ofPort) => new PortCompiler(ofPort, rules).compile());
  return {
    chains: compiled.flatMap((port) => port.chains),
    entries: [...acceptHealthChecks(routes), ...compiled.flatMap((port) => port.entries)],
  };
}

/** Balancers get in whatever else the host's firewall refuses, as with kube-proxy; the port is the whole Service's. */
function acceptHealthChecks(routes: readonly Route[]): readonly Entry[] {
  const route = routes.find(({ healthPort }) => healthPort !== undefined);
  if (!route) return [];
  const { namespace, name, portName } = route.origin;
  const text = comment(`${servicePortName(namespace, name, portName)} health check node port`);
  const accept = rule('-p tcp', text, `-m tcp --dport ${route.healthPort} -j ACCEPT`);
  return [{ table: 'filter', chain: nodePortsChain, rule: accept }];
}

const kinds = {
  clusterIP: 'cluster IP',
  externalIP: 'external IP',
  loadBalancer: 'loadbalancer IP',
  nodePort: '',
} as const satisfies Record<Route['origin']['kind'], string>;

/** Collects the rules of the routes of one Service port. */
class PortCompiler {
  readonly #routes: readonly Route[];
  readonly #rules: ServiceRules;
  readonly #name: string;
  readonly #proto: string;
  readonly #chains = new Map<string, Chain>();
  readonly #entries: Entry[] = [];
  /** Chains that pick an endpoint, by their endpoints. */
  readonly #picks = new Map<string, string>();

  constructor(routes: readonly Route[], rules: ServiceRules) {
    const [first] = routes;
    this.#routes = routes;
    this.#rules = rules;
    this.#name = first ? servicePortName(first.origin.namespace, first.origin.name, first.origin.portName) : '';
    this.#proto = first?.frontend.protocol.toLowerCase() ?? '';
  }

  compile(): CompiledService {
    const clusterIps = this.#routes.filter((route) => route.origin.kind === 'clusterIP');
    const external = this.#routes.filter((route) => route.origin.kind !== 'clusterIP');
    // External traffic is led to all endpoints, and gives KUBE-SVC its name; policies leave others for KUBE-SVL.
    const [anExternal] = external;
    const leading = anExternal ?? clusterIps[0];
    if (leading?.verdict === 'forward') this.#pickChain(leading.targets, clusterIps);
    for (const route of clusterIps) this.#addRoute(route, () => this.#pickChain(route.targets, clusterIps));
    for (const route of external) this.#addRoute(route, () => this.#entryOf(route, clusterIps));
    return { chains: [...this.#chains.values()], entries: this.#entries };
  }

  #addRoute(route: Route, target: () => string): void {
    if (route.sources) this.#refuseOthers(route, route.sources);
    if (route.verdict === 'forward') {
      const text = `${this.#name} ${kinds[route.origin.kind]}`.trim();
      const chain = route.frontend.ip === nodeAddress ? nodePortsChain : servicesChain;
      this.#entry('nat', chain, rule(this.#match(route, text), `-j ${target()}`));
    }
    // What the chains above lead nowhere still has the address it was sent to.
    const fate = route.verdict === 'forward' ? route.outside : route;
    if (fate && fate.verdict !== 'forward') this.#refuse(route, fate.verdict);
  }

  #refuse(route: Route, verdict: 'reject' | 'drop'): void {
    const { kind } = route.origin;
    const chain = kind === 'nodePort' ? nodePortsChain : kind === 'clusterIP' ? servicesChain : externalServicesChain;
    const text = `${this.#name} has no ${verdict === 'drop' ? 'local ' : ''}endpoints`;
    const icmp = this.#rules.family === 'IPv4' ? 'icmp-port-unreachable' : 'icmp6-port-unreachable';
    const target = verdict === 'drop' ? '-j DROP' : `-j REJECT --reject-with ${icmp}`;
    this.#entry('filter', chain, rule(this.#match(route, text), target));
  }

  /** Drops, after the nat table has let pass what is in `sources`, what still has the address it was sent to. */
  #refuseOthers(route: Route, sources: readonly string[]): void {
    const name = this.#firewallName(route);
    const text = comment(`${this.#name} loadbalancer IP`);
    const allow = sources.map((range) => rule(from(withLength(range)), text, '-j RETURN'));
    this.#chain('filter', name, [...allow, rule(text, '-j DROP')]);
    const refused = this.#match(route, `${this.#name} traffic not accepted by ${name}`);
    this.#entry('filter', proxyFirewallChain, rule(refused, `-j ${name}`));
  }

  #firewallName({ frontend }: Route): string {
    const several = this.#routes.filter((route) => route.sources).length > 1;
    return chainName('FW', this.#name, this.#proto, several ? frontend.ip : '');
  }

  /** Where an external route leads to; its chains are there when it returns. */
  #entryOf(route: Route, clusterIps: readonly Route[]): string {
    const external = this.#externalChain(route, clusterIps);
    if (!route.sources) return external;
    const name = this.#firewallName(route);
    const text = comment(`${this.#name} loadbalancer IP`);
    const lines = route.sources.map((range) => rule(from(withLength(range)), text, `-j ${external}`));
    this.#chain('nat', name, lines);
    return name;
  }

  #externalChain(route: Route, clusterIps: readonly Route[]): string {
    const name = chainName('EXT', this.#name, this.#proto);
    const all = this.#pickChain(route.targets, clusterIps);
    const say = (text: string) => comment(text.replace('%', () => this.#name));
    const fromHost = '-m addrtype --src-type LOCAL';
    const lines: string[] = [];
    if (route.masquerade === 'everybody') {
      lines.push(rule(say('masquerade traffic for % external destinations'), `-j ${markMasqueradeChain}`));
    } else if (route.masquerade === 'outsiders') {
      lines.push(...this.#markOutsiders('', `masquerade traffic for ${this.#name} external destinations`));
    } else {
      const text = say('masquerade LOCAL traffic for % external destinations');
      lines.push(rule(text, fromHost, `-j ${markMasqueradeChain}`));
    }
    if (route.outside) {
      const pods = localMatches(this.#rules.local);
      lines.push(...pods.map((match) => rule(match, say('pod traffic for % external destinations'), `-j ${all}`)));
      lines.push(rule(say('route LOCAL traffic for % external destinations'), fromHost, `-j ${all}`));
    }
    const rest: Delivery = route.outside ?? route;
    if (rest.verdict === 'forward') lines.push(`-j ${this.#pickChain(rest.targets, clusterIps)}`);
    this.#chain('nat', name, lines);
    return name;
  }

  /** The chain that picks one of some endpoints. */
  #pickChain(targets: readonly Target[], clusterIps: readonly Route[]): string {
    const key = targets.map(addressOf).join();
    const known = this.#picks.get(key);
    if (known !== undefined) return known;
    // Service ports have two sets of endpoints at most: those for the cluster, and those of this node.
    const roles = ['SVC', 'SVL'] as const;
    const extra = this.#picks.size > 1 ? `${this.#picks.size}` : '';
    const name = chainName(roles[this.#picks.size] ?? 'SVL', this.#name, this.#proto, extra);
    this.#picks.set(key, name);
    const ends = targets.map((target) => ({ address: addressOf(target), chain: this.#endpointChain(target) }));
    const seconds = this.#routes[0]?.affinitySeconds;
    const here = clusterIps.filter(
      (route) => route.verdict === 'forward' && route.targets.map(addressOf).join() === key,
    );
    const sticky = (chain: string) =>
      rule(comment(this.#name), `-m recent --rcheck --seconds ${seconds} --reap ${this.#recent(chain)} -j ${chain}`);
    this.#chain('nat', name, [
      ...here.flatMap((route) => this.#markClusterClients(route)),
      ...(seconds === undefined ? [] : ends.map(({ chain }) => sticky(chain))),
      ...ends.map(({ address, chain }, i) => {
        const left = ends.length - i;
        return rule(comment(`${this.#name} -> ${address}`), left > 1 ? probability(left) : '', `-j ${chain}`);
      }),
    ]);
    return name;
  }

  #endpointChain(target: Target): string {
    const address = addressOf(target);
    const name = chainName('SEP', this.#name, this.#proto, address);
    const isSticky = this.#routes[0]?.affinitySeconds !== undefined;
    this.#chain('nat', name, [
      rule(`-s ${hostRange(target.ip)}`, comment(this.#name), `-j ${markMasqueradeChain}`),
      rule(
        `-p ${this.#proto}`,
        comment(this.#name),
        isSticky ? `-m recent --set ${this.#recent(name)}` : '',
        `-m ${this.#proto} -j DNAT --to-destination ${address}`,
      ),
    ]);
    return name;
  }

  /** Arguments of the list of an endpoint's clients, which lives as long as a rule that names it. */
  #recent(chain: string): string {
    const mask = this.#rules.family === 'IPv4' ? '255.255.255.255' : Array(8).fill('ffff').join(':');
    return `--name ${chain} --mask ${mask} --rsource`;
  }

  #markClusterClients(route: Route): readonly string[] {
    const text = `${this.#name} ${kinds[route.origin.kind]}`;
    if (route.masquerade === 'everybody' || this.#rules.masqueradeAll) {
      return [rule(this.#match(route, text), `-j ${markMasqueradeChain}`)];
    }
    const { ip, port } = route.frontend;
    return this.#markOutsiders(`-d ${hostRange(ip)} -p ${this.#proto}`, text, `-m ${this.#proto} --dport ${port}`);
  }

  /** Rules that mark for masquerade what matches and does not come from a local pod; none when nobody knows who is. */
  #markOutsiders(head: string, text: string, match = ''): readonly string[] {
    const { local } = this.#rules;
    if (!local) return [];
    const end = rule(comment(text), match);
    if (!('cidrs' in local)) {
      // iptables prints an interface after the addresses, and before the protocol.
      const [address = '', proto = ''] = head.split(/ (?=-p )/);
      return [rule(address, `! -i ${interfaceMatch(local.interface)}`, proto, end, `-j ${markMasqueradeChain}`)];
    }
    const [only, ...others] = local.cidrs;
    if (others.length > 0) return [rule(head, end, `-j ${markOutsidersChain}`)];
    if (only === undefined || isEverything(only)) return [];
    return [rule(`! ${from(only)}`, head, end, `-j ${markMasqueradeChain}`)];
  }

  /** Matches packets to a frontend; to a node port only by the port, as the chain is for the node's addresses alone. */
  #match({ frontend: { ip, port } }: Route, text: string): string {
    const address = ip === nodeAddress ? '' : `-d ${hostRange(ip)}`;
    return rule(address, `-p ${this.#proto}`, comment(text), `-m ${this.#proto} --dport ${port}`);
  }

  #chain(table: TableName, name: string, rules: readonly string[]): void {
    this.#chains.set(`${table} ${name}`, { table, name, rules });
  }

  #entry(table: TableName, chain: string, text: string): void {
    this.#entries.push({ table, chain, rule: text });
  }
}

const addressOf = ({ ip, port }: Target): string => `${ip.includes(':') ? `[${ip}]` : ip}:${port}`;

/** Ranges of a route may be single addresses. */
const withLength = (range: string): string => (range.includes('/') ? range : hostRange(range));
