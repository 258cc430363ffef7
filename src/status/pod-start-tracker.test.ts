import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodStatus } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { Registry } from '../lib/metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { PodStartTracker, podStartMetrics, sliMs } from './pod-start-tracker.ts';

const uid = podUid('u');
const started: PodStatus = {
  phase: 'Running',
  startTime: 'x',
  containerStatuses: [{ name: 'a', state: { running: { startedAt: 'x' } } } as never],
};

function setUp(source: 'api' | 'file' = 'api') {
  const clock = new FakeClock();
  const registry = new Registry();
  const tracker = new PodStartTracker(podStartMetrics(registry), clock);
  const seenAt = clock.now();
  const creationTimestamp = new Date(seenAt - 1_000).toISOString();
  const desired = (status: PodStatus | undefined, spec: Partial<Pod['spec']> = {}) => ({
    uid,
    source,
    seenAt,
    pod: { metadata: { name: 'p', creationTimestamp }, spec: { containers: [], ...spec }, status } as Pod,
  });
  const count = async (name: string) => {
    const text = await registry.text();
    const full = `kubelet_pod_start_${name}_seconds`;
    return [sampleOf(text, `${full}_count`), sampleOf(text, `${full}_sum`)];
  };
  return { clock, registry, tracker, desired, count };
}

test('a pod is measured once: until it runs here, and until the API server says so', async () => {
  const { clock, registry, tracker, desired, count } = setUp();
  tracker.saw(uid, desired({ phase: 'Pending' }));
  await clock.advance(2_000);
  tracker.pulled(uid, clock.now() - 1_500, clock.now() - 500);
  for (const _ of [1, 2]) tracker.derived(desired(undefined), { phase: 'Running' });
  await clock.advance(1_000);
  for (const _ of [1, 2]) tracker.saw(uid, desired(started));
  assert.deepEqual(await count('duration'), [1, 2]);
  assert.deepEqual(await count('total_duration'), [1, 4]);
  assert.deepEqual(await count('sli_duration'), [1, 3]);
  assert.equal(sampleOf(await registry.text(), 'kubelet_first_network_pod_start_sli_duration_seconds'), 3);
});

test('what is not measured', async () => {
  const table: Record<string, (t: ReturnType<typeof setUp>) => void> = {
    'a pod that another agent, or we before a restart, had begun with': ({ tracker, desired }) => {
      tracker.saw(uid, desired({ startTime: 'x' }));
      tracker.derived(desired(undefined), { phase: 'Running' });
    },
    'a pod that is over': ({ tracker, desired }) => {
      tracker.saw(uid, desired({ phase: 'Succeeded' }));
      tracker.derived(desired(undefined), { phase: 'Running' });
    },
    'a pod that nobody wants any more': ({ tracker, desired }) => {
      tracker.saw(uid, desired(undefined));
      tracker.saw(uid, undefined);
      tracker.derived(desired(undefined), { phase: 'Running' });
    },
    'a pod that does not run yet': ({ tracker, desired }) => {
      tracker.saw(uid, desired(undefined));
      tracker.derived(desired(undefined), { phase: 'Pending' });
      tracker.saw(uid, desired(started));
    },
  };
  for (const [sentence, act] of Object.entries(table)) {
    const parts = setUp();
    act(parts);
    assert.deepEqual(await parts.count('duration'), [0, 0], sentence);
    assert.deepEqual(await parts.count('total_duration'), [0, 0], sentence);
  }
});

test('a pod with volumes that were there before it has no promise to be measured against', async () => {
  const { tracker, desired, count } = setUp();
  const spec = { volumes: [{ name: 'v', hostPath: { path: '/' } }] };
  tracker.saw(uid, desired(undefined, spec));
  tracker.derived(desired(undefined), { phase: 'Running' });
  tracker.saw(uid, desired(started, spec));
  assert.deepEqual(await count('total_duration'), [1, 1]);
  assert.deepEqual(await count('sli_duration'), [0, 0]);
});

test('a static pod is measured on this node alone', async () => {
  const { tracker, desired, count } = setUp('file');
  tracker.saw(uid, desired(undefined));
  tracker.derived(desired(undefined), { phase: 'Running' });
  tracker.saw(uid, desired(undefined));
  tracker.derived(desired(undefined), { phase: 'Running' });
  assert.deepEqual(await count('duration'), [1, 0]);
  assert.deepEqual(await count('total_duration'), [0, 0]);
});

test('the time that counts', () => {
  const none = [0, 0] as const;
  const table: Record<string, [Parameters<typeof sliMs>[0], number]> = {
    'all of it': [{ created: 1_000, now: 5_000, pull: none, init: none }, 4_000],
    'without the pull': [{ created: 1_000, now: 5_000, pull: [2_000, 4_500], init: none }, 1_500],
    'what lies between pull and init container counts': [
      { created: 1_000, now: 9_000, pull: [2_000, 3_000], init: [3_500, 8_000] },
      2_500,
    ],
    'a pull during the init containers is not taken off twice': [
      { created: 1_000, now: 9_000, pull: [4_000, 5_000], init: [3_000, 8_000] },
      3_000,
    ],
    'clocks that differ take nothing off': [{ created: 6_000, now: 5_000, pull: none, init: none }, 0],
  };
  for (const [sentence, [moments, expected]] of Object.entries(table)) assert.equal(sliMs(moments), expected, sentence);
});
