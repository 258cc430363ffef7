import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { PortEndpoint } from './endpointslice-tracker.ts';
import type { LocalAddress, Withdrawn } from './withdraw.ts';
import { nextWithdrawn, withdraw } from './withdraw.ts';

const ip = '10.244.0.5';
const pod = (ready: boolean, terminating = false): LocalAddress => ({ ips: [ip], ready, terminating });
const known = (why: 'unready' | 'terminating'): Withdrawn => new Map([[ip, why]]);

const cases: Record<
  string,
  { previous?: Withdrawn; pods: LocalAddress[]; inSlice?: boolean; why: 'unready' | 'terminating' | undefined }
> = {
  'a ready pod': { pods: [pod(true)], why: undefined },
  'a pod that fails its probe': { pods: [pod(false)], why: 'unready' },
  'a pod that is deleted': { pods: [pod(true, true)], why: 'terminating' },
  'a pod that is deleted and serves no more': { pods: [pod(false, true)], why: 'unready' },
  'a pod that is ready again is what its slice says': { previous: known('unready'), pods: [pod(true)], why: undefined },
  'a pod that is gone, while its slice has not heard': { previous: known('terminating'), pods: [], why: 'unready' },
  'a pod that is gone from its slice too': {
    previous: known('terminating'),
    pods: [],
    inSlice: false,
    why: undefined,
  },
  'a pod with the address of an earlier one': {
    previous: known('terminating'),
    pods: [pod(false, true), pod(true)],
    why: undefined,
  },
  'a pod that is deleted, with the address of one that has ended': {
    pods: [pod(false), pod(true, true), pod(false, true)],
    why: 'terminating',
  },
};
for (const [sentence, { previous = new Map(), pods, inSlice = true, why }] of Object.entries(cases)) {
  test(sentence, () => assert.equal(nextWithdrawn(previous, pods, () => inSlice).get(ip), why));
}

const endpoint = (more: Partial<PortEndpoint> = {}): PortEndpoint => ({
  ...{ ip, port: 80, nodeName: 'here', ready: true, serving: true, terminating: false },
  ...more,
});
const conditions = (one: PortEndpoint, withdrawn: Withdrawn, publishesNotReady = false): readonly boolean[] => {
  const ports = deepFreeze([{ name: '', protocol: 'TCP', endpoints: [one] } as const]);
  const [found] = withdraw(ports, withdrawn, { nodeName: 'here', publishesNotReady })[0]?.endpoints ?? [];
  assert.ok(found);
  return [found.ready, found.serving, found.terminating];
};

test('what is withdrawn is not ready; while it terminates it may still serve as the last one', () => {
  assert.deepEqual(conditions(endpoint(), known('unready')), [false, false, false]);
  assert.deepEqual(conditions(endpoint(), known('terminating')), [false, true, true]);
});

test('local knowledge is silent on other nodes, on what the slice calls unready, and on Services that do not care', () => {
  assert.deepEqual(conditions(endpoint({ nodeName: 'there' }), known('unready')), [true, true, false]);
  assert.deepEqual(conditions(endpoint({ ready: false, serving: false }), new Map()), [false, false, false]);
  assert.deepEqual(conditions(endpoint(), known('unready'), true), [true, true, false]);
});
