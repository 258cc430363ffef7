import type { RunCause } from '../lib/bounded-runner.ts';
import type { AgentError } from '../lib/errors.ts';
import type { LocalTraffic } from './node-facts.ts';
import type { IpFamily } from './read-service.ts';
import type { RouteTable } from './route-table.ts';

/** How the kernel (or, for `userspace`, this process) is made to carry routes. */
export const proxyModes = ['nftables', 'iptables', 'ipvs', 'userspace'] as const;
export type ProxyMode = (typeof proxyModes)[number];

/** What of the rules does not depend on Services; plain and comparable. */
export interface TrafficRules {
  readonly family: IpFamily;
  /** All connections to virtual addresses get a node address as source. */
  readonly masqueradeAll: boolean;
  /** The bit (0 … 31) of the packet mark that asks for masquerade on the way out. */
  readonly masqueradeBit: number;
  /** How packets of this node's pods are known; undefined: they are not, so nobody counts as an outsider. */
  readonly local: LocalTraffic | undefined;
  /** CIDRs of the family, disjoint: the node's addresses that serve node ports; empty: all of them. */
  readonly nodePortAddresses: readonly string[];
  /** Whether node ports are served on loopback addresses too; IPv4 only. */
  readonly localhostNodePorts: boolean;
}

/** The routes as a backend may look at them. */
export type Routes = Pick<
  RouteTable,
  'isEmpty' | 'hasNodePorts' | 'get' | 'frontends' | 'ownerOf' | 'localTargets' | 'servicesWithRoutes' | 'routesOf'
>;

/** What the kernel shall hold, and where it may differ from what it was at the sync before. */
export interface Wish {
  readonly routes: Routes;
  readonly rules: TrafficRules;
  /** Frontends (`frontendKey`) whose route differs, and `namespace/name` of the Services that have or had one of those. */
  readonly changed: { readonly frontends: ReadonlySet<string>; readonly services: ReadonlySet<string> };
  /** Addresses that are, or are no longer, among `routes.localTargets()`. */
  readonly changedTargets: ReadonlySet<string>;
}

export interface SyncOutcome {
  /** Whether everything was compared with the kernel, and not only what changed. */
  readonly isFull: boolean;
  /** How many elements, rules or entries were written; 0 when the kernel had it all. */
  readonly writes: number;
}

/**
 * PORT: what carries the routes of one address family. It remembers what the kernel holds. Whenever that is not known
 * (at the start, after any failure, after a foreign change) it reads the kernel back first and writes only what
 * differs, so that a start adopts what it finds.
 */
export interface Backend {
  readonly mode: ProxyMode;
  /**
   * Objects are still being listed: what the kernel holds may be read meanwhile, for the first sync. Called once at
   * most, before it. Throws nothing.
   */
  prepare?(rules: TrafficRules, signal: AbortSignal): void;
  /**
   * Brings the kernel in step with `wish`. `periodic`: also look for what another program has changed, and repair it.
   * Throws an AgentError (with a hint where there is a remedy) when the kernel may not have it; what the kernel holds
   * counts as unknown from then on, and the next call compares everything, whatever its `changed` says.
   */
  sync(wish: Wish, context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome>;
  /**
   * What has to go on between syncs: relays, watching for foreign changes, draining. `needsSync` asks for a sync now.
   * Resolves when the signal aborts, and leaves the kernel as it is. Called once.
   */
  run(signal: AbortSignal, needsSync: () => void): Promise<void>;
  /** What would be written to an empty kernel for this wish: the text that its tool takes. Touches nothing. */
  plan(wish: Wish): string;
  /** What the kernel has and should not (`- …`), and lacks (`+ …`), a line each; none when it is in step. Only reads. */
  diff(wish: Wish, signal: AbortSignal): Promise<readonly string[]>;
  /** The rules or elements that decide about packets to a frontend, for `keelson svc trace`; none if it has none. */
  explain(frontend: string, wish: Wish): readonly string[];
}

/**
 * What one mode may have in the kernel, in both address families. Found without a daemon: by names and marks that
 * keelson alone gives. Never removes what is not keelson's.
 */
export interface Remains {
  readonly mode: ProxyMode;
  /** What is ours, a line each as an operator would name it (`nftables table ip keelson`); only reads. */
  found(signal: AbortSignal): Promise<readonly string[]>;
  /** Removes all that `found` lists; removing nothing is no error. */
  remove(signal: AbortSignal): Promise<void>;
  /** What is kube-proxy's and would decide about the same packets, a line each; only reads. */
  conflicts(signal: AbortSignal): Promise<readonly string[]>;
}

/** Says why a mode cannot work on this host, with a hint at the remedy; undefined when it can. Leaves nothing behind. */
export type ModeCheck = (signal: AbortSignal) => Promise<AgentError | undefined>;
