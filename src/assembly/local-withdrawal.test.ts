import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodUid } from '../api/ids.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { LocalWithdrawal } from './local-withdrawal.ts';

const uid = 'u1' as PodUid;
const never = new AbortController().signal;

function setUp(ips: readonly string[] = ['10.244.0.5']) {
  const clock = new FakeClock();
  const done: string[] = [];
  const said: string[] = [];
  const state = { written: Promise.withResolvers<void>() };
  const withdrawal = new LocalWithdrawal({
    tell: () => done.push('tell'),
    proxier: {
      hurry: () => done.push('hurry'),
      whenWritten: (asked, signal) => {
        done.push(`wait for ${asked}`);
        const aborted = new Promise<never>((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
        );
        return Promise.race([state.written.promise, aborted]);
      },
    },
    addressesOf: () => ips,
    clock,
    log: { ...silentLog, warn: (_, message) => said.push(message) },
  });
  return { clock, done, said, state, withdrawal };
}

test('a pod that ends is told of at once, and waited for', async () => {
  const { done, state, withdrawal } = setUp();
  const leaving = withdrawal.leaveServices(uid, never);
  assert.deepEqual(done, ['tell', 'hurry', 'wait for 10.244.0.5']);
  state.written.resolve();
  await leaving;
});

test('a pod without an address ends without a word', async () => {
  const { done, withdrawal } = setUp([]);
  await withdrawal.leaveServices(uid, never);
  assert.deepEqual(done, []);
});

test('a kernel that is not told in time holds nobody up, which is said once until it is well again', async () => {
  const { clock, said, state, withdrawal } = setUp();
  for (let i = 0; i < 3; i++) {
    const leaving = withdrawal.leaveServices(uid, never);
    await clock.advance(1_000);
    await leaving;
  }
  assert.equal(said.length, 1);
  const broken = state.written;
  state.written = Promise.withResolvers();
  state.written.resolve();
  await withdrawal.leaveServices(uid, never);
  state.written = broken;
  const leaving = withdrawal.leaveServices(uid, never);
  await clock.advance(1_000);
  await leaving;
  assert.equal(said.length, 2);
  assert.equal(clock.pending, 0);
});

test('whoever asked may give up', async () => {
  const { withdrawal, clock, said } = setUp();
  const stop = new AbortController();
  const leaving = assert.rejects(withdrawal.leaveServices(uid, stop.signal), /stopping/);
  stop.abort(new Error('stopping'));
  await leaving;
  assert.deepEqual([clock.pending, said], [0, []]);
});

test('many changes are told of once', async () => {
  const { done, withdrawal } = setUp();
  for (let i = 0; i < 5; i++) withdrawal.podChanged();
  await new Promise(setImmediate);
  assert.deepEqual(done, ['tell']);
});
