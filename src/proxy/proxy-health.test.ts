import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { Registry } from '../lib/metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { healthAnswers, metricsAnswers } from './proxy-answers.ts';
import { healthReport, isEligible, ProxyHealth } from './proxy-health.ts';
import { TriggerTimes } from './trigger-times.ts';

test('a proxy is unhealthy when a change has waited too long', async () => {
  const clock = new FakeClock();
  const health = new ProxyHealth(clock, 60_000);
  await clock.advance(3_600_000);
  assert.ok(health.healthy, 'nothing has changed');
  health.queued();
  await clock.advance(59_999);
  health.queued();
  assert.ok(health.healthy, 'not too long yet');
  await clock.advance(1);
  assert.ok(!health.healthy, 'a later change does not make the first one younger');
  health.updated();
  assert.ok(health.healthy, 'the kernel has it');
});

test('what is said of health', () => {
  const now = Date.UTC(2026, 0, 2, 3, 4, 5, 60);
  const updatedAt = now - 1_060;
  const table: Record<string, [boolean, number, boolean | undefined, number, string]> = {
    'all is well, and so it was updated now': [
      ...([true, updatedAt, true, 200] as const),
      '{"lastUpdated": "2026-01-02 03:04:05.06 +0000 UTC","currentTime": "2026-01-02 03:04:05.06 +0000 UTC", "nodeEligible": true}',
    ],
    'the kernel does not keep up': [
      ...([false, updatedAt, true, 503] as const),
      '{"lastUpdated": "2026-01-02 03:04:04 +0000 UTC","currentTime": "2026-01-02 03:04:05.06 +0000 UTC", "nodeEligible": true}',
    ],
    'the node leaves': [
      ...([true, updatedAt, false, 503] as const),
      '{"lastUpdated": "2026-01-02 03:04:04 +0000 UTC","currentTime": "2026-01-02 03:04:05.06 +0000 UTC", "nodeEligible": false}',
    ],
    'the kernel never had anything, and nobody asks for the node': [
      ...([false, 0, undefined, 503] as const),
      '{"lastUpdated": "0001-01-01 00:00:00 +0000 UTC","currentTime": "2026-01-02 03:04:05.06 +0000 UTC"}',
    ],
  };
  for (const [sentence, [healthy, at, eligible, status, text]] of Object.entries(table))
    assert.deepEqual(healthReport({ healthy, updatedAt: at }, now, eligible), { status, text }, sentence);
});

test('who is sent new connections', () => {
  const node = (metadata: object, taints: readonly object[] = []) =>
    ({ metadata: { name: 'n', ...metadata }, spec: { taints } }) as unknown as Node;
  const table: Record<string, [Node | undefined, boolean]> = {
    'a node that is not known yet': [undefined, true],
    'a node': [node({}, [{ key: 'other', effect: 'NoSchedule' }]), true],
    'a node that is being deleted': [node({ deletionTimestamp: 'x' }), false],
    'a node that the autoscaler is about to remove': [node({}, [{ key: 'ToBeDeletedByClusterAutoscaler' }]), false],
  };
  for (const [sentence, [given, expected]] of Object.entries(table))
    assert.equal(isEligible(given), expected, sentence);
});

test('the two ports, path by path', async () => {
  const clock = new FakeClock();
  const registry = new Registry();
  const health = new ProxyHealth(clock, 1);
  const asked = healthAnswers({ health, node: () => undefined, clock, registry });
  const shown = metricsAnswers({ registry, slis: new Registry(), config: { mode: 'ipvs' }, mode: 'ipvs' });
  const table: Record<string, [typeof asked, string, number | undefined, RegExp]> = {
    health: [asked, '/healthz', 200, /nodeEligible/],
    life: [asked, '/livez', 200, /^\{"lastUpdated": "[^"]+","currentTime": "[^"]+"\}$/],
    'no metrics for strangers': [asked, '/metrics', undefined, /^$/],
    metrics: [shown, '/metrics', 200, /^# HELP kubeproxy_proxy_healthz_total/],
    'nothing of health yet': [shown, '/metrics/slis', 200, /^$/],
    mode: [shown, '/proxyMode', 200, /^ipvs$/],
    configuration: [shown, '/configz', 200, /^\{"kubeproxy\.config\.k8s\.io":\{"mode":"ipvs"\}\}$/],
    ping: [shown, '/healthz', 200, /^ok$/],
    'anything else': [shown, '/debug/pprof', undefined, /^$/],
  };
  for (const [sentence, [answers, path, status, text]] of Object.entries(table)) {
    const answer = await answers(path);
    assert.equal(answer?.status, status, sentence);
    assert.match(answer?.text ?? '', text, sentence);
  }
  assert.equal(sampleOf(await registry.text(), 'kubeproxy_proxy_healthz_total{code="200"}'), 1);
});

test('changes from before keelson began are not measured, and none gets lost when a sync fails', () => {
  const since = Date.UTC(2026, 0, 1);
  const times = new TriggerTimes(since);
  const changed = (at: number | undefined) => {
    const annotations = at && { 'endpoints.kubernetes.io/last-change-trigger-time': new Date(at).toISOString() };
    times.add({ metadata: { name: 's', annotations } } as unknown as EndpointSlice);
  };
  for (const at of [since - 1_000, undefined, since + 1_000, since + 2_000]) changed(at);
  const taken = times.take();
  assert.deepEqual(taken, [since + 1_000, since + 2_000]);
  changed(since + 3_000);
  times.putBack(taken);
  assert.deepEqual(times.take(), [since + 1_000, since + 2_000, since + 3_000]);
  assert.deepEqual(times.take(), []);
});
