import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunCause } from './bounded-runner.ts';
import { BoundedRunner } from './bounded-runner.ts';
import { FakeClock } from './fake-clock.ts';

const policy = { minIntervalMs: 10, maxIntervalMs: 30_000, backoff: { initialMs: 100, maxMs: 1_000 } };

function start(step: (cause: RunCause) => Promise<void>) {
  const clock = new FakeClock();
  const stop = new AbortController();
  const runner = new BoundedRunner({ clock, policy, step });
  const done = runner.run(stop.signal);
  const end = () => {
    stop.abort();
    return done;
  };
  return { clock, runner, stop: end };
}

test('a poke at rest runs the step at once, a burst runs it once more after the interval', async () => {
  const causes: RunCause[] = [];
  const { clock, runner, stop } = start(async (cause) => void causes.push(cause));
  runner.poke();
  await clock.advance(0);
  assert.deepEqual(causes, ['change']);
  for (let i = 0; i < 100; i++) runner.poke();
  await clock.advance(9);
  assert.deepEqual(causes, ['change']);
  await clock.advance(1);
  assert.deepEqual(causes, ['change', 'change']);
  await clock.advance(29_999);
  assert.equal(causes.length, 2);
  await stop();
});

test('what is urgent does not wait for the interval, whether it comes in the pause or during the step', async () => {
  const at: number[] = [];
  const { clock, runner, stop } = start(async () => {
    at.push(clock.monotonic());
    if (at.length !== 2) return;
    runner.poke();
    runner.hurry();
  });
  runner.poke();
  await clock.advance(0);
  runner.hurry();
  await clock.advance(3);
  assert.deepEqual(at, [0], 'there was nothing to hurry');
  runner.poke();
  runner.hurry();
  await clock.advance(0);
  assert.deepEqual(at, [0, 3, 3]);
  runner.poke();
  await clock.advance(9);
  assert.equal(at.length, 3, 'only that once');
  await clock.advance(1);
  assert.deepEqual(at, [0, 3, 3, 13]);
  await stop();
});

test('urgency does not shorten a backoff', async () => {
  const at: number[] = [];
  const { clock, runner, stop } = start(async () => {
    at.push(clock.monotonic());
    if (at.length === 1) throw new Error('no');
  });
  runner.poke();
  await clock.advance(10);
  runner.poke();
  runner.hurry();
  await clock.advance(89);
  assert.deepEqual(at, [0]);
  await clock.advance(1);
  assert.deepEqual(at, [0, 100]);
  await stop();
});

test('with nothing poked the step still runs every maxInterval', async () => {
  const causes: RunCause[] = [];
  const { clock, stop } = start(async (cause) => void causes.push(cause));
  await clock.advance(65_000);
  assert.deepEqual(causes, ['periodic', 'periodic']);
  await stop();
});

test('a failed step is retried with growing delays that pokes do not shorten', async () => {
  const at: number[] = [];
  const { clock, runner, stop } = start(async () => {
    at.push(clock.monotonic());
    runner.poke();
    if (at.length < 4) throw new Error('no');
  });
  runner.poke();
  await clock.advance(699);
  runner.poke();
  await clock.advance(1);
  assert.deepEqual(at, [0, 100, 300, 700]);
  await stop();
});

test('a poke during a step causes another step', async () => {
  let runs = 0;
  const { clock, runner, stop } = start(async () => {
    runs += 1;
    if (runs === 1) runner.poke();
  });
  runner.poke();
  await clock.advance(10);
  assert.equal(runs, 2);
  await stop();
});

test('stopping ends the loop and leaves no timer', async () => {
  const { clock, stop } = start(async () => {});
  await stop();
  assert.equal(clock.pending, 0);
});
