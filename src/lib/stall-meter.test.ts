import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from './fake-clock.ts';
import { StallMeter } from './stall-meter.ts';

const lost: Record<string, { do: (clock: FakeClock) => unknown; expect: number }> = {
  'time that passes as it should': { do: (clock) => clock.advance(10_000), expect: 0 },
  'a stall, seen before the late timer': { do: (clock) => clock.stall(1250), expect: 1000 },
  'a stall, seen after the late timer': {
    do: async (clock) => {
      clock.stall(1250);
      await clock.advance(100);
    },
    expect: 1000,
  },
  'two stalls with good time in between': {
    do: async (clock) => {
      clock.stall(1250);
      await clock.advance(1000);
      clock.stall(650);
      await clock.advance(5000);
    },
    expect: 1400,
  },
  'a timer that is a little late': { do: (clock) => clock.stall(290), expect: 0 },
};

for (const [sentence, { do: act, expect }] of Object.entries(lost)) {
  test(sentence, async () => {
    const clock = new FakeClock();
    const meter = new StallMeter(clock);
    meter.enter();
    await act(clock);
    assert.equal(meter.lostMs(), expect);
  });
}

test('no timer runs when nobody waits for anything', async () => {
  const clock = new FakeClock();
  const meter = new StallMeter(clock);
  meter.enter();
  meter.enter();
  assert.equal(clock.pending, 1);
  meter.leave();
  await clock.advance(1000);
  assert.equal(clock.pending, 1);
  meter.leave();
  await clock.advance(1000);
  assert.equal(clock.pending, 0);
  clock.stall(10_000);
  assert.equal(meter.lostMs(), 0);
});
