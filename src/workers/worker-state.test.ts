import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deepFreeze } from '../lib/deep-freeze.ts';
import {
  initialWorkerState,
  isEnding,
  isStopped,
  reduceWorker,
  type TerminationCause,
  type WorkerEvent,
  type WorkerState,
} from './worker-state.ts';

const now = 5000;
const deleted: TerminationCause = { kind: 'deleted' };
const evicted: TerminationCause = { kind: 'evicted', reason: 'Evicted', message: 'memory' };
const terminating: WorkerState = { phase: 'terminating', since: 1000, gracePeriodSeconds: 30, cause: deleted };
const terminated: WorkerState = { phase: 'terminated', at: 2000, cause: deleted };
const finished: WorkerState = { phase: 'finished', at: 3000, cause: deleted };
const terminate = (gracePeriodSeconds: number, cause: TerminationCause = deleted): WorkerEvent => ({
  type: 'terminate',
  cause,
  gracePeriodSeconds,
});

/** `expect` absent: the very same state, so that nobody acts on it. */
const cases: Record<string, { from: WorkerState; event: WorkerEvent; expect?: WorkerState }> = {
  'a pod that has to end is terminating from now on': {
    from: initialWorkerState,
    event: terminate(30),
    expect: { ...terminating, since: now },
  },
  'a grace period for ever is one that a date can hold': {
    from: initialWorkerState,
    event: terminate(2 ** 63),
    expect: { ...terminating, since: now, gracePeriodSeconds: 2 ** 31 - 1 },
  },
  'a shorter grace period counts, and the first cause stays': {
    from: terminating,
    event: terminate(5, evicted),
    expect: { ...terminating, gracePeriodSeconds: 5 },
  },
  'the same grace period changes nothing': { from: terminating, event: terminate(30) },
  'a longer one changes nothing': { from: terminating, event: terminate(60) },
  'all has stopped': { from: terminating, event: { type: 'stopped' }, expect: { ...terminated, at: now } },
  'all is cleaned': { from: terminated, event: { type: 'cleaned' }, expect: { ...finished, at: now } },
  'what runs has not stopped': { from: initialWorkerState, event: { type: 'stopped' } },
  'what runs cannot be cleaned': { from: initialWorkerState, event: { type: 'cleaned' } },
  'what still stops cannot be cleaned': { from: terminating, event: { type: 'cleaned' } },
  'what has stopped stays so': { from: terminated, event: { type: 'stopped' } },
  'what has stopped does not end again': { from: terminated, event: terminate(0, evicted) },
  'what is finished does not end again': { from: finished, event: terminate(0, evicted) },
  'what is finished does not stop': { from: finished, event: { type: 'stopped' } },
  'what is finished is clean': { from: finished, event: { type: 'cleaned' } },
};

for (const [sentence, { from, event, expect }] of Object.entries(cases)) {
  test(sentence, () => {
    const next = reduceWorker(deepFreeze(from), deepFreeze(event), now);
    if (expect) assert.deepEqual(next, expect);
    else assert.equal(next, from);
  });
}

const predicates: Record<WorkerState['phase'], { state: WorkerState; ending: boolean; stopped: boolean }> = {
  syncing: { state: initialWorkerState, ending: false, stopped: false },
  terminating: { state: terminating, ending: true, stopped: false },
  terminated: { state: terminated, ending: true, stopped: true },
  finished: { state: finished, ending: true, stopped: true },
};

for (const [phase, { state, ending, stopped }] of Object.entries(predicates)) {
  test(`${phase}: ${ending ? 'ending' : 'not ending'}, ${stopped ? 'stopped' : 'not stopped'}`, () => {
    assert.deepEqual([isEnding(state), isStopped(state)], [ending, stopped]);
  });
}
