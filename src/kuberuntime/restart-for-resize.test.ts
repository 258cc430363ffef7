import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import type { ObservedContainer } from '../pod/observed.ts';
import { noProbes } from '../probes/probe-results.ts';
import { observedContainer, observedPod } from '../testing/observed-pods.ts';
import { computePodActions } from './compute-pod-actions.ts';

const pod: Pod = {
  metadata: { name: 'p', uid: 'u' },
  spec: {
    restartPolicy: 'OnFailure',
    containers: [{ name: 'a' }, { name: 'b' }],
    initContainers: [{ name: 's', restartPolicy: 'Always' }],
  },
};

function plan(a: Partial<ObservedContainer>, restartForResize: readonly string[]) {
  const containers = [observedContainer('a', a), observedContainer('b'), observedContainer('s')];
  const actions = computePodActions({
    ...{ pod, observed: observedPod(containers), probes: noProbes, backoffs: new Map(), maxBackoffMs: 300_000 },
    restartForResize: new Set(restartForResize),
    now: 1_000_000,
  });
  return {
    kill: actions.kill.map((k) => `${k.id} ${k.reason} ${k.message}`),
    start: actions.start.map((s) => `${s.container.name} ${s.attempt}`),
  };
}

test('a container is restarted for its resources, and the others are left alone', () => {
  assert.deepEqual(plan({}, ['a0']), { kill: ['a0 Resize Container a resize requires restart'], start: ['a 1'] });
});

test('a sidecar too', () => {
  assert.deepEqual(plan({}, ['s0']), { kill: ['s0 Resize Container s resize requires restart'], start: ['s 1'] });
});

test('one that was killed for it and could not be started then is started, whatever its policy says of its end', () => {
  const ended = { state: 'exited', exitCode: 0, finishedAt: 0 } as const;
  assert.deepEqual(plan(ended, ['a0']), { kill: [], start: ['a 1'] });
  assert.deepEqual(plan(ended, []), { kill: [], start: [] });
});
