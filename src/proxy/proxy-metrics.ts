import type { Clock } from '../lib/clock.ts';
import { type Counter, exponentialBuckets, type Gauge, type Histogram, type Registry } from '../lib/metrics.ts';
import type { ProxyMode } from './backend.ts';
import type { NoLocalEndpoints } from './no-local-endpoints.ts';
import type { IpFamily } from './read-service.ts';

/** What the proxy says of its own work. The label of all but the changes is the address family. */
export interface ProxyMetrics {
  readonly syncDuration: Histogram;
  /** Of syncs for which everything was compared. */
  readonly fullSyncDuration: Histogram;
  readonly partialSyncDuration: Histogram;
  /** From the change of a pod or Service, as the control plane noted it, to the kernel. */
  readonly programmingDuration: Histogram;
  readonly lastSync: Gauge;
  readonly lastQueued: Gauge;
  /** Its name says the mode: see `syncFailures`. */
  readonly failures?: Counter;
  readonly conntrack: ConntrackMetrics;
  readonly serviceChanges: Counter;
  readonly endpointChanges: Counter;
}

/** Of stale UDP flows. */
export interface ConntrackMetrics {
  readonly deleted: Counter;
  /** Of a pass over those that wait. */
  readonly duration: Histogram;
}

export function proxyMetrics(registry: Registry): ProxyMetrics {
  const labels = ['ip_family'];
  const name = (rest: string) => `kubeproxy_${rest}`;
  const sync = (which: string, help: string) =>
    registry.histogram({
      name: name(`${which}_duration_seconds`),
      help,
      labels,
      buckets: exponentialBuckets(0.001, 2, 15),
    });
  const gauge = (rest: string, help: string) => registry.gauge({ name: name(rest), help, labels });
  return {
    syncDuration: sync('sync_proxy_rules', 'How long it took to bring the kernel in step with Services.'),
    fullSyncDuration: sync('sync_full_proxy_rules', 'The same when everything was compared.'),
    partialSyncDuration: sync('sync_partial_proxy_rules', 'The same when only changes were written.'),
    programmingDuration: registry.histogram({
      name: name('network_programming_duration_seconds'),
      help: 'Time from the change of an endpoint to the kernel.',
      labels,
      buckets: programmingBuckets(),
    }),
    lastSync: gauge('sync_proxy_rules_last_timestamp_seconds', 'When the kernel was last in step.'),
    lastQueued: gauge('sync_proxy_rules_last_queued_timestamp_seconds', 'When something last changed.'),
    conntrack: {
      deleted: registry.counter({
        name: name('conntrack_reconciler_deleted_entries_total'),
        help: 'UDP flows that were removed because they led to an endpoint that is gone.',
        labels,
      }),
      duration: sync('conntrack_reconciler_sync', 'How long it took to remove such flows.'),
    },
    serviceChanges: registry.counter({
      name: name('sync_proxy_rules_service_changes_total'),
      help: 'Changes of Services that were seen.',
    }),
    endpointChanges: registry.counter({
      name: name('sync_proxy_rules_endpoint_changes_total'),
      help: 'Changes of EndpointSlices that were seen.',
    }),
  };
}

/** Of rules of iptables; the gauges are labelled by address family and table. */
export interface IptablesMetrics {
  readonly rules: Gauge;
  readonly written: Gauge;
  readonly partialFailures: Counter;
}

/** What a backend counts by itself. */
export interface BackendMetrics {
  /** Where the mode is iptables. */
  readonly iptables?: IptablesMetrics | undefined;
  readonly conntrack?: ConntrackMetrics | undefined;
}

/** Only where the mode is iptables. */
export function iptablesMetrics(registry: Registry): IptablesMetrics {
  const gauge = (rest: string, help: string) =>
    registry.gauge({ name: `kubeproxy_sync_proxy_rules_iptables_${rest}`, help, labels: ['ip_family', 'table'] });
  return {
    rules: gauge('total', 'Rules of iptables that are there for Services.'),
    written: gauge('last', 'Rules of iptables that the last sync wrote.'),
    partialFailures: registry.counter({
      name: 'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total',
      help: 'Attempts to write only changes that failed; everything is compared after them.',
      labels: ['ip_family'],
    }),
  };
}

/** Notes a sync that succeeded. `triggers`: when what it brought to the kernel had changed, in ms since 1970. */
export function measureSync(
  metrics: ProxyMetrics | undefined,
  sync: {
    readonly clock: Pick<Clock, 'now' | 'monotonic'>;
    readonly startedAt: number;
    readonly family: IpFamily;
    readonly isFull: boolean;
    readonly triggers: readonly number[];
  },
): void {
  if (!metrics) return;
  const { clock, startedAt, family, isFull, triggers } = sync;
  const now = clock.now();
  const seconds = (clock.monotonic() - startedAt) / 1000;
  metrics.syncDuration.observe(seconds, family);
  (isFull ? metrics.fullSyncDuration : metrics.partialSyncDuration).observe(seconds, family);
  metrics.lastSync.set(now / 1000, family);
  for (const at of triggers) metrics.programmingDuration.observe(Math.max(0, now - at) / 1000, family);
}

/** Failed attempts; upstream names them by what they were tried with. All modes but one write iptables rules. */
export function syncFailures(registry: Registry, mode: ProxyMode): Counter {
  const tool = mode === 'nftables' ? 'nftables_sync' : 'iptables_restore';
  return registry.counter({
    name: `kubeproxy_sync_proxy_rules_${tool}_failures_total`,
    help: 'Attempts to bring the kernel in step that failed.',
    labels: ['ip_family'],
  });
}

/** What the proxier has yet to bring to the kernel. */
export function pendingChanges(registry: Registry, pending: () => { services: number; endpoints: number }): void {
  const names = { services: 'service', endpoints: 'endpoint' } as const;
  const metric = (what: keyof typeof names) => `kubeproxy_sync_proxy_rules_${names[what]}_changes_pending`;
  const definition = (what: keyof typeof names, help: string) => ({ name: metric(what), type: 'gauge' as const, help });
  registry.collect(
    [
      definition('services', 'Changes of Services that the kernel does not have yet.'),
      definition('endpoints', 'Changes of EndpointSlices that the kernel does not have yet.'),
    ],
    (emit) => {
      const { services, endpoints } = pending();
      emit(metric('services'), services);
      emit(metric('endpoints'), endpoints);
    },
  );
}

/** Service ports whose policy wants an endpoint on this node, and that have theirs elsewhere. Read when it is asked for. */
export function noLocalEndpoints(
  registry: Registry,
  read: () => readonly (NoLocalEndpoints & { readonly family: IpFamily })[],
): void {
  const name = 'kubeproxy_sync_proxy_rules_no_local_endpoints_total';
  const help = 'Services with a Local traffic policy and no endpoints on this node.';
  registry.collect([{ name, type: 'gauge', help, labels: ['ip_family', 'traffic_policy'] }], (emit) => {
    for (const { family, internal, external } of read()) {
      emit(name, internal, family, 'internal');
      emit(name, external, family, 'external');
    }
  });
}

/** Fine below a minute, coarser up to five. */
function programmingBuckets(): readonly number[] {
  const steps = (from: number, by: number, count: number) => Array.from({ length: count }, (_, i) => from + i * by);
  return [0, ...steps(0.25, 0.25, 2), ...steps(1, 1, 59), ...steps(60, 5, 12), ...steps(120, 30, 7)];
}
