import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from './clock.ts';

const days = 24 * 3600 * 1000;

for (const ms of [25 * days, 68 * 365 * days, Number.POSITIVE_INFINITY]) {
  test(`a timer of ${ms / days} days does not go off at once`, async () => {
    let fired = false;
    using _long = systemClock.after(ms, () => {
      fired = true;
    });
    await systemClock.sleep(5);
    assert.equal(fired, false);
  });

  test(`a sleep of ${ms / days} days goes on until it is cut short`, async () => {
    const cut = new AbortController();
    const ended = systemClock.sleep(ms, cut.signal).then(
      () => 'woke',
      () => 'cut',
    );
    await systemClock.sleep(5);
    cut.abort();
    assert.equal(await ended, 'cut');
  });
}

const longest = 2 ** 31 - 1;

test('a timer of two parts goes off after both', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let fired = 0;
  systemClock.after(longest + 1000, () => fired++);
  t.mock.timers.tick(longest);
  t.mock.timers.tick(999);
  assert.equal(fired, 0);
  t.mock.timers.tick(1);
  assert.equal(fired, 1);
});

test('a timer that is disposed in its second part does not go off', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let fired = 0;
  const timer = systemClock.after(longest + 1000, () => fired++);
  t.mock.timers.tick(longest);
  timer[Symbol.dispose]();
  t.mock.timers.tick(1000);
  assert.equal(fired, 0);
});
