import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { TerminationTurns, terminationOrder } from './termination-order.ts';

/** Sidecars s1, s2 and s3 with an init container between them, and containers a and b. */
const pod: Pod = {
  metadata: { name: 'p' },
  spec: {
    initContainers: [
      { name: 's1', restartPolicy: 'Always' },
      { name: 'i1' },
      { name: 's2', restartPolicy: 'Always' },
      { name: 's3', restartPolicy: 'Always' },
    ],
    containers: [{ name: 'a' }, { name: 'b' }],
  },
};

const cases: Record<string, { readonly running: string[]; readonly expect: Record<string, string[]> }> = {
  'sidecars end after the containers, each after the one that was started next': {
    running: ['a', 'b', 's1', 's2', 's3'],
    expect: { s3: ['a', 'b'], s2: ['a', 'b', 's3'], s1: ['a', 'b', 's2'] },
  },
  'nobody waits for what does not run': {
    running: ['b', 's1', 's3'],
    expect: { s3: ['b'], s2: ['b', 's3'], s1: ['b', 's3'] },
  },
  'alone they go at once': { running: ['s2'], expect: { s3: [], s2: [], s1: ['s2'] } },
};

for (const [sentence, { running, expect }] of Object.entries(cases)) {
  test(sentence, () => {
    assert.deepEqual(Object.fromEntries(terminationOrder(pod, new Set(running))), expect);
  });
}

test('turns come as the others end', async () => {
  const turns = new TerminationTurns(pod, ['a', 's1', 's2']);
  const gone: string[] = [];
  const leave = async (name: string) => {
    await turns.turnOf(name);
    gone.push(name);
    turns.ended(name);
  };
  const all = Promise.all([leave('s1'), leave('s2')]);
  await Promise.resolve();
  assert.deepEqual(gone, []);
  await leave('a');
  await all;
  assert.deepEqual(gone, ['a', 's2', 's1']);
});
