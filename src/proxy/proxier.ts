import { isIPv6 } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import type { Node, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { ServiceDiff, ServicePlan } from '../api/service-views.ts';
import type { Exec } from '../host/exec.ts';
import type { RunCause } from '../lib/bounded-runner.ts';
import { BoundedRunner } from '../lib/bounded-runner.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Backend, TrafficRules, Wish } from './backend.ts';
import { CatchUp } from './catch-up.ts';
import { Complaints } from './complaints.ts';
import { ConntrackCleaner } from './conntrack.ts';
import type { HealthCheck } from './health-checks.ts';
import { HealthChecks } from './health-checks.ts';
import { KnownServices } from './known-services.ts';
import { NftBackend } from './nftables/nft-backend.ts';
import type { NoLocalEndpoints } from './no-local-endpoints.ts';
import { countNoLocalEndpoints } from './no-local-endpoints.ts';
import type { NodeFacts, TrafficConfig } from './node-facts.ts';
import { detectLocal, lacksPrimary, nodeFactsOf, nodePortRanges } from './node-facts.ts';
import type { ProxyHealth } from './proxy-health.ts';
import type { ProxyMetrics } from './proxy-metrics.ts';
import { measureSync } from './proxy-metrics.ts';
import type { IpFamily } from './read-service.ts';
import { canonicalIp, readService } from './read-service.ts';
import { readSlice } from './read-slice.ts';
import { routeLoopback } from './route-loopback.ts';
import { frontendKey } from './route-services.ts';
import type { StaleFlows } from './stale-flows.ts';
import { isUnrouted, staleFlows, stillStale } from './stale-flows.ts';
import { StartGate } from './start-gate.ts';
import type { TraceFacts } from './trace-target.ts';
import { TriggerTimes } from './trigger-times.ts';
import type { Withdrawn } from './withdraw.ts';

export interface ProxierOptions {
  /** What carries the routes; default: nftables. */
  readonly backend?: Backend;
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
  /** What is said of objects; one for the proxiers of both families, so that neither repeats the other. */
  readonly complaints?: Complaints;
  /** `healthChecks` is not what it was. */
  readonly healthChecksChanged?: () => void;
}

/** How long a new Service without endpoints waits for them. */
const newServiceMs = 5;
/** Kinds of UDP flow that wait for the rules to lead elsewhere; more are left to their timeout. */
const maxStale = 10_000;
/** How often the kernel is compared anew when Services are programmed meanwhile. */
const diffTries = 3;
const backoff = { initialMs: 200, maxMs: 30_000 };

/**
 * Keeps one address family in step with Services and EndpointSlices: drain, route, and have the backend carry it.
 * Knows nothing of how that is done. Stopping leaves the rules as they are.
 */
export class Proxier {
  /** Resolves when the kernel has all Services for the first time. */
  readonly synced: Promise<void>;
  readonly #exec: Pick<Exec, 'run'>;
  readonly #log: Log;
  readonly #nodeName: string;
  readonly #family: IpFamily;
  readonly #traffic: TrafficConfig;
  #rules: TrafficRules;
  #facts: NodeFacts;
  readonly #backend: Backend;
  readonly #runner: BoundedRunner;
  readonly #cleaner: ConntrackCleaner;
  readonly #known: KnownServices;
  readonly #catchUp = new CatchUp();
  /** Local addresses whose rules the kernel may not have as they should be. */
  readonly #unwritten = new Set<string>();
  readonly #complaints: Complaints;
  readonly #clock: Clock;
  readonly #metrics: ProxyMetrics | undefined;
  readonly #health: ProxyHealth | undefined;
  readonly #triggers: TriggerTimes;
  readonly #markSynced: () => void;
  readonly #healthChecks = new HealthChecks();
  readonly #healthChecksChanged: () => void;
  #stale: StaleFlows[] = [];
  readonly #gate: StartGate;
  #soon: Disposable | undefined;
  #isSynced = false;
  #routesLoopback = false;
  /** Replaced when a sync begins and when it ends. */
  #passes = { begun: 0, ended: 0 };
  #isBroken = false;

  constructor(options: ProxierOptions) {
    const { exec, clock, log, nodeName, masqueradeAll, masqueradeBit } = options;
    this.#log = log;
    this.#complaints = options.complaints ?? new Complaints(log);
    this.#clock = clock;
    this.#metrics = options.metrics;
    this.#health = options.health;
    this.#healthChecksChanged = options.healthChecksChanged ?? (() => {});
    this.#triggers = new TriggerTimes(clock.now());
    this.#nodeName = nodeName;
    this.#family = options.family ?? 'IPv4';
    this.#known = new KnownServices({ family: this.#family, nodeName, complaints: this.#complaints });
    this.#traffic = {
      ...{ detectLocalMode: 'ClusterCIDR', bridgeInterface: '', interfaceNamePrefix: '' },
      ...{ nodePortAddresses: [], localhostNodePorts: false },
      ...options.traffic,
      clusterCidrs: options.clusterCidrs,
    };
    this.#facts = nodeFactsOf(undefined, this.#traffic.bindAddress);
    this.#gate = new StartGate({
      clock,
      needsNode: lacksPrimary(this.#traffic.nodePortAddresses, this.#facts, this.#family),
    });
    this.#exec = exec;
    this.#rules = this.#withFacts({ family: this.#family, masqueradeAll, masqueradeBit });
    this.#backend = options.backend ?? new NftBackend({ exec, log });
    this.#cleaner = new ConntrackCleaner({
      exec,
      clock,
      log,
      family: this.#family,
      metrics: options.metrics?.conntrack,
      nodePortAddresses: () => this.#rules.nodePortAddresses,
    });
    const { minSyncPeriodMs: minIntervalMs = 10, syncPeriodMs: maxIntervalMs = 30_000 } = options;
    const policy = { minIntervalMs, maxIntervalMs, backoff };
    this.#runner = new BoundedRunner({ clock, policy, step: (cause, signal) => this.syncOnce(cause, signal) });
    // Of an earlier run there may be rules that nothing is known of yet.
    this.#catchUp.ask();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#markSynced = resolve;
  }

  /** `key` is namespace/name; undefined: the Service is gone. */
  onServiceChange(key: string, service: Service | undefined): void {
    const read = service ? readService(service, this.#family) : undefined;
    this.#complaints.ofObject(this.#family, 'Service', key, read?.problems);
    this.#metrics?.serviceChanges.inc();
    if (this.#healthChecks.note(key, read?.service)) this.#healthChecksChanged();
    const isNew = this.#gate.isTold && !this.#known.isKnown(key);
    if (!this.#known.updateService(key, read?.service)) return;
    if (isNew) this.#queueSoon();
    else this.#queue();
  }

  /** `key` is the slice's own namespace/name; undefined: it is gone. */
  onSliceChange(key: string, slice: EndpointSlice | undefined): void {
    const read = slice ? readSlice(slice, this.#family) : undefined;
    this.#complaints.ofObject(this.#family, 'EndpointSlice', key, read?.problems);
    this.#metrics?.endpointChanges.inc();
    if (!this.#known.updateSlice(key, read?.slice)) return;
    if (slice) this.#triggers.add(slice);
    this.#queue();
  }

  /** The node may have changed its zone, pod range or addresses. */
  onNodeChange(node: Node | undefined): void {
    const facts = nodeFactsOf(node, this.#traffic.bindAddress);
    if (isDeepStrictEqual(facts, this.#facts)) return;
    const moved = facts.zone !== this.#facts.zone;
    const renumbered = !isDeepStrictEqual(facts.addresses, this.#facts.addresses);
    this.#facts = facts;
    const rules = this.#withFacts(this.#rules);
    if (moved) this.#known.reconsider();
    else if (renumbered) this.#known.reconsider((service) => service.sourceRanges !== undefined);
    const opens = facts.addresses.length > 0 && this.#gate.nodeKnown();
    if (!opens && !moved && !renumbered && isDeepStrictEqual(rules, this.#rules)) return;
    this.#rules = rules;
    this.#queue();
    if (opens) this.#runner.hurry();
  }

  /**
   * Local pods that are known here to serve nobody any more: they leave the rules before the API server knows. One that
   * is not named any more is what its slice says.
   */
  onWithdrawn(withdrawn: Withdrawn): void {
    const { changed, urgent } = this.#known.withdraw(withdrawn);
    if (changed) this.#queue();
    if (urgent) this.hurry();
  }

  /** What was told last is known on this node alone, and urgent: `minSyncPeriodMs` does not hold it up. */
  hurry(): void {
    this.#runner.hurry();
  }

  /**
   * Resolves when the kernel has all that is known by now of addresses of this node, at once when no rule leads to
   * any of them; rejects when the signal aborts first. As long as the sources are not known, rules of an earlier run
   * may lead anywhere, and it waits.
   */
  async whenWritten(ips: readonly string[], signal: AbortSignal): Promise<void> {
    const own = ips.filter((ip) => isIPv6(ip) === (this.#family === 'IPv6'));
    const mayLeadTo = (ip: string) =>
      this.isLocalEndpoint(ip) || this.#known.routes.localTargets().has(ip) || this.#unwritten.has(ip);
    if (this.#isSynced ? own.some(mayLeadTo) : own.length > 0) await this.#catchUp.whenWritten(signal);
  }

  /** By Service: the ports that load balancers ask. */
  get healthChecks(): ReadonlyMap<string, HealthCheck> {
    return this.#healthChecks.all;
  }

  /** How many ready endpoints a Service has on this node. */
  localEndpoints(serviceKey: string): number {
    return this.#known.localEndpoints(serviceKey);
  }

  /** Whether a slice has an endpoint of this node with this key, an address or the UID of a pod. */
  isLocalEndpoint(key: string): boolean {
    return this.#known.isLocalEndpoint(key);
  }

  /** All Services and EndpointSlices have been told once. Before that, nothing is written, so nothing is removed. */
  sourcesSynced(): void {
    this.#gate.sourcesSynced(() => this.#queue());
    this.#queue();
    // What ran before this only found that there was nothing to do yet: `minSyncPeriodMs` is not for that.
    this.#runner.hurry();
  }

  /** How many changes the kernel does not have yet. */
  get pending(): { readonly services: number; readonly endpoints: number } {
    return this.#known.pending;
  }

  /** What the metric of this name tells; walks all routes. */
  get noLocalEndpoints(): NoLocalEndpoints & { readonly family: IpFamily } {
    return { family: this.#family, ...countNoLocalEndpoints(this.#known.routes) };
  }

  /** Whether all objects are known, and routed once: before that nothing can be said of them. */
  get isRouted(): boolean {
    return this.#passes.begun > 0;
  }

  /** Routes what is known and tells no kernel: where only a plan is wanted. */
  rehearse(): void {
    this.#passes = { begun: this.#passes.begun + 1, ended: this.#passes.ended + 1 };
    this.#known.reroute(this.#facts);
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    if (!this.#gate.isTold) this.#backend.prepare?.(this.#rules, signal);
    const backend = this.#backend.run(signal, () => this.#runner.poke());
    await Promise.all([this.#runner.run(signal), this.#cleaner.run(signal), backend]);
  }

  /** One pass; throws when the kernel may not have what it should, which has been logged. */
  async syncOnce(cause: RunCause, signal: AbortSignal): Promise<void> {
    if (!this.#gate.isOpen) return;
    this.#passes = { ...this.#passes, begun: this.#passes.begun + 1 };
    const startedAt = this.#clock.monotonic();
    const triggers = this.#triggers.take();
    const { mark } = this.#catchUp;
    try {
      const isFull = await this.#sync(cause, signal);
      measureSync(this.#metrics, { clock: this.#clock, startedAt, family: this.#family, isFull, triggers });
    } catch (error) {
      this.#triggers.putBack(triggers);
      if (!signal.aborted) this.#failed(error);
      throw error;
    } finally {
      this.#passes = { ...this.#passes, ended: this.#passes.ended + 1 };
    }
    // What changed meanwhile is for the next sync.
    this.#health?.updated();
    const { services, endpoints } = this.pending;
    if (services + endpoints > 0) this.#health?.queued();
    if (this.#isBroken) this.#log.info({ family: this.#family }, 'Services are programmed again');
    this.#isBroken = false;
    this.#complaints.news(`${this.#family} sync`, []);
    this.#markSynced();
    this.#catchUp.wrote(mark);
  }

  /** Returns whether everything was compared. */
  async #sync(cause: RunCause, signal: AbortSignal): Promise<boolean> {
    const changes = this.#known.reroute(this.#facts);
    const changed = {
      frontends: new Set(changes.map((change) => change.frontend)),
      services: new Set(changes.flatMap((change) => change.services)),
    };
    this.#stale = [...this.#stale, ...changes.flatMap(staleFlows)].slice(-maxStale);
    const changedTargets = this.#known.routes.takeChangedTargets();
    for (const ip of changedTargets) this.#unwritten.add(ip);
    const wish = { ...this.#wish(), changed, changedTargets };
    const { isFull, writes } = await this.#backend.sync(wish, { cause, signal });
    this.#unwritten.clear();
    const routeOf = (ip: string, port: number) => this.#known.routes.get(frontendKey({ ip, protocol: 'UDP', port }));
    // Only now do the rules lead elsewhere: a flow that was removed earlier would come back as it was.
    this.#cleaner.remove(stillStale(this.#stale, routeOf));
    this.#stale = [];
    if (!this.#isSynced) this.#cleaner.removeWhere((flow, isNodeAddress) => isUnrouted(flow, routeOf, isNodeAddress));
    this.#isSynced = true;
    if (!this.#routesLoopback && this.#rules.localhostNodePorts && this.#known.routes.hasNodePorts) {
      this.#routesLoopback = true;
      await routeLoopback({ exec: this.#exec, log: this.#log }, signal);
    }
    this.#log.debug({ cause, services: changed.services.size, writes }, 'Services are in step');
    return isFull;
  }

  /** What would be written to a kernel that has nothing. */
  plan(): ServicePlan {
    return { family: this.#family, mode: this.#backend.mode, text: this.#backend.plan(this.#wish()) };
  }

  /** How the kernel differs from what it shall hold. Reads it again, a few times at most, when Services move meanwhile. */
  async diff(signal: AbortSignal): Promise<ServiceDiff> {
    for (let tries = 1; ; tries++) {
      const passes = this.#passes;
      const lines = await this.#backend.diff(this.#wish(), signal);
      const isMoving = passes !== this.#passes || passes.begun > passes.ended;
      if (lines.length > 0 && isMoving && tries < diffTries) continue;
      return { family: this.#family, mode: this.#backend.mode, lines, isMoving };
    }
  }

  /** What packets are traced with. */
  get traceFacts(): TraceFacts {
    const { addresses, podCidrs, zone } = this.#facts;
    const family = this.#family;
    return {
      ...{ family, podCidrs, rules: this.#rules, routes: this.#known.routes, mode: this.#backend.mode },
      place: { nodeName: this.#nodeName, zone },
      nodeAddresses: addresses.flatMap((ip) => canonicalIp(ip, family) ?? []),
      service: (key) => this.#known.get(key),
      endpoints: (key) => this.#known.endpointsOf(key),
      explain: (frontend) => this.#backend.explain(frontend, this.#wish()),
    };
  }

  /** All that is wanted, as if nothing had changed. */
  #wish(): Wish {
    const none: ReadonlySet<string> = new Set();
    const changed = { frontends: none, services: none };
    return { routes: this.#known.routes, rules: this.#rules, changed, changedTargets: none };
  }

  #withFacts(rest: Pick<TrafficRules, 'family' | 'masqueradeAll' | 'masqueradeBit'>): TrafficRules {
    const { nodePortAddresses, localhostNodePorts } = this.#traffic;
    return {
      ...rest,
      local: detectLocal(this.#traffic, this.#facts, this.#family),
      nodePortAddresses: nodePortRanges(nodePortAddresses, this.#facts, this.#family),
      localhostNodePorts: localhostNodePorts && this.#family === 'IPv4',
    };
  }

  /** A new Service's endpoints come by another stream, most often at once: one sync does for both. */
  #queueSoon(): void {
    this.#noteQueued();
    this.#soon ??= this.#clock.after(newServiceMs, () => {
      this.#soon = undefined;
      this.#runner.poke();
    });
  }

  #queue(): void {
    this.#noteQueued();
    this.#runner.poke();
  }

  #noteQueued(): void {
    this.#catchUp.ask();
    this.#health?.queued();
    this.#metrics?.lastQueued.set(this.#clock.now() / 1000, this.#family);
  }

  #failed(error: unknown): void {
    this.#health?.queued();
    this.#metrics?.failures?.inc(this.#family);
    this.#isBroken = true;
    const fault = { about: 'the kernel', text: messageOf(error) };
    if (this.#complaints.news(`${this.#family} sync`, [fault]).length === 0) return;
    this.#log.error(errorFields(error), 'Services are not in step with the kernel; trying again');
  }
}
