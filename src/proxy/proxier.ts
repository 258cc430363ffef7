import { isDeepStrictEqual } from 'node:util';
import type { Node, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { Exec } from '../host/exec.ts';
import type { RunCause } from '../lib/bounded-runner.ts';
import { BoundedRunner } from '../lib/bounded-runner.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { ConntrackCleaner } from './conntrack.ts';
import type { PortEndpoints } from './endpointslice-tracker.ts';
import { EndpointSliceTracker } from './endpointslice-tracker.ts';
import type { HealthCheck } from './health-checks.ts';
import { NftTable } from './nftables/apply.ts';
import type { DesiredFrontend, Proto } from './nftables/compile.ts';
import { compileRoute, frontendElement, protos } from './nftables/compile.ts';
import type { DesiredChanges } from './nftables/diff.ts';
import { commit, planTransactions } from './nftables/diff.ts';
import type { RulesetOptions } from './nftables/ruleset.ts';
import type { TableState } from './nftables/table-state.ts';
import type { NodeFacts, TrafficConfig } from './node-facts.ts';
import { detectLocal, nodeFactsOf, nodePortRanges } from './node-facts.ts';
import type { ProxyHealth } from './proxy-health.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';
import type { IpFamily, ServiceInfo } from './read-service.ts';
import { readService } from './read-service.ts';
import { readSlice } from './read-slice.ts';
import { nodeAddress, routeService } from './route-services.ts';
import { RouteTable } from './route-table.ts';
import { ServiceTracker } from './service-tracker.ts';
import { TriggerTimes } from './trigger-times.ts';
import type { Withdrawn } from './withdraw.ts';
import { withdraw } from './withdraw.ts';

export interface ProxierOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly nodeName: string;
  /** Default IPv4. Each family has a proxier of its own. */
  readonly family?: IpFamily;
  readonly masqueradeAll: boolean;
  /** Where pods live; connections from elsewhere to a virtual address are masqueraded. Empty: none are. */
  readonly clusterCidrs: readonly string[];
  /** How else local traffic is known, and which addresses serve node ports; default: all but loopback. */
  readonly traffic?: Partial<TrafficConfig>;
  readonly masqueradeBit: number;
  /** Between two syncs; default 10. */
  readonly minSyncPeriodMs?: number;
  /** Between two looks at what another program may have done to the table; default 30 000. */
  readonly syncPeriodMs?: number;
  readonly metrics?: ProxyMetrics;
  readonly health?: ProxyHealth;
  /** `healthChecks` is not what it was. */
  readonly healthChecksChanged?: () => void;
}

/** A transaction of this many elements takes the kernel a few hundredths of a second. */
const maxWritesPerTransaction = 4_000;
/** Reading a table back takes nft about 25 µs an element; a larger one than this is read at every tenth check only. */
const smallTable = 1_000;
const checksPerFullRead = 10;
/** How often affinities are read anew when they change while they are dropped. */
const forgetTries = 3;
const backoff = { initialMs: 200, maxMs: 30_000 };

/**
 * Keeps the kernel's table in step with Services and EndpointSlices: drain, route, plan, run, commit. What the kernel
 * holds is remembered; after a failure it counts as unknown and is read back before anything else is written. Stopping
 * leaves the rules as they are, and starting adopts them: only what differs is ever written.
 */
