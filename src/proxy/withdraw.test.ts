import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { mergeSlices } from './endpointslice-tracker.ts';
import type { EndpointInfo, SliceInfo } from './read-slice.ts';
import type { LocalPodEndpoints, Withdrawn } from './withdraw.ts';
import { nextWithdrawn, withdraw } from './withdraw.ts';

const ip = '10.244.0.5';
const pod = (ready: boolean, terminating = false): LocalPodEndpoints => ({ keys: [ip], ready, terminating });
const known = (why: 'unready' | 'terminating'): Withdrawn => new Map([[ip, why]]);

const cases: Record<
  string,
  { previous?: Withdrawn; pods: LocalPodEndpoints[]; inSlice?: boolean; why: 'unready' | 'terminating' | undefined }
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

const endpoint = (more: Partial<EndpointInfo> = {}): EndpointInfo => ({
  ...{ ip, nodeName: 'here', ready: true, serving: true, terminating: false },
  ...more,
});
const slice = (endpoints: readonly EndpointInfo[], port = 80): SliceInfo =>
  deepFreeze({ serviceKey: 'd/web', ports: [{ name: '', protocol: 'TCP', port }], endpoints });
const here = { nodeName: 'here', publishesNotReady: false };
const conditions = (one: EndpointInfo, withdrawn: Withdrawn, publishesNotReady = false): readonly boolean[] => {
  const [found] = withdraw([slice([one])], withdrawn, { ...here, publishesNotReady })[0]?.endpoints ?? [];
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

test("of pods with one address, as on the host's network, the one whose UID is withdrawn leaves, and no other", () => {
  const slices = [slice([endpoint({ podUid: 'a' })], 8081), slice([endpoint({ podUid: 'b' }), endpoint()], 8082)];
  const known = withdraw(slices, new Map([['a', 'terminating']]), here);
  assert.deepEqual(
    known.map(({ endpoints }) => endpoints.map((one) => [one.ready, one.terminating])),
    [
      [[false, true]],
      [
        [true, false],
        [true, false],
      ],
    ],
  );
});

test('a pod that took the port over from one that is gone serves, though the slice of that one comes first', () => {
  const slices = [slice([endpoint({ podUid: 'gone' })]), slice([endpoint({ podUid: 'next' })])];
  const ready = (withdrawn: Withdrawn) => mergeSlices(withdraw(slices, withdrawn, here))[0]?.endpoints[0]?.ready;
  assert.equal(ready(new Map([['gone', 'unready']])), true);
  const both: Withdrawn = new Map(['gone', 'next'].map((uid) => [uid, 'unready']));
  assert.equal(ready(both), false);
});

test('slices that nothing is withdrawn from stay what they are', () => {
  const slices = [slice([endpoint({ podUid: 'a' })])];
  assert.equal(withdraw(slices, new Map([['b', 'unready']]), here), slices);
});
