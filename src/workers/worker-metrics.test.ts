import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { Registry } from '../lib/metrics.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import { sampleOf } from '../testing/sample-of.ts';
import type { PodSteps, SyncOutcome } from './pod-workers.ts';
import { instrumentSteps, workerMetrics } from './worker-metrics.ts';

const uid = podUid('u');
const { signal } = new AbortController();
const nothing: SyncOutcome = { problems: new Map(), backoffs: new Map() };

function setUp(outcome: SyncOutcome = nothing) {
  const clock = new FakeClock();
  const registry = new Registry();
  const wanted = new Map<string, DesiredPod>();
  const steps: PodSteps = {
    sync: async () => {
      await clock.advance(1_000);
      return outcome;
    },
    stop: () => clock.advance(4_000),
    clean: async () => {},
    purge: async () => {},
  };
  const pod = { metadata: { name: 'p' }, spec: { containers: [{ name: 'a' }, { name: 'b' }] } } as unknown as Pod;
  const desired: DesiredPod = { uid, pod, source: 'file', seenAt: clock.now() - 250 };
  const manager = { get: (key: string) => wanted.get(key) };
  const counted = instrumentSteps(steps, { manager, metrics: workerMetrics(registry), clock });
  const sync = () => counted.sync(desired, { backoffs: new Map() }, signal);
  return { registry, wanted, desired, counted, sync };
}

test('the first look at a pod is another than the next ones', async () => {
  const { registry, desired, counted, sync } = setUp();
  await sync();
  await sync();
  await sync();
  await counted.stop(uid, desired, 5, signal);
  const text = await registry.text();
  const sum = (type: string) => sampleOf(text, `kubelet_pod_worker_duration_seconds_sum{operation_type="${type}"}`);
  assert.deepEqual([sum('create'), sum('sync'), sum('kill')], [1, 2, 4]);
  assert.equal(sampleOf(text, 'kubelet_pod_worker_start_duration_seconds_sum'), 0.25);
  assert.equal(sampleOf(text, 'kubelet_containers_per_pod_count_sum'), 2);
  assert.equal(sampleOf(text, 'kubelet_orphaned_runtime_pods_total'), 0);
});

test('refused pods are counted by their reason', async () => {
  const { registry, sync } = setUp({ ...nothing, terminate: { kind: 'rejected', reason: 'OutOfcpu', message: '' } });
  await sync();
  assert.equal(sampleOf(await registry.text(), 'kubelet_admission_rejections_total{reason="OutOfcpu"}'), 1);
});

test('a pod of the runtime that nobody knows is an orphan, once', async () => {
  const { registry, counted } = setUp();
  await counted.stop(uid, undefined, 5, signal);
  await counted.stop(uid, undefined, 5, signal);
  assert.equal(sampleOf(await registry.text(), 'kubelet_orphaned_runtime_pods_total'), 1);
});

test('a manifest that was put back is a pod that restarts', async () => {
  const { registry, wanted, desired, counted, sync } = setUp();
  await sync();
  await counted.purge(uid, desired, signal);
  assert.equal(sampleOf(await registry.text(), 'kubelet_restarted_pods_total{static="true"}'), 0);
  wanted.set(uid, desired);
  await sync();
  await counted.purge(uid, desired, signal);
  const text = await registry.text();
  assert.equal(sampleOf(text, 'kubelet_restarted_pods_total{static="true"}'), 1);
  assert.equal(sampleOf(text, 'kubelet_pod_worker_duration_seconds_count{operation_type="create"}'), 2);
});
