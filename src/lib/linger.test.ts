import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from './fake-clock.ts';
import { linger } from './linger.ts';

for (const before of [true, false]) {
  test(`an abort arrives late${before ? ', also one from before' : ''}`, async () => {
    const clock = new FakeClock();
    const source = new AbortController();
    if (before) source.abort('enough');
    using late = linger(source.signal, 1000, clock);
    source.abort('enough');
    await clock.advance(999);
    assert.equal(late.signal.aborted, false);
    await clock.advance(1);
    assert.deepEqual([late.signal.aborted, late.signal.reason], [true, 'enough']);
  });
}

test('work that is over is not aborted any more', async () => {
  const clock = new FakeClock();
  const source = new AbortController();
  const late = linger(source.signal, 1000, clock);
  source.abort();
  late[Symbol.dispose]();
  await clock.advance(2000);
  assert.equal(late.signal.aborted, false);
  assert.equal(clock.pending, 0);
});
