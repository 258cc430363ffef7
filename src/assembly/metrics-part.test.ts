import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { healthMetrics } from '../lib/health-metrics.ts';
import { silentLog } from '../lib/log.ts';
import type { Registry } from '../lib/metrics.ts';
import { healthAnswers } from '../proxy/proxy-answers.ts';
import { ProxyHealth } from '../proxy/proxy-health.ts';
import { iptablesMetrics, noLocalEndpoints, pendingChanges, syncFailures } from '../proxy/proxy-metrics.ts';
import { HttpMetrics } from '../server/http-metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { buildAllMetrics, readAtScrape, type WatchedParts } from './metrics-part.ts';

const file = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** Of a recording of kubelet 1.36: 'type labels' by name. */
function recorded(path: string): ReadonlyMap<string, string> {
  const lines = file(path).trimEnd().split('\n').slice(1);
  return new Map(
    lines.map((line) => {
      const [name = '', type = '', labels = ''] = line.split('\t');
      return [name, `${type} ${labels}`];
    }),
  );
}

const served = (registry: Registry): ReadonlyMap<string, string> =>
  new Map(registry.definitions().map(({ name, type, labels }) => [name, `${type} ${[...labels].sort().join(',')}`]));

/** Names in the first column of the tables of docs/metrics.md; a star stands for the rest of a name. */
function documented(): (name: string) => boolean {
  const rows = file('docs/metrics.md').matchAll(/^\| ((?:`[^`]+`(?:, )?)+) \|/gm);
  const names = [...rows].flatMap(([, cell = '']) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));
  const exact = new Set(names);
  const prefixes = names.filter((n) => n.endsWith('*')).map((n) => n.slice(0, -1));
  return (name) => exact.has(name) || prefixes.some((p) => name.startsWith(p));
}

function build() {
  const metrics = buildAllMetrics(silentLog);
  const none = new Map();
  const parts = {
    host: { nodeName: 'n', resources: { cgroupVersion: 2 } },
    podsHalf: {
      manager: { all: () => [], get: () => undefined },
      cache: { uids: () => [], get: () => undefined },
      workers: { uids: () => [], view: () => undefined },
      probes: { counts: () => [] },
      pleg: { lastRelistAt: Number.NEGATIVE_INFINITY },
      notes: none,
    },
    volumes: { volumes: () => [] },
    api: undefined,
  } as unknown as WatchedParts;
  readAtScrape(metrics, parts);
  new HttpMetrics(metrics.node, [], new FakeClock());
  healthMetrics(metrics.slis, [{ name: 'ping', problem: () => undefined }]);
  return metrics;
}

test("what is served has upstream's type and labels", () => {
  const { node, probes } = build();
  const differences = (registry: Registry, path: string) => {
    const upstream = recorded(path);
    return [...served(registry)].flatMap(([name, shape]) => {
      const known = upstream.get(name);
      return known === undefined || known === shape ? [] : [`${name}: ${shape}, not ${known}`];
    });
  };
  assert.deepEqual(differences(node, 'test/golden/node/metrics.tsv'), []);
  assert.deepEqual(differences(probes, 'test/golden/node/metrics-probes.tsv'), []);
});

test('what upstream serves and keelson does not is in docs/metrics.md, and nothing else is', () => {
  const { node } = build();
  const upstream = recorded('test/golden/node/metrics.tsv');
  const ours = served(node);
  const isDocumented = documented();
  const silent = [...upstream.keys()].filter((name) => !ours.has(name) && !isDocumented(name));
  assert.deepEqual(silent, []);
  assert.deepEqual(
    [...ours.keys()].filter((name) => upstream.has(name) && isDocumented(name)),
    [],
  );
});

test('what the recording did not happen to see', () => {
  const { node } = build();
  const upstream = recorded('test/golden/node/metrics.tsv');
  const more = [...served(node)].filter(([name]) => !upstream.has(name)).map((entry) => entry.join(' '));
  assert.deepEqual(more, [
    'keelson_build_info gauge node_version,version',
    'kubelet_certificate_manager_client_ttl_seconds gauge ',
    'kubelet_image_pull_duration_seconds histogram image_size_in_bytes',
  ]);
});

test("the proxy's metrics", () => {
  const { proxy } = build();
  pendingChanges(proxy, () => ({ services: 0, endpoints: 0 }));
  noLocalEndpoints(proxy, () => [{ family: 'IPv4', internal: 0, external: 1 }]);
  for (const mode of ['nftables', 'iptables'] as const) syncFailures(proxy, mode);
  iptablesMetrics(proxy);
  const clock = new FakeClock();
  healthAnswers({ health: new ProxyHealth(clock, 1), node: () => undefined, clock, registry: proxy });
  const shapes = [...served(proxy)].filter(([name]) => name.startsWith('kubeproxy_')).map((entry) => entry.join(' '));
  assert.deepEqual(shapes, [
    'kubeproxy_conntrack_reconciler_deleted_entries_total counter ip_family',
    'kubeproxy_conntrack_reconciler_sync_duration_seconds histogram ip_family',
    'kubeproxy_network_programming_duration_seconds histogram ip_family',
    'kubeproxy_proxy_healthz_total counter code',
    'kubeproxy_proxy_livez_total counter code',
    'kubeproxy_sync_full_proxy_rules_duration_seconds histogram ip_family',
    'kubeproxy_sync_partial_proxy_rules_duration_seconds histogram ip_family',
    'kubeproxy_sync_proxy_rules_duration_seconds histogram ip_family',
    'kubeproxy_sync_proxy_rules_endpoint_changes_pending gauge ',
    'kubeproxy_sync_proxy_rules_endpoint_changes_total counter ',
    'kubeproxy_sync_proxy_rules_iptables_last gauge ip_family,table',
    'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total counter ip_family',
    'kubeproxy_sync_proxy_rules_iptables_restore_failures_total counter ip_family',
    'kubeproxy_sync_proxy_rules_iptables_total gauge ip_family,table',
    'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge ip_family',
    'kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge ip_family',
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total counter ip_family',
    'kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge ip_family,traffic_policy',
    'kubeproxy_sync_proxy_rules_service_changes_pending gauge ',
    'kubeproxy_sync_proxy_rules_service_changes_total counter ',
  ]);
});

test('a node at rest can be asked', async () => {
  const { node, slis } = build();
  const text = await node.text();
  assert.equal(sampleOf(text, 'kubelet_node_name{node="n"}'), 1);
  assert.equal(sampleOf(text, 'kubelet_working_pods{lifecycle="sync",config="desired",static=""}'), 0);
  assert.match(
    text,
    /^kubernetes_build_info\{.*git_version="v1\.36\.\d+\+keelson\..*",.*major="1",minor="36",.*\} 1$/m,
  );
  assert.doesNotMatch(text, /kubelet_pleg_last_seen_seconds/);
  const health = 'kubernetes_healthcheck{name="ping",type="healthz"}';
  assert.equal(sampleOf(await slis.text(), health), 1);
});
