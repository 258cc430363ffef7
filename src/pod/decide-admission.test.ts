import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { type AdmissionDecision, decideAdmission } from './decide-admission.ts';

const pod = (uid: string, requests: Record<string, string> = {}, over: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: uid, namespace: 'ns', uid },
  spec: { containers: [{ name: 'a', image: 'i', resources: { requests } }], ...over },
});

const node: Node = deepFreeze({
  metadata: { name: 'n', labels: { disk: 'ssd', cores: '16', 'kubernetes.io/os': 'linux' } },
  status: { allocatable: { cpu: '2', memory: '1Gi', 'ephemeral-storage': '1Gi', 'example.com/fpga': 1, pods: '3' } },
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

const ports = {
  reason: 'NodePorts',
  message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
};
const taint = {
  reason: 'TaintToleration',
  message: "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
};
const tainted: Node = { ...node, spec: { taints: [{ key: 'k', value: 'v', effect: 'NoExecute' }] } };
const withPort = (uid: string, port: object): Pod =>
  pod(uid, {}, { containers: [{ name: 'a', ports: [{ containerPort: 8080, ...port }] }] });
const sidecarWithPort = (restartPolicy?: 'Always'): Pod => {
  const ports = [{ containerPort: 1, hostPort: 80 }];
  return pod('b', {}, { initContainers: [{ name: 'i', ports, ...(restartPolicy ? { restartPolicy } : {}) }] });
};
const asStatic = (given: Pod): Pod => ({
  ...given,
  metadata: { ...given.metadata, annotations: { 'kubernetes.io/config.source': 'file' } },
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
  'a label that asks for another operating system': {
    pod: { ...pod('a'), metadata: { name: 'a', uid: 'a', labels: { 'kubernetes.io/os': 'windows' } } },
    refused: {
      reason: 'PodOSSelectorNodeLabelDoesNotMatch',
      message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
    },
  },
  'a pod that insists on its own groups, on a runtime that cannot': {
    pod: pod('a', {}, { securityContext: { supplementalGroupsPolicy: 'Strict' } }),
    refused: {
      reason: 'SupplementalGroupsPolicyNotSupported',
      message: 'SupplementalGroupsPolicy=Strict is not supported in this node',
    },
  },
  'a pod bound to another node': {
    pod: pod('a', {}, { nodeName: 'other' }),
    refused: {
      reason: 'NodeName',
      message: "Predicate NodeName failed: node(s) didn't match the requested node name",
    },
  },
  'a lack of resources is said first': {
    pod: pod('a', { cpu: '3' }, { nodeSelector: { disk: 'hdd' } }),
    refused: lacking('cpu', 3000, 0, 2000),
  },
  'ephemeral storage': {
    pod: pod('a', { 'ephemeral-storage': '2Gi' }),
    refused: lacking('ephemeral-storage', 2147483648, 0, 1073741824),
  },
  'huge pages that the node has none of': {
    pod: pod('a', { 'hugepages-2Mi': '2Mi' }),
    refused: lacking('hugepages-2Mi', 2097152, 0, 0),
  },
  'a device of which too few are left': {
    pod: pod('a', { 'example.com/fpga': '1' }),
    others: [pod('b', { 'example.com/fpga': '1' })],
    refused: lacking('example.com/fpga', 1, 1, 1),
  },
  'a port that another pod holds': {
    pod: withPort('a', { hostPort: 80 }),
    others: [withPort('b', { hostPort: 80, hostIP: '192.0.2.1' })],
    refused: ports,
  },
  'the same port of another address': {
    pod: withPort('a', { hostPort: 80, hostIP: '192.0.2.2' }),
    others: [withPort('b', { hostPort: 80, hostIP: '192.0.2.1' })],
  },
  'the same port of another protocol': {
    pod: withPort('a', { hostPort: 53, protocol: 'UDP' }),
    others: [withPort('b', { hostPort: 53 })],
  },
  "every port of a pod in the host's network is a host port": {
    pod: { ...withPort('a', {}), spec: { ...withPort('a', {}).spec, hostNetwork: true } },
    others: [withPort('b', { hostPort: 8080 })],
    refused: ports,
  },
  'a port of a sidecar': {
    pod: withPort('a', { hostPort: 80 }),
    others: [sidecarWithPort('Always')],
    refused: ports,
  },
  'a port of an init container that ends': { pod: withPort('a', { hostPort: 80 }), others: [sidecarWithPort()] },
  'a taint that drives pods away': { pod: pod('a'), node: tainted, refused: taint },
  'a taint that is tolerated': {
    pod: pod('a', {}, { tolerations: [{ key: 'k', value: 'v', effect: 'NoExecute' }] }),
    node: tainted,
  },
  'a taint whose value is not the one tolerated': {
    pod: pod('a', {}, { tolerations: [{ key: 'k', value: 'w' }] }),
    node: tainted,
    refused: taint,
  },
  'a toleration of another effect': {
    pod: pod('a', {}, { tolerations: [{ operator: 'Exists', effect: 'NoSchedule' }] }),
    node: tainted,
    refused: taint,
  },
  'whoever tolerates everything': { pod: pod('a', {}, { tolerations: [{ operator: 'Exists' }] }), node: tainted },
  'a taint that only keeps new pods away is not asked here': {
    pod: pod('a'),
    node: { ...tainted, spec: { taints: [{ key: 'k', effect: 'NoSchedule' }] } },
  },
  'a static pod belongs where its manifest is': { pod: asStatic(pod('a')), node: tainted },
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
    const expect: AdmissionDecision = given.refused ? { type: 'reject', ...given.refused } : { type: 'admit' };
    const input = { pod: given.pod, node: on, others: given.others ?? [], leaving: new Set<string>() };
    assert.deepEqual(decideAdmission(deepFreeze(input)), expect);
  });
}

// --- Node affinity ---

const expression = (key: string, operator: NodeSelectorRequirement['operator'], ...values: string[]) => ({
  matchExpressions: [{ key, operator, values }],
});
const field = (operator: NodeSelectorRequirement['operator'], ...values: string[]) => ({
  matchFields: [{ key: 'metadata.name', operator, values }],
});

const affinities: Record<string, [terms: readonly NodeSelectorTerm[], admitted: boolean]> = {
  'In: one of the values': [[expression('disk', 'In', 'hdd', 'ssd')], true],
  'In: none of the values': [[expression('disk', 'In', 'hdd')], false],
  'NotIn: another value': [[expression('disk', 'NotIn', 'hdd')], true],
  'NotIn: a label that is not there': [[expression('gpu', 'NotIn', 'x')], true],
  'NotIn: one of the values': [[expression('disk', 'NotIn', 'ssd')], false],
  Exists: [[expression('disk', 'Exists')], true],
  DoesNotExist: [[expression('disk', 'DoesNotExist')], false],
  'Gt: numbers, not texts': [[expression('cores', 'Gt', '9')], true],
  'Gt: the same number': [[expression('cores', 'Gt', '16')], false],
  'Lt: a smaller one': [[expression('cores', 'Lt', '17')], true],
  'Lt: a label that is no number': [[expression('disk', 'Lt', '17')], false],
  'the name of the node': [[field('In', 'n')], true],
  'the name of another': [[field('In', 'm')], false],
  'any node but one': [[field('NotIn', 'n')], false],
  'all requirements of a term': [[{ ...expression('disk', 'Exists'), ...field('In', 'm') }], false],
  'one of the terms': [[expression('disk', 'In', 'hdd'), field('In', 'n')], true],
  'a term without requirements': [[{}], false],
  'no terms': [[], false],
};
for (const [sentence, [nodeSelectorTerms, admitted]] of Object.entries(affinities)) {
  test(`node affinity: ${sentence}`, () => {
    const nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } };
    const input = { pod: pod('a', {}, { affinity: { nodeAffinity } }), node, others: [], leaving: new Set<string>() };
    assert.deepEqual(decideAdmission(input), admitted ? { type: 'admit' } : { type: 'reject', ...selector });
  });
}

