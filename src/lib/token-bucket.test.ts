import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from './fake-clock.ts';
import { TokenBucket } from './token-bucket.ts';

const never = new AbortController().signal;

describe('TokenBucket', () => {
  it('lets a burst through and then one token per interval, in order', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ clock, perSecond: 2, burst: 3 });
    const order: number[] = [];
    for (let i = 0; i < 5; i++) void bucket.take(never).then(() => order.push(i));
    await clock.advance(0);
    assert.deepEqual(order, [0, 1, 2]);
    await clock.advance(500);
    assert.deepEqual(order, [0, 1, 2, 3]);
    await clock.advance(500);
    assert.deepEqual(order, [0, 1, 2, 3, 4]);
  });

  it('refills up to the burst, not beyond', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ clock, perSecond: 1, burst: 2 });
    await clock.advance(60_000);
    assert.deepEqual([bucket.tryTake(), bucket.tryTake(), bucket.tryTake()], [true, true, false]);
  });

  it('gives the token of an aborted waiter back', async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ clock, perSecond: 1, burst: 1 });
    const controller = new AbortController();
    await bucket.take(never);
    const waiting = bucket.take(controller.signal);
    controller.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    await clock.advance(1000);
    assert.equal(bucket.tryTake(), true);
  });

  it('has no limit at a rate of 0', () => {
    const bucket = new TokenBucket({ clock: new FakeClock(), perSecond: 0, burst: 1 });
    assert.ok(Array.from({ length: 100 }, () => bucket.tryTake()).every(Boolean));
  });
});
