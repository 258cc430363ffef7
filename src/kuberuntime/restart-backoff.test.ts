import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { crashLoopResetMs, type LastRun, nextRestart, type RestartBackoff } from './restart-backoff.ts';

const end = 10_000_000;
const base: LastRun = { attempt: 0, startedAt: end - 1000, finishedAt: end };
const maxMs = 300_000;

interface Case {
  readonly known?: RestartBackoff;
  readonly last?: Partial<LastRun>;
  readonly maxMs?: number;
  readonly failures: number;
  readonly delayMs: number;
}

const cases: Record<string, Case> = {
  'the first end is restarted at once': { failures: 0, delayMs: 0 },
  'the second after ten seconds': { known: { failures: 0, lastEndAt: end - 5000 }, failures: 1, delayMs: 10_000 },
  'the third after twenty': { known: { failures: 1, lastEndAt: end - 5000 }, failures: 2, delayMs: 20_000 },
  'and never after more than five minutes': {
    known: { failures: 40, lastEndAt: end - 5000 },
    failures: 41,
    delayMs: maxMs,
  },
  'the same end looked at again counts once': { known: { failures: 2, lastEndAt: end }, failures: 2, delayMs: 20_000 },
  'without a memory the number of the attempt tells how often it was': {
    last: { attempt: 3 },
    failures: 3,
    delayMs: 40_000,
  },
  'a run of ten minutes is no crash': {
    known: { failures: 5, lastEndAt: end - 700_000 },
    last: { attempt: 6, startedAt: end - crashLoopResetMs },
    failures: 0,
    delayMs: 0,
  },
  'one millisecond less is one': {
    known: { failures: 5, lastEndAt: end - 700_000 },
    last: { attempt: 6, startedAt: end - crashLoopResetMs + 1 },
    failures: 6,
    delayMs: maxMs,
  },
  'what never started did not run long': { last: { attempt: 1, startedAt: 0 }, failures: 1, delayMs: 10_000 },
  'a node may restart sooner': { last: { attempt: 3 }, maxMs: 15_000, failures: 3, delayMs: 15_000 },
  'even at once again': { last: { attempt: 3 }, maxMs: 1000, failures: 3, delayMs: 1000 },
};

for (const [sentence, given] of Object.entries(cases)) {
  test(sentence, () => {
    const last = deepFreeze({ ...base, ...given.last });
    const next = nextRestart(deepFreeze(given.known), last, given.maxMs ?? maxMs);
    assert.deepEqual(next, {
      backoff: { failures: given.failures, lastEndAt: end },
      delayMs: given.delayMs,
      notBefore: end + given.delayMs,
    });
  });
}
