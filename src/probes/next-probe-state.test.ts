import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Probe } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import {
  type FirstProbe,
  firstProbeDelay,
  initialProbeState,
  isStarved,
  mayProbe,
  nextProbeState,
  type ProbeGate,
  probeNumbers,
} from './next-probe-state.ts';

/** Answers one second apart ('+' good, '-' bad), and the verdict after each ('.' none yet). */
const counting: Record<string, { probe: Probe; answers: string; verdicts: string }> = {
  'one success is enough, and three failures are': { probe: {}, answers: '+--+---+', verdicts: '++++++-+' },
  'nothing is known below the threshold': { probe: {}, answers: '---', verdicts: '..-' },
  'a row is a row': { probe: { failureThreshold: 2 }, answers: '-+-+--', verdicts: '.++++-' },
  'success may need a row too': { probe: { successThreshold: 2 }, answers: '+-++', verdicts: '...+' },
  'a threshold of one': { probe: { failureThreshold: 1 }, answers: '-+-', verdicts: '-+-' },
  'zero counts as none given': { probe: { failureThreshold: 0 }, answers: '---', verdicts: '..-' },
};

for (const [sentence, { probe, answers, verdicts }] of Object.entries(counting)) {
  test(sentence, () => {
    let state = initialProbeState;
    let seen = '';
    for (const answer of answers) {
      const verdict = answer === '+' ? 'success' : 'failure';
      state = nextProbeState(deepFreeze(state), { verdict, message: 'm' }, probe, 0);
      seen += state.result ? (state.result.verdict === 'success' ? '+' : '-') : '.';
    }
    assert.equal(seen, verdicts);
  });
}

test('a verdict keeps its age while only its words change', () => {
  let state = initialProbeState;
  for (const now of [1, 2, 3, 4]) state = nextProbeState(state, { verdict: 'failure', message: `m${now}` }, {}, now);
  assert.deepEqual(state.result, { verdict: 'failure', message: 'm4', since: 3 });
  state = nextProbeState(state, { verdict: 'success', message: '' }, {}, 5);
  assert.deepEqual(state.result, { verdict: 'success', message: '', since: 5 });
});

test('what a probe leaves out is what the API server would fill in', () => {
  const expect = { initialDelayMs: 0, timeoutMs: 1000, periodMs: 10_000, successThreshold: 1, failureThreshold: 3 };
  assert.deepEqual(probeNumbers({}), expect);
});

test('what is longer than a timer can run is as long as one can', () => {
  const probe = { initialDelaySeconds: 2 ** 31 - 1, periodSeconds: 2 ** 31 - 1, timeoutSeconds: 3_000_000 };
  const { initialDelayMs, timeoutMs, periodMs } = probeNumbers(probe);
  assert.deepEqual([initialDelayMs, timeoutMs, periodMs], [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1]);
  const first = { type: 'liveness', probe, remembered: false, startedAt: 0, now: 0, random: 0.9 } as const;
  assert.equal(firstProbeDelay(first), 2 ** 31 - 1);
});

const good = { verdict: 'success', message: '', since: 0 } as const;
const bad = { verdict: 'failure', message: '', since: 0 } as const;
const gate: ProbeGate = { type: 'liveness', result: undefined, started: true, terminating: false };

const gates: Record<string, { gate: ProbeGate; expect: boolean }> = {
  'liveness of a started container': { gate, expect: true },
  'liveness goes on after a success': { gate: { ...gate, result: good }, expect: true },
  'liveness waits for startup': { gate: { ...gate, started: false }, expect: false },
  'liveness that failed waits for a new container': { gate: { ...gate, result: bad }, expect: false },
  'liveness of a pod that has to end': { gate: { ...gate, terminating: true }, expect: false },
  'readiness waits for startup': { gate: { ...gate, type: 'readiness', started: false }, expect: false },
  'readiness goes on after a failure': { gate: { ...gate, type: 'readiness', result: bad }, expect: true },
  'readiness goes on while the pod ends': { gate: { ...gate, type: 'readiness', terminating: true }, expect: true },
  'startup that has not succeeded': { gate: { ...gate, type: 'startup', started: false }, expect: true },
  'startup that has succeeded is over': { gate: { ...gate, type: 'startup', result: good }, expect: false },
  'startup that failed waits for a new container': { gate: { ...gate, type: 'startup', result: bad }, expect: false },
  'startup of a pod that has to end': { gate: { ...gate, type: 'startup', terminating: true }, expect: false },
};

for (const [sentence, { gate, expect }] of Object.entries(gates)) {
  test(`may be asked: ${sentence}`, () => assert.equal(mayProbe(gate), expect));
}

const first: FirstProbe = {
  type: 'readiness',
  probe: { initialDelaySeconds: 5, periodSeconds: 20 },
  remembered: false,
  startedAt: 100_000,
  now: 102_000,
  random: 0.25,
};

const delays: Record<string, { first: FirstProbe; expect: number }> = {
  'readiness: when the initial delay is over': { first, expect: 3000 },
  'readiness that is remembered: anywhere in a period': { first: { ...first, remembered: true }, expect: 8000 },
  'liveness: anywhere in a period after the delay': { first: { ...first, type: 'liveness' }, expect: 8000 },
  'startup: anywhere in a period after the delay': { first: { ...first, type: 'startup' }, expect: 8000 },
  'a delay that is over': { first: { ...first, now: 900_000 }, expect: 0 },
  'a clock that was set back': { first: { ...first, now: 0 }, expect: 5000 },
};

for (const [sentence, { first, expect }] of Object.entries(delays)) {
  test(`the first question of ${sentence}`, () => assert.equal(firstProbeDelay(first), expect));
}

const starved: Record<string, { timedOut: boolean; lostMs: number; expect: boolean }> = {
  'a timeout in good time': { timedOut: true, lostMs: 0, expect: false },
  'a timeout of which little was lost': { timedOut: true, lostMs: 499, expect: false },
  'a timeout of which half was lost': { timedOut: true, lostMs: 500, expect: true },
  'a timeout that was slept through': { timedOut: true, lostMs: 60_000, expect: true },
  'a refusal that was slept through': { timedOut: false, lostMs: 60_000, expect: false },
};

for (const [sentence, { timedOut, lostMs, expect }] of Object.entries(starved)) {
  test(`${sentence} ${expect ? 'does not count' : 'counts'}`, () => {
    assert.equal(isStarved(timedOut, lostMs, 1000), expect);
  });
}
