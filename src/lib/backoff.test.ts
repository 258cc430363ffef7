import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffDelay, jittered } from './backoff.ts';

const policy = Object.freeze({ initialMs: 250, maxMs: 10_000 });

const delays: Record<string, { failures: number; expect: number }> = {
  'nothing has failed: no delay': { failures: 0, expect: 0 },
  'a count below zero is no failure': { failures: -1, expect: 0 },
  'the first failure waits the initial delay': { failures: 1, expect: 250 },
  'each further one doubles it': { failures: 4, expect: 2000 },
  'up to the maximum': { failures: 7, expect: 10_000 },
  'also after years of failures': { failures: 1e9, expect: 10_000 },
};

for (const [sentence, { failures, expect }] of Object.entries(delays)) {
  test(sentence, () => assert.equal(backoffDelay(failures, policy), expect));
}

const spreads: Record<string, { random: number; factor: number; expect: number }> = {
  'jitter never shortens a delay': { random: 0, factor: 0.5, expect: 1000 },
  'jitter lengthens it by the drawn part of the factor': { random: 0.5, factor: 0.2, expect: 1100 },
  'no factor is no jitter': { random: 0.9, factor: 0, expect: 1000 },
};

for (const [sentence, { random, factor, expect }] of Object.entries(spreads)) {
  test(sentence, () =>
    assert.equal(
      jittered(1000, factor, () => random),
      expect,
    ),
  );
}
