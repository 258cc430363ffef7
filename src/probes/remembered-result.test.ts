import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerStatus } from '../api/core-v1.ts';
import { containerId } from '../api/ids.ts';
import type { Notes } from '../pod/pod-notes.ts';
import type { ProbeType } from './probe-results.ts';
import { rememberedResult } from './remembered-result.ts';

const noted = (type: string, verdict: 'success' | 'failure'): Notes => ({ probes: { id1: { [type]: verdict } } });
const status = (over: Partial<ContainerStatus> = {}): ContainerStatus => ({
  ...{
    name: 'c',
    image: 'i',
    imageID: '',
    restartCount: 0,
    containerID: 'containerd://id1',
    ready: true,
    started: true,
  },
  ...over,
});

interface Case {
  readonly type: ProbeType;
  readonly notes?: Notes;
  readonly reported?: ContainerStatus;
  readonly expect: string | undefined;
}

const table: Record<string, Case> = {
  'nothing is known': { type: 'readiness', expect: undefined },
  'readiness was noted': { type: 'readiness', notes: noted('readiness', 'success'), expect: 'success' },
  'unreadiness was noted': { type: 'readiness', notes: noted('readiness', 'failure'), expect: 'failure' },
  'startup was noted': { type: 'startup', notes: noted('startup', 'success'), expect: 'success' },
  'failed startup is asked again': { type: 'startup', notes: noted('startup', 'failure'), expect: undefined },
  'liveness is asked again': { type: 'liveness', notes: noted('liveness', 'failure'), expect: undefined },
  'another container was noted': {
    type: 'readiness',
    notes: { probes: { id0: { readiness: 'success' } } },
    expect: undefined,
  },
  'ready was reported': { type: 'readiness', reported: status(), expect: 'success' },
  'started was reported': { type: 'startup', reported: status({ ready: false }), expect: 'success' },
  'not ready was reported': { type: 'readiness', reported: status({ ready: false }), expect: undefined },
  'ready was reported of the container before': {
    type: 'readiness',
    reported: status({ containerID: 'containerd://id0' }),
    expect: undefined,
  },
  'notes are newer than reports': {
    type: 'readiness',
    notes: noted('readiness', 'failure'),
    reported: status(),
    expect: 'failure',
  },
};

for (const [sentence, { type, notes = {}, reported, expect }] of Object.entries(table)) {
  test(sentence, () => {
    const container = { name: 'c' };
    const wanted = {
      ...{ type, probe: {}, container, fieldPath: '', containerId: containerId('id1'), startedAt: 0, podIP: '' },
    };
    const result = rememberedResult(notes, reported && { containerStatuses: [reported] }, wanted, 7);
    assert.deepEqual(result, expect && { verdict: expect, message: '', since: 7 });
  });
}
