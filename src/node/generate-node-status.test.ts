import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Node } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { goldenFacts, goldenRootFilesystem, goldenSettings, readyRuntime } from '../testing/make-node.ts';
import {
  generateImages,
  generateNode,
  generateNodeStatus,
  type NodeStatusInput,
  reconcileExistingNode,
} from './generate-node-status.ts';
import { unknownRuntime } from './runtime-state.ts';

const golden: Node = JSON.parse(readFileSync(new URL('../../test/golden/node/node.json', import.meta.url), 'utf8'));
const started = Date.parse('2026-11-21T02:08:04Z');
const beat = Date.parse('2026-11-21T02:12:39Z');

const images = deepFreeze(
  (golden.status?.images ?? []).toReversed().map((i) => ({ repoTags: i.names ?? [], size: i.sizeBytes ?? 0 })),
);

function input(changes: Partial<NodeStatusInput>): NodeStatusInput {
  return deepFreeze({
    settings: goldenSettings,
    facts: goldenFacts,
    rootFilesystem: goldenRootFilesystem,
    ips: ['192.0.2.2'],
    runtime: readyRuntime(0),
    images,
    pressures: { memory: false, disk: false, pid: false },
    problems: [],
    previous: undefined,
    now: started,
    monotonic: 0,
    ...changes,
  });
}

test('the Node is what a kubelet registers and keeps, but for its version', () => {
  const first = generateNodeStatus(input({}));
  const status = generateNodeStatus(input({ previous: first, now: beat }));
  const node = generateNode(goldenSettings, goldenFacts, status);
  const expected = golden.status ?? {};
  assert.deepEqual(node.status, {
    ...expected,
    nodeInfo: { ...expected.nodeInfo, kubeletVersion: 'v1.36.2+keelson.0.1.0' },
  });
  assert.deepEqual(node.metadata.labels, golden.metadata.labels);
  assert.deepEqual(node.metadata.annotations, {
    'volumes.kubernetes.io/controller-managed-attach-detach': 'true',
  });
  assert.deepEqual(node.spec, {});
});

test('registration takes labels, taints, provider id and, standalone, the pod CIDR from the config', () => {
  const taint = { key: 'dedicated', value: 'x', effect: 'NoSchedule' };
  const settings = {
    ...goldenSettings,
    nodeLabels: { zone: 'a', 'kubernetes.io/os': 'plan9' },
    registerWithTaints: [taint],
    providerId: 'cloud://1',
    podCidrs: ['10.244.7.0/24'],
    enableControllerAttachDetach: false,
  };
  const node = generateNode(settings, goldenFacts, {});
  assert.deepEqual(node.spec, {
    podCIDR: '10.244.7.0/24',
    podCIDRs: ['10.244.7.0/24'],
    providerID: 'cloud://1',
    taints: [taint],
  });
  assert.equal(node.metadata.labels?.['zone'], 'a');
  assert.equal(node.metadata.labels?.['kubernetes.io/os'], 'linux');
  assert.equal(node.metadata.annotations, undefined);
});

describe('conditions', () => {
  const ready = (changes: Partial<NodeStatusInput>) =>
    generateNodeStatus(input(changes)).conditions?.find((c) => c.type === 'Ready');
  const runtime = (type: string, reason: string, message: string) => ({
    ...readyRuntime(0),
    status: {
      conditions: ['RuntimeReady', 'NetworkReady'].map((t) =>
        t === type ? { type, status: false, reason, message } : { type: t, status: true },
      ),
    },
  });
  const table: [sentence: string, changes: Partial<NodeStatusInput>, message: string][] = [
    [
      'before the runtime answered',
      { runtime: unknownRuntime },
      'container runtime status check may not have completed yet',
    ],
    ['when it has been silent for more than 30 s', { monotonic: 30_001 }, 'container runtime is down'],
    [
      'when the network is not set up',
      {
        runtime: runtime(
          'NetworkReady',
          'NetworkPluginNotReady',
          'Network plugin returns error: cni plugin not initialized',
        ),
      },
      'container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady ' +
        'message:Network plugin returns error: cni plugin not initialized',
    ],
    [
      'when the runtime is not ready',
      { runtime: runtime('RuntimeReady', 'X', 'y') },
      'container runtime not ready: RuntimeReady=false reason:X message:y',
    ],
    [
      'with several problems',
      { monotonic: 60_000, problems: ['PLEG is not healthy'] },
      '[container runtime is down, PLEG is not healthy]',
    ],
    ['without an address', { ips: [] }, 'the node has no usable IP address'],
  ];
  for (const [sentence, changes, message] of table) {
    test(`not ready ${sentence}`, () => {
      const condition = ready(changes);
      assert.deepEqual(
        [condition?.status, condition?.reason, condition?.message],
        ['False', 'KubeletNotReady', message],
      );
    });
  }

  test('a silence as long as a restart of the runtime is tolerated', () => {
    assert.equal(ready({ monotonic: 29_000 })?.status, 'True');
  });

  test('pressures', () => {
    const status = generateNodeStatus(input({ pressures: { memory: true, disk: true, pid: true } }));
    assert.deepEqual(
      status.conditions?.slice(0, 3).map((c) => [c.status, c.reason]),
      [
        ['True', 'KubeletHasInsufficientMemory'],
        ['True', 'KubeletHasDiskPressure'],
        ['True', 'KubeletHasInsufficientPID'],
      ],
    );
  });

  test('the transition time moves with the status alone; conditions of others stay', () => {
    const foreign = { type: 'NetworkUnavailable', status: 'False' as const, reason: 'RouteCreated' };
    const first = generateNodeStatus(input({}));
    const previous = { ...first, conditions: [...(first.conditions ?? []), foreign] };
    const later = generateNodeStatus(input({ previous, now: beat, monotonic: 60_000 }));
    const times = later.conditions?.map((c) => [c.type, c.lastTransitionTime]);
    assert.deepEqual(times, [
      ['NetworkUnavailable', undefined],
      ['MemoryPressure', '2026-11-21T02:08:04Z'],
      ['DiskPressure', '2026-11-21T02:08:04Z'],
      ['PIDPressure', '2026-11-21T02:08:04Z'],
      ['Ready', '2026-11-21T02:12:39Z'],
    ]);
  });
});