export class Proxier {
  /** Resolves when the kernel has all Services for the first time. */
  readonly synced: Promise<void>;
  readonly #log: Log;
  readonly #nodeName: string;
  readonly #family: IpFamily;
  readonly #traffic: TrafficConfig;
  #ruleset: RulesetOptions;
  #facts: NodeFacts = nodeFactsOf(undefined);
  readonly #table: NftTable;
  readonly #runner: BoundedRunner;
  readonly #cleaner: ConntrackCleaner;
  readonly #services = new ServiceTracker();
  readonly #slices: EndpointSliceTracker;
  /** Addresses of local pods that are known here to serve nobody any more, whatever the slices still say. */
  #withdrawn: Withdrawn = new Map();
  /** Services to route anew although none of their objects changed. */
  readonly #reconsider = new Set<string>();
  readonly #routes = new RouteTable();
  /** What was last said of an object, so that it is said once. */
  readonly #said = new Map<string, string>();
  readonly #clock: Clock;
  readonly #metrics: ProxyMetrics | undefined;
  readonly #health: ProxyHealth | undefined;
  readonly #triggers: TriggerTimes;
  readonly #markSynced: () => void;
  readonly #healthChecks = new Map<string, HealthCheck>();
  readonly #healthChecksChanged: () => void;
  /** Undefined: not known, read it back. */
  #state: TableState | undefined;
  #version: string | undefined;
  #sourcesSynced = false;
  readonly #exec: Pick<Exec, 'run'>;
  #routesLoopback = false;
  #checks = 0;
  #failure: string | undefined;