// --- Critical pods ---

const critical = (requests: Record<string, string>, over: Partial<PodSpec> = {}) => asStatic(pod('c', requests, over));
/** A guaranteed pod of so much CPU and memory. */
const guaranteed = (uid: string, cpu: string, memory: string): Pod =>
  pod(uid, {}, { containers: [{ name: 'a', resources: { requests: { cpu, memory }, limits: { cpu, memory } } }] });

interface Preemption {
  readonly pod: Pod;
  readonly others: readonly Pod[];
  readonly leaving?: readonly string[];
  /** The victims' UIDs, or the reason why the pod is refused. */
  readonly expect: readonly string[] | string;
}

const preemptions: Record<string, Preemption> = {
  'a critical pod takes the room of one that is not': {
    pod: critical({ cpu: '1' }),
    others: [pod('b', { cpu: '2' })],
    expect: ['b'],
  },
  'guaranteed pods are spared where burstable ones are enough': {
    pod: critical({ cpu: '500m' }),
    others: [guaranteed('g', '1', '1Mi'), pod('b', { cpu: '1' })],
    expect: ['b'],
  },
  'one pod that asks for enough is better than two': {
    pod: critical({ cpu: '1' }),
    others: [pod('b1', { cpu: '500m' }), pod('b2', { cpu: '1' }), pod('b3', { cpu: '500m' })],
    expect: ['b2'],
  },
  'among equals the one with the smaller request': {
    pod: critical({ cpu: '500m' }),
    others: [pod('b1', { cpu: '1', memory: '2Mi' }), pod('b2', { cpu: '1', memory: '1Mi' })],
    expect: ['b2'],
  },
  'several resources are weighed together': {
    pod: critical({ cpu: '900m', memory: '512Mi' }),
    others: [pod('b1', { cpu: '1', memory: '512Mi' }), pod('b2', { cpu: '1' }), guaranteed('g', '1m', '512Mi')],
    expect: ['b1'],
  },
  'a place: a pod with best effort has one too': {
    pod: critical({}),
    others: [pod('b', { cpu: '1' }), guaranteed('g', '1', '1Mi'), pod('e')],
    expect: ['e'],
  },
  'what is leaving already is waited for': {
    pod: critical({ cpu: '1' }),
    others: [pod('b1', { cpu: '1' }), pod('b2', { cpu: '1' })],
    leaving: ['b1'],
    expect: [],
  },
  'only what is missing beyond that is taken': {
    pod: critical({ cpu: '2' }),
    others: [pod('b1', { cpu: '1' }), pod('b2', { cpu: '1' })],
    leaving: ['b1'],
    expect: ['b2'],
  },
  'critical pods of the same rank are no victims': {
    pod: critical({ cpu: '1' }),
    others: [pod('b', { cpu: '2' }, { priority: 2_000_000_000 })],
    expect: 'UnexpectedAdmissionError',
  },
  'a critical pod of a lower rank is one': {
    pod: critical({ cpu: '1' }, { priority: 2_000_001_000 }),
    others: [pod('b', { cpu: '2' }, { priority: 2_000_000_000 })],
    expect: ['b'],
  },
  'nobody is ended for a pod that may not be here anyway': {
    pod: critical({ cpu: '1' }, { nodeSelector: { disk: 'hdd' } }),
    others: [pod('b', { cpu: '2' })],
    expect: 'NodeAffinity',
  },
  'priority alone makes no pod critical': {
    pod: pod('a', { cpu: '1' }, { priority: 1000 }),
    others: [pod('b', { cpu: '2' }, { priority: 0 })],
    expect: 'OutOfcpu',
  },
};
for (const [sentence, { pod: given, others, leaving = [], expect }] of Object.entries(preemptions)) {
  test(`preemption: ${sentence}`, () => {
    const input = { pod: given, node, others, leaving: new Set(leaving) };
    const decision = decideAdmission(input);
    if (decision.type === 'wait')
      assert.deepEqual(
        decision.victims.map((v) => v.metadata.uid),
        expect,
      );
    else assert.equal(decision.type === 'reject' && decision.reason, expect);
  });
}

test('a critical pod for which nobody can make room says so as upstream does', () => {
  const input = { pod: critical({ cpu: '3' }), node, others: [], leaving: new Set<string>() };
  const cause =
    'preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]';
  const message = `Unexpected error while attempting to recover from admission failure: ${cause}`;
  assert.deepEqual(decideAdmission(input), { type: 'reject', reason: 'UnexpectedAdmissionError', message });
});
