import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Container, Pod, PodSpec, ResourceRequirements } from './core-v1.ts';
import {
  aggregateResources,
  containersOf,
  gracePeriodSeconds,
  isCriticalPod,
  isMirrorPod,
  isStaticPod,
  podKey,
  podLimits,
  podRequests,
  qosClass,
} from './pod.ts';

const golden = new URL('../../test/golden/', import.meta.url);
const recordings = ['pods', 'pods-cgroup2'].flatMap((folder) =>
  readdirSync(new URL(`${folder}/`, golden))
    .filter((name) => name.endsWith('.json'))
    .map((name) => ({
      name: `${folder}/${name}`,
      ...JSON.parse(readFileSync(new URL(`${folder}/${name}`, golden), 'utf8')),
    })),
);

const container = (name: string, resources?: ResourceRequirements, more: Partial<Container> = {}): Container => ({
  name,
  image: 'i',
  ...(resources ? { resources } : {}),
  ...more,
});
const pod = (spec: Partial<PodSpec>): Pod => ({ metadata: { name: 'p' }, spec: { containers: [], ...spec } });

test('the class and the sums of every recorded pod are those kubelet reported', () => {
  assert.equal(recordings.length, 30);
  for (const { name, pod, status } of recordings) {
    assert.equal(qosClass(pod), status.qosClass, name);
    assert.deepEqual(aggregateResources(pod).allocatedResources, status.allocatedResources, name);
  }
});

test('quality of service', () => {
  const both = (cpu: string, memory: string) => ({ cpu, memory });
  const table: Record<string, [Partial<PodSpec>, string]> = {
    'limits alone are requests too': [{ containers: [container('a', { limits: both('1', '1Gi') })] }, 'Guaranteed'],
    'equal amounts written differently': [
      { containers: [container('a', { limits: both('1', '1Gi'), requests: both('1000m', '1024Mi') })] },
      'Guaranteed',
    ],
    'one container without limits': [
      { containers: [container('a', { limits: both('1', '1Gi') }), container('b')] },
      'Burstable',
    ],
    'a lower request': [
      { containers: [container('a', { limits: both('1', '1Gi'), requests: { cpu: '500m' } })] },
      'Burstable',
    ],
    'an init container counts': [
      { containers: [container('a', { limits: both('1', '1Gi') })], initContainers: [container('i')] },
      'Burstable',
    ],
    'zero is nothing': [{ containers: [container('a', { requests: { cpu: '0' } })] }, 'BestEffort'],
    'extended resources do not count': [{ containers: [container('a', { limits: { 'x.y/z': 1 } })] }, 'BestEffort'],
    'the pod itself decides': [
      { containers: [container('a')], resources: { limits: both('1', '1Gi'), requests: both('1', '1Gi') } },
      'Guaranteed',
    ],
  };
  for (const [sentence, [spec, expected]] of Object.entries(table))
    assert.equal(qosClass(pod(spec)), expected, sentence);
});

test('requests and limits of the pod as a whole', () => {
  const cpu = (amount: string) => ({ requests: { cpu: amount }, limits: { cpu: amount } });
  const sidecar = { restartPolicy: 'Always' as const };
  const table: Record<string, [Partial<PodSpec>, object, object]> = {
    'containers are added up': [
      { containers: [container('a', cpu('100m')), container('b', cpu('1'))] },
      { cpu: '1100m' },
      { cpu: '1100m' },
    ],
    'the hungriest init container counts when it needs more': [
      {
        containers: [container('a', cpu('100m'))],
        initContainers: [container('i', cpu('2')), container('j', cpu('1'))],
      },
      { cpu: '2' },
      { cpu: '2' },
    ],
    'a sidecar runs beside the containers and beside the init containers after it': [
      {
        containers: [container('a', cpu('1'))],
        initContainers: [container('before', cpu('3')), container('s', cpu('2'), sidecar), container('i', cpu('2'))],
      },
      { cpu: '4' },
      { cpu: '4' },
    ],
    'overhead comes on top of what is limited': [
      { containers: [container('a', cpu('1'))], overhead: { cpu: '250m', memory: '10Mi' } },
      { cpu: '1250m', memory: '10Mi' },
      { cpu: '1250m' },
    ],
    'resources of the pod itself replace the sum': [
      { containers: [container('a', cpu('1'))], resources: { requests: { cpu: '3' } } },
      { cpu: '3' },
      { cpu: '1' },
    ],
  };
  for (const [sentence, [spec, requests, limits]] of Object.entries(table)) {
    assert.deepEqual(podRequests(pod(spec)), requests, sentence);
    assert.deepEqual(podLimits(pod(spec)), limits, sentence);
  }
});

test('what a pod is, and what is in it', () => {
  const annotated = (annotations: Record<string, string>) => ({
    ...pod({}),
    metadata: { name: 'p', namespace: 'n', annotations },
  });
  const fromFile = annotated({ 'kubernetes.io/config.source': 'file' });
  const mirror = annotated({ 'kubernetes.io/config.source': 'file', 'kubernetes.io/config.mirror': 'x' });
  const fromApi = annotated({ 'kubernetes.io/config.source': 'api' });
  assert.deepEqual([fromFile, mirror, fromApi].map(isStaticPod), [true, true, false]);
  assert.deepEqual([fromFile, mirror, fromApi].map(isMirrorPod), [false, true, false]);
  assert.deepEqual([fromFile, fromApi, pod({ priority: 2_000_001_000 })].map(isCriticalPod), [true, false, true]);
  assert.equal(podKey(fromApi), 'n/p');
  assert.equal(gracePeriodSeconds(pod({})), 30);
  assert.equal(gracePeriodSeconds(pod({ terminationGracePeriodSeconds: 0 })), 0);
  const all = containersOf(
    pod({ containers: [container('a')], initContainers: [container('i')], ephemeralContainers: [container('e')] }),
  );
  assert.deepEqual(
    all.map((c) => [c.type, c.fieldPath]),
    [
      ['init', 'spec.initContainers{i}'],
      ['regular', 'spec.containers{a}'],
      ['ephemeral', 'spec.ephemeralContainers{e}'],
    ],
  );
});
