import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, Pod, PodSpec } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { type Admission, admit } from './admit.ts';

const pod = (uid: string, requests: Record<string, string> = {}, over: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: uid, namespace: 'ns', uid },
  spec: { containers: [{ name: 'a', image: 'i', resources: { requests } }], ...over },
});

const node: Node = deepFreeze({
  metadata: { name: 'n', labels: { disk: 'ssd', 'kubernetes.io/os': 'linux' } },
  status: { allocatable: { cpu: '2', memory: '1Gi', pods: '3' } },
});

interface Case {
  readonly pod: Pod;
  readonly others?: readonly Pod[];
  readonly node?: Node | undefined;
  /** Absent: let in. */
  readonly refused?: { readonly reason: string; readonly message: string };
}

const selector = {
  reason: 'NodeAffinity',
  message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
};
const lacking = (resource: string, requested: number, used: number, capacity: number) => ({
  reason: `OutOf${resource}`,
  message: `Node didn't have enough resource: ${resource}, requested: ${requested}, used: ${used}, capacity: ${capacity}`,
});

const cases: Record<string, Case> = {
  'a pod that asks for nothing is let in': { pod: pod('a') },
  'a pod that fills the node to the brim is let in': { pod: pod('a', { cpu: '2', memory: '1Gi' }) },
  'CPU is counted in thousandths': {
    pod: pod('a', { cpu: '600m' }),
    others: [pod('b', { cpu: '1500m' })],
    refused: lacking('cpu', 600, 1500, 2000),
  },
  'memory is counted in bytes': {
    pod: pod('a', { memory: '600Mi' }),
    others: [pod('b', { memory: '512Mi' })],
    refused: lacking('memory', 629145600, 536870912, 1073741824),
  },
  'the number of pods is a resource too': {
    pod: pod('a'),
    others: [pod('b'), pod('c'), pod('d')],
    refused: lacking('pods', 1, 3, 3),
  },
  'a pod is not in its own way': {
    pod: pod('a', { cpu: '2' }),
    others: [pod('a', { cpu: '2' }), pod('b')],
  },
  'a node that is overfull takes what asks for nothing': { pod: pod('a'), others: [pod('b', { cpu: '5' })] },
  'a resource that the node does not have is not asked of it': { pod: pod('a', { 'example.com/gpu': '1' }) },
  'node labels that match the selector': { pod: pod('a', {}, { nodeSelector: { disk: 'ssd' } }) },
  'a label with another value': { pod: pod('a', {}, { nodeSelector: { disk: 'hdd' } }), refused: selector },
  'a label that the node does not have': { pod: pod('a', {}, { nodeSelector: { gpu: '' } }), refused: selector },
  'a pod for another operating system': {
    pod: pod('a', {}, { os: { name: 'windows' } }),
    refused: { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" },
  },
  'a pod for Linux': { pod: pod('a', {}, { os: { name: 'linux' } }) },
  'before the node is known everything is let in': { pod: pod('a', { cpu: '99' }), node: undefined },
  'but not another operating system': {
    pod: pod('a', {}, { os: { name: 'windows' } }),
    node: undefined,
    refused: { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" },
  },
  'a node without allocatable resources is unbounded': {
    pod: pod('a', { cpu: '99' }),
    node: { metadata: { name: 'n' } },
  },
};

for (const [sentence, given] of Object.entries(cases)) {
  test(sentence, () => {
    const on = 'node' in given ? given.node : node;
    const expect: Admission = given.refused ? { admitted: false, ...given.refused } : { admitted: true };
    assert.deepEqual(admit(deepFreeze(given.pod), on, deepFreeze(given.others ?? [])), expect);
  });
}