  constructor(options: ProxierOptions) {
    const { exec, clock, log } = options;
    this.#log = log;
    this.#clock = clock;
    this.#metrics = options.metrics;
    this.#health = options.health;
    this.#healthChecksChanged = options.healthChecksChanged ?? (() => {});
    this.#triggers = new TriggerTimes(clock.now());
    this.#nodeName = options.nodeName;
    this.#slices = new EndpointSliceTracker(options.nodeName);
    this.#family = options.family ?? 'IPv4';
    this.#traffic = {
      ...{ detectLocalMode: 'ClusterCIDR', bridgeInterface: '', interfaceNamePrefix: '' },
      ...{ nodePortAddresses: [], localhostNodePorts: false },
      ...options.traffic,
      clusterCidrs: options.clusterCidrs,
    };
    const { masqueradeAll, masqueradeBit } = options;
    const isIpv4 = this.#family === 'IPv4';
    this.#exec = exec;
    this.#ruleset = this.#withFacts({ family: isIpv4 ? 'ip' : 'ip6', table: 'keelson', masqueradeAll, masqueradeBit });
    this.#table = new NftTable(exec, this.#ruleset);
    this.#cleaner = new ConntrackCleaner({ exec, clock, log, family: isIpv4 ? 'ipv4' : 'ipv6' });
    const policy = {
      minIntervalMs: options.minSyncPeriodMs ?? 10,
      maxIntervalMs: options.syncPeriodMs ?? 30_000,
      backoff,
    };
    this.#runner = new BoundedRunner({ clock, policy, step: (cause, signal) => this.syncOnce(cause, signal) });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#markSynced = resolve;
  }

  /** `key` is namespace/name; undefined: the Service is gone. */
  onServiceChange(key: string, service: Service | undefined): void {
    const read = service ? readService(service, this.#family) : undefined;
    this.#say(`Service ${key} problems`, read?.problems, 'part of a Service cannot be used');
    this.#metrics?.serviceChanges.inc();
    this.#noteHealthCheck(key, read?.service);
    if (this.#services.update(key, read?.service)) this.#queue();
  }

  /** `key` is the slice's own namespace/name; undefined: it is gone. */
  onSliceChange(key: string, slice: EndpointSlice | undefined): void {
    const read = slice ? readSlice(slice, this.#family) : undefined;
    this.#say(`EndpointSlice ${key} problems`, read?.problems, 'part of an EndpointSlice cannot be used');
    this.#metrics?.endpointChanges.inc();
    if (!this.#slices.update(key, read?.slice)) return;
    if (slice) this.#triggers.add(slice);
    this.#queue();
  }

  /** The node may have changed its zone, pod range or addresses. */
  onNodeChange(node: Node | undefined): void {
    const facts = nodeFactsOf(node);
    if (isDeepStrictEqual(facts, this.#facts)) return;
    const moved = facts.zone !== this.#facts.zone;
    this.#facts = facts;
    const ruleset = this.#withFacts(this.#ruleset);
    if (moved) for (const key of this.#services.keys()) this.#reconsider.add(key);
    if (!isDeepStrictEqual(ruleset, this.#ruleset)) {
      this.#ruleset = ruleset;
      // The rules are compared with what is wanted when the table is read back.
      this.#state = undefined;
    } else if (!moved) return;
    this.#queue();
  }

  /**
   * Local pods that are known here to serve nobody any more, by address: they leave the rules before the API server
   * knows. One that is not named any more is what its slice says.
   */
  onWithdrawn(withdrawn: Withdrawn): void {
    const before = this.#withdrawn;
    this.#withdrawn = withdrawn;
    let changed = false;
    for (const ip of new Set([...before.keys(), ...withdrawn.keys()])) {
      if (before.get(ip) === withdrawn.get(ip)) continue;
      for (const key of this.#slices.servicesOf(ip)) {
        this.#reconsider.add(key);
        changed = true;
      }
    }
    if (changed) this.#queue();
  }

  /** By Service: the ports that load balancers ask. */
  get healthChecks(): ReadonlyMap<string, HealthCheck> {
    return this.#healthChecks;
  }

  /** How many ready endpoints a Service has on this node. */
  localEndpoints(serviceKey: string): number {
    const ready = this.#endpointsOf(serviceKey).flatMap(({ endpoints }) =>
      endpoints.filter((one) => one.ready && one.nodeName === this.#nodeName).map((one) => one.ip),
    );
    return new Set(ready).size;
  }

  /** Whether a slice names an address as an endpoint of this node. */
  isLocalEndpoint(ip: string): boolean {
    return this.#slices.servicesOf(ip).size > 0;
  }

  /** All Services and EndpointSlices have been told once. Before that, nothing is written, so nothing is removed. */
  sourcesSynced(): void {
    this.#sourcesSynced = true;
    this.#queue();
  }

  /** How many changes the kernel does not have yet. */
  get pending(): { readonly services: number; readonly endpoints: number } {
    return { services: this.#services.pending, endpoints: this.#slices.pending };
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#runner.run(signal), this.#cleaner.run(signal)]);
  }

  /** One pass; throws when the kernel may not have what it should, which has been logged. */
  async syncOnce(cause: RunCause, signal: AbortSignal): Promise<void> {
    if (!this.#sourcesSynced) return;
    const startedAt = this.#clock.monotonic();
    const isFull = this.#state === undefined;
    const triggers = this.#triggers.take();
    try {
      await this.#sync(cause, signal);
    } catch (error) {
      this.#state = undefined;
      this.#triggers.putBack(triggers);
      if (!signal.aborted) this.#failed(error);
      throw error;
    }
    // What changed meanwhile is for the next sync.
    const { services, endpoints } = this.pending;
    this.#health?.updated();
    if (services + endpoints > 0) this.#health?.queued();
    this.#measure(startedAt, isFull, triggers);
    if (this.#failure !== undefined) this.#log.info({}, 'Services are programmed again');
    this.#failure = undefined;
    this.#markSynced();
  }

  async #sync(cause: RunCause, signal: AbortSignal): Promise<void> {
    this.#version ??= await this.#table.checkVersion(signal);
    if (this.#state && cause === 'periodic' && (await this.#mayHaveChanged(this.#state, signal))) {
      this.#state = undefined;
    }
    const known = this.#state;
    const state = known ?? (await this.#table.read(signal));
    this.#state = state;
    const changed = this.#reroute();
    // Most clusters have no IPv6 Service, and their packets need not pass through rules for it.
    if (this.#family === 'IPv6' && state.layout === 'absent' && this.#routes.isEmpty) return;
    const desired = state === known && state.layout === 'ours' ? this.#changesOf(changed) : this.#everything(state);
    let writes = 0;
    let forgets = !known && [...state.frontends.values()].some((frontend) => frontend.remember !== undefined);
    await this.#routeLoopback(signal);
    for (const transaction of planTransactions(state, desired, this.#ruleset, maxWritesPerTransaction)) {
      await this.#table.run(transaction.script, signal);
      commit(state, transaction);
      this.#cleaner.remove(transaction.stale);
      writes += transaction.writes;
      forgets ||= transaction.forgets;
      if (cause === 'periodic') {
        this.#log.warn({ table: this.#ruleset.table }, 'another program changed the ruleset; repaired');
      }
    }
    if (forgets) await this.#forgetClients(state, signal);
    this.#log.debug({ cause, services: changed.size, writes }, 'Services are in step');
  }

  #withFacts(rest: Omit<RulesetOptions, 'local' | 'nodePortAddresses' | 'localhostNodePorts'>): RulesetOptions {
    const { nodePortAddresses, localhostNodePorts } = this.#traffic;
    return {
      ...rest,
      local: detectLocal(this.#traffic, this.#facts, this.#family),
      nodePortAddresses: nodePortRanges(nodePortAddresses, this.#facts, this.#family),
      localhostNodePorts: localhostNodePorts && this.#family === 'IPv4',
    };
  }

  /** Lets the host reach pods from a loopback address, once there is a node port to reach them by. */
  async #routeLoopback(signal: AbortSignal): Promise<void> {
    if (this.#routesLoopback || !this.#ruleset.localhostNodePorts || !this.#routes.hasNodePorts) return;
    this.#routesLoopback = true;
    try {
      const args = ['-q', '-w', 'net.ipv4.conf.all.route_localnet=1'];
      await this.#exec.run('sysctl', args, { signal, timeoutMs: 5_000 });
    } catch (error) {
      if (signal.aborted) throw error;
      this.#log.warn(errorFields(error), 'node ports do not answer on 127.0.0.1: route_localnet cannot be set');
    }
  }

  /** Ends the affinity of clients to endpoints that their Service does not have any more. */
  async #forgetClients(state: TableState, signal: AbortSignal): Promise<void> {
    for (const proto of this.#family === 'IPv4' ? protos : []) {
      for (let tries = 1; ; tries++) {
        const gone = (await this.#table.readAffinities(proto, signal)).filter(({ ip, port, endpoint }) => {
          const own = state.frontends.get(frontendElement({ ip, proto, port }));
          const frontend = own ?? state.frontends.get(frontendElement({ ip: nodeAddress, proto, port }));
          return !frontend || ![...frontend.slots, ...frontend.outsideSlots].includes(endpoint);
        });
        if (gone.length === 0) break;
        try {
          await this.#table.dropAffinities(proto, gone, signal);
          break;
        } catch (error) {
          if (signal.aborted || tries === forgetTries) throw error;
        }
      }
    }
  }

  /** Drains the trackers into the route table; returns the frontends that differ. */
  #reroute(): ReadonlySet<string> {
    const dirty = new Set<string>(this.#services.drain().keys());
    for (const key of this.#slices.drain()) dirty.add(key);
    for (const key of this.#reconsider) dirty.add(key);
    this.#reconsider.clear();
    const frontends = new Set<string>();
    for (const key of dirty) {
      const service = this.#services.get(key);
      const place = { nodeName: this.#nodeName, zone: this.#facts.zone };
      const routes = service ? routeService(service, this.#endpointsOf(key), place) : [];
      const { changed, conflicts } = this.#routes.update(key, service?.createdAt ?? '', routes);
      for (const frontend of changed) frontends.add(frontend);
      const what = 'two Services claim the same address and port; the older one has it';
      const lost = conflicts.map(({ frontend, winner, loser }) => `${frontend}: ${winner} has it, not ${loser}`);
      this.#say(`Service ${key} conflicts`, lost, what);
    }
    return frontends;
  }

  /** As this node knows them. */
  #endpointsOf(key: string): readonly PortEndpoints[] {
    return withdraw(this.#slices.endpointsOf(key), this.#withdrawn, {
      nodeName: this.#nodeName,
      publishesNotReady: this.#services.get(key)?.publishesNotReady === true,
    });
  }

  #noteHealthCheck(key: string, service: ServiceInfo | undefined): void {
    const port = service?.healthCheckNodePort;
    if (this.#healthChecks.get(key)?.port === port) return;
    if (service && port !== undefined) {
      this.#healthChecks.set(key, { namespace: service.namespace, name: service.name, port });
    } else this.#healthChecks.delete(key);
    this.#healthChecksChanged();
  }

  #changesOf(frontends: ReadonlySet<string>): DesiredChanges {
    const local = this.#routes.localTargets();
    const hairpins = [...this.#routes.takeChangedTargets()].map((ip) => [ip, local.has(ip)] as const);
    return { frontends: [...frontends].map((frontend) => this.#desired(frontend)), hairpins };
  }

  /** Every frontend wanted, those that other Services wait for first, then what the kernel has besides. */
  #everything(state: TableState): DesiredChanges {
    this.#routes.takeChangedTargets();
    const local = this.#routes.localTargets();
    const addresses = new Set([...local.keys(), ...state.hairpins]);
    const keys = [...this.#routes.frontends()];
    const first = keys.filter((key) => this.#isUrgent(key));
    const frontends = new Map([...first, ...keys].map((key) => this.#desired(key)));
    for (const element of state.frontends.keys()) if (!frontends.has(element)) frontends.set(element, undefined);
    return { frontends, hairpins: [...addresses].map((ip) => [ip, local.has(ip)] as const) };
  }

  /** Name service and the API server: what a cold node's pods ask for before anything else. */
  #isUrgent(frontend: string): boolean {
    return frontend.endsWith(' 53') || this.#routes.ownerOf(frontend) === 'default/kubernetes';
  }

  #desired(frontend: string): readonly [string, DesiredFrontend | undefined] {
    const route = this.#routes.get(frontend);
    if (route) {
      const desired = compileRoute(route);
      return [frontendElement(desired.id), desired];
    }
    const [ip = '', protocol = '', port = ''] = frontend.split(' ');
    return [frontendElement({ ip, proto: protocol.toLowerCase() as Proto, port: Number(port) }), undefined];
  }

  /** Whether to read the table back: it lost a chain, or it is due for a look at every element. */
  async #mayHaveChanged(state: TableState, signal: AbortSignal): Promise<boolean> {
    if (state.layout === 'absent') return false;
    this.#checks += 1;
    const due = state.frontends.size < smallTable || this.#checks % checksPerFullRead === 0;
    return due || !(await this.#table.hasChains(state, signal));
  }

  #queue(): void {
    this.#health?.queued();
    this.#metrics?.lastQueued.set(this.#clock.now() / 1000, this.#family);
    this.#runner.poke();
  }

  #measure(startedAt: number, isFull: boolean, triggers: readonly number[]): void {
    const metrics = this.#metrics;
    if (!metrics) return;
    const now = this.#clock.now();
    const seconds = (this.#clock.monotonic() - startedAt) / 1000;
    metrics.syncDuration.observe(seconds, this.#family);
    (isFull ? metrics.fullSyncDuration : metrics.partialSyncDuration).observe(seconds, this.#family);
    metrics.lastSync.set(now / 1000, this.#family);
    for (const at of triggers) metrics.programmingDuration.observe(Math.max(0, now - at) / 1000, this.#family);
  }

  #failed(error: unknown): void {
    this.#health?.queued();
    this.#metrics?.failures.inc(this.#family);
    const failure = messageOf(error);
    if (failure === this.#failure) return;
    this.#failure = failure;
    this.#log.error(errorFields(error), 'Services are not in step with the kernel; trying again');
  }

  /** Warns of `items` once, until they change; none forgets that anything was said. */
  #say(about: string, items: readonly string[] | undefined, message: string): void {
    const said = items?.slice(0, 5).join('; ') ?? '';
    if (said === '') this.#said.delete(about);
    else if (this.#said.get(about) !== said) {
      this.#said.set(about, said);
      this.#log.warn({ about: about.split(' ').slice(0, 2).join(' '), details: said }, message);
    }
  }
}
