import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodSpec } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { allocatedPod, allocationOf, isResizable } from './allocation.ts';

const cpu = (amount: string) => ({ requests: { cpu: amount } });
const pod = (spec: Partial<PodSpec>): Pod => deepFreeze({ metadata: { name: 'p' }, spec: { containers: [], ...spec } });
const base = pod({
  containers: [
    { name: 'a', resources: cpu('100m') },
    { name: 'b', image: 'i' },
  ],
  initContainers: [{ name: 'i', resources: cpu('1') }],
  resources: cpu('2'),
});

test('a pod that has what it asks for is the very same object, however the amounts are written', () => {
  assert.equal(allocatedPod(base, {}), base);
  assert.equal(allocatedPod(base, allocationOf(base)), base);
  const allocation = { allocated: { a: cpu('0.1'), b: {}, i: cpu('1000m') }, allocatedPod: cpu('2000m') };
  assert.equal(allocatedPod(base, allocation), base);
});

test('what was granted takes the place of what is asked for, and nothing else changes', () => {
  const granted = { allocated: { a: cpu('50m'), b: {}, i: cpu('500m') }, allocatedPod: cpu('1') };
  assert.deepEqual(allocatedPod(base, granted).spec, {
    containers: [
      { name: 'a', resources: cpu('50m') },
      { name: 'b', image: 'i' },
    ],
    initContainers: [{ name: 'i', resources: cpu('500m') }],
    resources: cpu('1'),
  });
});

test('a container of which nothing was noted has what it asks for', () => {
  assert.equal(allocatedPod(base, { allocated: {} }), base);
});

test('only pods that name CPU or memory can be resized', () => {
  const table: Record<string, [Partial<PodSpec>, boolean]> = {
    'a request': [{ containers: [{ name: 'a', resources: cpu('1m') }] }, true],
    'a limit': [{ containers: [{ name: 'a', resources: { limits: { memory: '1Mi' } } }] }, true],
    'an init container': [{ containers: [{ name: 'a' }], initContainers: [{ name: 'i', resources: cpu('1m') }] }, true],
    'the pod itself': [{ containers: [{ name: 'a' }], resources: cpu('1m') }, true],
    nothing: [{ containers: [{ name: 'a' }] }, false],
    'something else': [{ containers: [{ name: 'a', resources: { limits: { 'example.com/gpu': 1 } } }] }, false],
  };
  for (const [sentence, [spec, expected]] of Object.entries(table))
    assert.equal(isResizable(pod(spec)), expected, sentence);
});
