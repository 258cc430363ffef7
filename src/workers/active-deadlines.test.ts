import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { FakeEventSink } from '../kubeapi/fake-event-sink.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { PodManager } from '../pod/pod-manager.ts';
import { ActiveDeadlines } from './active-deadlines.ts';

const uid = podUid('u1');
const reason = 'DeadlineExceeded';
const message = 'Pod was active on the node longer than the specified deadline';

/** A pod that is desired, with its deadline in seconds, and the start time that was reported of it. */
function setUp(seconds: number | undefined, startedAgoMs?: number) {
  const clock = new FakeClock();
  const events = new FakeEventSink();
  const manager = new PodManager(clock.now.bind(clock), () => {});
  const startTime = startedAgoMs === undefined ? undefined : new Date(clock.now() - startedAgoMs).toISOString();
  const deadlines = new ActiveDeadlines({ manager, events, clock, startTime: () => startTime });
  const desire = (activeDeadlineSeconds: number | undefined, metadata: Partial<Pod['metadata']> = {}) => {
    const spec = { containers: [], ...(activeDeadlineSeconds === undefined ? {} : { activeDeadlineSeconds }) };
    manager.setFromApi('ns/p', { metadata: { name: 'p', namespace: 'ns', uid, ...metadata }, spec });
  };
  desire(seconds);
  const watch = () => {
    const desired = manager.get(uid);
    return desired !== undefined && deadlines.watch(desired);
  };
  const intent = () => manager.get(uid)?.intent;
  return { clock, events, manager, deadlines, desire, watch, intent };
}

test('a pod is ended exactly when its time is over, with one event', async () => {
  const { clock, events, watch, intent } = setUp(30);
  for (let i = 0; i < 3; i++) assert.equal(watch(), false);
  await clock.advance(29_999);
  assert.equal(intent(), undefined);
  await clock.advance(1);
  assert.deepEqual(intent(), { reason, message });
  assert.deepEqual(events.lines, [`Normal ${reason}: ${message}`]);
  assert.deepEqual([watch(), clock.pending], [false, 0]);
});

test('the time counts from the start that was reported, whenever keelson began', async () => {
  const { clock, watch, intent } = setUp(30, 20_000);
  watch();
  await clock.advance(10_000);
  assert.equal(intent()?.reason, reason);
});

test('a pod whose time was over before keelson began is ended at the first look', () => {
  const { watch, intent } = setUp(30, 40_000);
  assert.equal(watch(), true);
  assert.equal(intent()?.reason, reason);
});

test('a pod without a deadline has no timer', () => {
  const { clock, watch } = setUp(undefined);
  assert.deepEqual([watch(), clock.pending], [false, 0]);
});

test('a deadline that was changed counts as it is now', async () => {
  const { clock, desire, watch, intent } = setUp(30);
  watch();
  desire(10);
  watch();
  assert.equal(clock.pending, 1);
  await clock.advance(10_000);
  assert.equal(intent()?.reason, reason);
});

test('one that is further away than a timer reaches is not forgotten', async () => {
  const days = 86_400_000;
  const { clock, watch, intent } = setUp(40 * 86_400);
  watch();
  await clock.advance(40 * days - 1);
  assert.equal(intent(), undefined);
  await clock.advance(1);
  assert.equal(intent()?.reason, reason);
});

test('a pod that is being deleted, or has gone, is left alone', async () => {
  for (const leave of ['delete', 'remove', 'forget'] as const) {
    const { clock, events, manager, deadlines, desire, watch } = setUp(30);
    watch();
    if (leave === 'delete') desire(30, { deletionTimestamp: new Date(clock.now()).toISOString() });
    if (leave === 'remove') manager.setFromApi('ns/p', undefined);
    if (leave === 'forget') deadlines.forget(uid);
    await clock.advance(30_000);
    assert.deepEqual(events.lines, [], leave);
  }
});
