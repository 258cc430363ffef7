import type { Exec } from '../../host/exec.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import type { Clock } from '../../lib/clock.ts';
import { AgentError, errnoOf, errorFields, messageOf } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, Routes, SyncOutcome, Wish } from '../backend.ts';
import { ConntrackCleaner } from '../conntrack.ts';
import type { Variant } from '../iptables/iptables-programs.ts';
import { isUnreadable } from '../iptables/iptables-programs.ts';
import { OtherVariant } from '../iptables/other-variant.ts';
import type { ConntrackMetrics } from '../proxy-metrics.ts';
import type { IpFamily } from '../read-service.ts';
import type { Route } from '../route-services.ts';
import type { StaleFlows, TrackedFlow } from '../stale-flows.ts';
import type { RelayWish } from './compile-portals.ts';
import { compilePortals, compileRoute, relayAddress, relaysOf } from './compile-portals.ts';
import type { SavedTables } from './diff-portals.ts';
import { nothingSaved, portalDiff, restoreScript, savedOf } from './diff-portals.ts';
import { HostSockets } from './host-sockets.ts';
import { PortalRulesInKernel, relayCidr } from './portal-rules.ts';
import type { Sockets } from './relay.ts';
import { RelaySet } from './relay-set.ts';
import { removePortals } from './userspace-remains.ts';

/** Each relay has a socket; a Service port has two or three relays at most. What is more is refused. */
const maxRelays = 8_192;

export interface UserspaceOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly log: Log;
  readonly clock: Clock;
  readonly family: IpFamily;
  /** Default: real ones. They have to be in the network namespace that `exec` writes rules in. */
  readonly sockets?: Sockets;
  readonly metrics?: ConntrackMetrics | undefined;
}

/**
 * Services as relays inside this process, behind rules of iptables that lead to them: for kernels where nothing else
 * works. TCP and UDP; endpoints see a node address as their client's, always.
 *
 *   client ─► nat: KUBE-PORTALS-* by address, KUBE-NODEPORT-* by port ─ dnat ─► relay ─► endpoint
 *          ─► filter: KEELSON-PORTALS-*: reject or drop what no rule led to a relay
 *          ─► filter: KUBE-NODEPORT-NON-LOCAL: only what was led there gets to a relay
 *
 * Whole chains are written, each sync one run of iptables-restore. After a restart the relays have other ports, so
 * the rules that are found are adopted as far as they agree, which is not far; connections end with the process.
 * Rules that are left behind lead to closed ports, and refuse until a start rewrites them.
 */
export class UserspaceBackend implements Backend {
  readonly mode = 'userspace';
  readonly #log: Log;
  readonly #family: IpFamily;
  readonly #rules: PortalRulesInKernel;
  readonly #otherVariant: OtherVariant;
  readonly #relays: RelaySet;
  readonly #cleaner: ConntrackCleaner;
  /** Undefined: not known, read it back. */
  #kernel: SavedTables | undefined;
  /** Ports of relays that UDP flows to a frontend may have been led to. */
  #udpPorts: ReadonlyMap<string, UdpPorts> = new Map();
  /** Whether UDP flows to relays that are gone, of another life most likely, have been ended. */
  #isAdopted = false;
  #saidUnserved = '';
  #saidUnreadable = false;
  #variant: Variant | undefined;

  constructor({ exec, log, clock, family, sockets, metrics }: UserspaceOptions) {
    this.#log = log;
    this.#family = family;
    this.#rules = new PortalRulesInKernel(exec, family);
    this.#otherVariant = new OtherVariant({ exec, log, family, remove: removePortals });
    this.#relays = new RelaySet(sockets ?? new HostSockets({ clock, log }), relayAddress[family]);
    this.#cleaner = new ConntrackCleaner({ exec, clock, log, family, metrics });
  }

