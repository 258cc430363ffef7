import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turns } from './turns.ts';

test('one key waits for its turn, though the one before fails; another does not', async () => {
  const turns = new Turns<string>();
  const steps: string[] = [];
  const first = Promise.withResolvers<void>();
  const a = turns.take('a', async () => {
    steps.push('a1');
    await first.promise;
  });
  const next = turns.take('a', async () => steps.push('a2'));
  await turns.take('b', async () => steps.push('b1'));
  assert.deepEqual(steps, ['a1', 'b1']);
  first.reject(new Error('broken'));
  await assert.rejects(a, /broken/);
  assert.equal(await next, 3);
  assert.deepEqual(steps, ['a1', 'b1', 'a2']);
});
