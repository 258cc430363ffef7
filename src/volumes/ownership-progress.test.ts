import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { ownershipProgress } from './ownership-progress.ts';

test('a change of owner that takes long is told of after half a minute, and every minute how far it is', async () => {
  const clock = new FakeClock();
  const told: string[] = [];
  {
    using progress = ownershipProgress('u/volumes/x/pv', clock, (message) => told.push(message));
    await clock.advance(29_999);
    assert.deepEqual(told, []);
    await clock.advance(1);
    assert.match(
      told[0] ?? '',
      /^Setting volume ownership for u\/volumes\/x\/pv is taking longer than expected, consider/,
    );
    for (let i = 0; i < 3; i++) progress.count();
    await clock.advance(60_000);
    progress.count();
    await clock.advance(60_000);
    assert.deepEqual(told.slice(1), [
      'Setting volume ownership for u/volumes/x/pv, processed 3 files.',
      'Setting volume ownership for u/volumes/x/pv, processed 4 files.',
    ]);
  }
  await clock.advance(3600_000);
  assert.equal(told.length, 3);
});

test('one that is quick is not worth a word', async () => {
  const clock = new FakeClock();
  ownershipProgress('v', clock, assert.fail)[Symbol.dispose]();
  await clock.advance(3600_000);
});