test('what others keep in the status stays: extended resources, attached volumes, and images when the runtime is silent', () => {
  const previous = {
    capacity: { cpu: '1', 'example.com/gpu': '2' },
    allocatable: { 'example.com/gpu': '1', 'hugepages-64Ki': '0' },
    volumesInUse: ['v'],
    images: [{ names: ['a'], sizeBytes: 1 }],
    nodeInfo: { ...(golden.status?.nodeInfo as NonNullable<NonNullable<Node['status']>['nodeInfo']>) },
  };
  const status = generateNodeStatus(input({ previous, images: undefined, runtime: unknownRuntime }));
  assert.equal(status.capacity?.['example.com/gpu'], '2');
  assert.equal(status.capacity?.['cpu'], '2');
  assert.equal(status.allocatable?.['hugepages-64Ki'], undefined);
  assert.deepEqual(status.volumesInUse, ['v']);
  assert.deepEqual(status.images, previous.images);
  assert.equal(status.nodeInfo?.containerRuntimeVersion, 'containerd://1.6.20');
});

test('images: the largest first, capped, five names each, none without a name, equal sizes by name', () => {
  const named = (name: string, size: number) => ({ repoTags: [name], size });
  const many = { repoDigests: ['d1', 'd2'], repoTags: ['t1', 't2', 't3', 't4'], size: 9 };
  const list = generateImages([named('b', 5), named('z', 1), many, { size: 100 }, named('a', 5)], 3);
  assert.deepEqual(list, [
    { names: ['d1', 'd2', 't1', 't2', 't3'], sizeBytes: 9 },
    { names: ['a'], sizeBytes: 5 },
    { names: ['b'], sizeBytes: 5 },
  ]);
  assert.equal(generateImages([named('b', 5), named('a', 5)], -1).length, 2);
});

test('handlers and features of newer runtimes, and swap', () => {
  const runtime = {
    ...readyRuntime(0),
    handlers: [{ name: '', features: { recursiveReadOnlyMounts: true } }, { name: 'kata' }],
    features: { supplementalGroupsPolicy: true },
  };
  const status = generateNodeStatus(input({ runtime, facts: { ...goldenFacts, swapBytes: 1024 } }));
  assert.deepEqual(status.runtimeHandlers, [
    { name: '', features: { recursiveReadOnlyMounts: true, userNamespaces: false } },
    { name: 'kata' },
  ]);
  assert.deepEqual(status.features, { supplementalGroupsPolicy: true });
  assert.deepEqual(status.nodeInfo?.swap, { capacity: 1024 });
});

describe('a Node that was there before', () => {
  const node = generateNode(goldenSettings, goldenFacts, {});
  test('is left alone when it is right, whatever else it carries', () => {
    const existing = { ...node, metadata: { ...node.metadata, labels: { ...node.metadata.labels, x: 'y' } } };
    assert.equal(reconcileExistingNode(existing, goldenSettings, goldenFacts), undefined);
  });
  test('gets its default labels and the annotation back, not the labels of --node-labels', () => {
    const existing = { ...node, metadata: { name: 'peer-node', labels: { 'kubernetes.io/arch': 'arm64' } } };
    const patch = reconcileExistingNode(existing, { ...goldenSettings, nodeLabels: { own: 'x' } }, goldenFacts);
    assert.deepEqual(patch?.metadata.labels, node.metadata.labels);
    assert.deepEqual(patch?.metadata.annotations, node.metadata.annotations);
  });
  test('loses the annotation when attach and detach are ours', () => {
    const settings = { ...goldenSettings, enableControllerAttachDetach: false };
    assert.deepEqual(reconcileExistingNode(node, settings, goldenFacts), {
      metadata: { annotations: { 'volumes.kubernetes.io/controller-managed-attach-detach': null } },
    });
  });
});