  async sync(wish: Wish, context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome> {
    try {
      return await this.#sync(wish, context);
    } catch (error) {
      this.#kernel = undefined;
      // Rules may have led flows to relays that nobody noted.
      this.#isAdopted = false;
      throw error;
    }
  }

  /** Resolves when the signal aborts. Relays end then, as they would with the process; the rules stay. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#cleaner.run(signal);
    this.#relays.endAll();
  }

  /** Relays that do not run here have port 0. */
  plan({ routes, rules }: Wish): string {
    const wanted = compilePortals(allOf(routes), rules, (key) => this.#relays.portOf(key) ?? 0);
    const { script } = restoreScript({ nat: nothingSaved, filter: nothingSaved }, wanted);
    return `# ip addr replace ${relayCidr(this.#family)} dev lo\n${script}`;
  }

  /** Where no relay runs in this process, the rules of a running daemon may lead to any port. */
  async diff({ routes, rules }: Wish, signal: AbortSignal): Promise<readonly string[]> {
    const kernel = await this.#read(routes, signal);
    if (!kernel) return [];
    const anyPort = this.#relays.isEmpty;
    const wanted = compilePortals(allOf(routes), rules, (key) => this.#relays.portOf(key) ?? 0);
    const lines = portalDiff(kernel, wanted, (line) =>
      anyPort ? line.replace(/(--to-destination \S+):\d+$/, '$1:…') : line,
    );
    if (await this.#rules.hasAddress(signal)) return lines;
    return [...lines, `+ address ${relayCidr(this.#family)} on lo`];
  }

  explain(frontend: string, { routes, rules }: Wish): readonly string[] {
    const route = routes.get(frontend);
    if (!route) return [];
    const port = (key: string) => this.#relays.portOf(key) ?? 0;
    return [
      ...compileRoute(route, rules, port).map(({ table, chain, line }) => `${table} ${chain} ${line}`),
      ...relaysOf(route).map(([key, { protocol, targets }]) => {
        const listening = `${relayAddress[rules.family]} ${protocol.toLowerCase()} ${port(key)}`;
        return `relay ${listening} → ${targets.map((target) => `${target.ip} ${target.port}`).join(', ')}`;
      }),
    ];
  }

  async #sync(
    { routes, rules }: Wish,
    { cause, signal }: { readonly cause: RunCause; readonly signal: AbortSignal },
  ): Promise<SyncOutcome> {
    const known = cause === 'periodic' ? undefined : this.#kernel;
    const kernel = known ?? (await this.#read(routes, signal));
    if (!kernel) return { isFull: true, writes: 0 };
    if (!known) await this.#rules.addAddress(signal);
    const all = allOf(routes);
    const relays = this.#wantedRelays(all);
    signal.throwIfAborted();
    const errors = await this.#relays.serve(relays);
    // `run` may have ended all relays while some were being opened.
    if (signal.aborted) this.#relays.endAll();
    signal.throwIfAborted();
    const wanted = compilePortals(all, rules, this.#relays.portOf);
    const { script, writes } = restoreScript(kernel, wanted);
    if (writes > 0) await this.#rules.restore(script, signal);
    this.#kernel = savedOf(wanted);
    this.#variant ??= await this.#rules.variant(signal);
    if (!known) await this.#otherVariant.leave(this.#variant, signal);
    if (writes > 0 && cause === 'periodic') this.#log.warn({}, 'another program changed the rules; repaired');
    this.#cleanUp(all, relays);
    if (!this.#isAdopted) this.#cleaner.removeWhere((flow) => this.#isLost(flow));
    this.#isAdopted = true;
    if (errors.length > 0) throw notOpen(errors);
    return { isFull: !known, writes };
  }

  /** Undefined when nothing is wanted and the host cannot have, or does not have, anything of ours. */
  async #read(routes: Routes, signal: AbortSignal): Promise<SavedTables | undefined> {
    // Most clusters have no IPv6 Service, and many hosts no ip6tables.
    const isOptional = this.#family === 'IPv6' && routes.isEmpty;
    try {
      const kernel = await this.#rules.read(signal);
      this.#saidUnreadable = false;
      const isBare = kernel.nat.chains.size + kernel.filter.chains.size === 0;
      return isOptional && isBare ? undefined : kernel;
    } catch (error) {
      // What others do to the rules cannot be seen then; changes are written as if they had done nothing.
      if (isUnreadable(error) && this.#kernel) return this.#sayUnreadable(error, this.#kernel);
      if (!isOptional || signal.aborted) throw error;
      this.#log.debug(errorFields(error), 'cannot look for rules of IPv6, and needs none');
      return undefined;
    }
  }

  #sayUnreadable(error: unknown, kernel: SavedTables): SavedTables {
    if (!this.#saidUnreadable) this.#log.warn(errorFields(error), 'what others do to the rules cannot be seen');
    this.#saidUnreadable = true;
    return kernel;
  }

  #wantedRelays(routes: readonly Route[]): ReadonlyMap<string, RelayWish> {
    const wanted = new Map<string, RelayWish>();
    const unserved = new Set<string>();
    for (const route of routes) {
      const name = `${route.origin.namespace}/${route.origin.name}`;
      if (route.frontend.protocol === 'SCTP') unserved.add(`${name}: SCTP cannot be relayed`);
      for (const [key, wish] of relaysOf(route)) {
        if (wanted.size < maxRelays || wanted.has(key)) wanted.set(key, wish);
        else unserved.add(`${name}: more than ${maxRelays} relays`);
      }
    }
    const said = [...unserved].slice(0, 5).join('; ');
    if (said !== '' && said !== this.#saidUnserved) {
      this.#log.warn({ services: unserved.size, details: said }, 'Services are not served in userspace mode');
    }
    this.#saidUnserved = said;
    return wanted;
  }

  /** Whether a flow leads to a relay that is not there. */
  #isLost({ answersFrom }: TrackedFlow): boolean {
    if (answersFrom.ip !== relayAddress[this.#family]) return false;
    return ![...this.#udpPorts.values()].some(({ ports }) => ports.has(answersFrom.port));
  }

  /** Now that no rule leads there any more: closes relays, and ends UDP flows that would go on to where they were. */
  #cleanUp(routes: readonly Route[], relays: ReadonlyMap<string, RelayWish>): void {
    const before = this.#udpPorts;
    this.#udpPorts = udpPortsOf(routes, this.#relays.portOf);
    this.#relays.keepOnly(relays);
    this.#cleaner.remove(flowsBetween(before, this.#udpPorts, relayAddress[this.#family]));
  }
}

const allOf = (routes: Routes): readonly Route[] => [...routes.frontends()].flatMap((key) => routes.get(key) ?? []);

interface UdpPorts {
  readonly route: Route;
  readonly ports: ReadonlySet<number>;
}

function udpPortsOf(
  routes: readonly Route[],
  portOf: (relay: string) => number | undefined,
): ReadonlyMap<string, UdpPorts> {
  const udp = routes.filter(({ frontend }) => frontend.protocol === 'UDP');
  return new Map(
    udp.map((route) => {
      const ports = relaysOf(route).flatMap(([key]) => portOf(key) ?? []);
      return [`${route.frontend.ip} ${route.frontend.port}`, { route, ports: new Set(ports) }];
    }),
  );
}

function flowsBetween(
  before: ReadonlyMap<string, UdpPorts>,
  now: ReadonlyMap<string, UdpPorts>,
  host: string,
): readonly StaleFlows[] {
  return [...before].flatMap(([key, { route, ports }]) => {
    const gone = [...ports].filter((port) => !now.get(key)?.ports.has(port));
    const { ip, port } = route.frontend;
    return gone.map((relayPort): StaleFlows => ({ ip, port, endpoint: { ip: host, port: relayPort } }));
  });
}

function notOpen(errors: readonly unknown[]): AgentError {
  const [first] = errors;
  const isFull = errnoOf(first) === 'EMFILE' || errnoOf(first) === 'ENFILE';
  return new AgentError('RelayNotOpen', `${errors.length} relays cannot listen: ${messageOf(first)}`, {
    cause: first,
    retryable: true,
    ...(isFull ? { hint: 'let this process have more open files: LimitNOFILE= of its systemd unit' } : {}),
  });
}
