import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, ContainerResizePolicy, Pod, PodSpec, ResourceRequirements } from '../api/core-v1.ts';
import { observedContainer, observedPod } from '../testing/observed-pods.ts';
import type { ResourceOptions } from './compute-cgroup-values.ts';
import { compareResizes, containersToRestart, infeasible, type PendingResize } from './decide-resize.ts';

const pod = (containers: readonly Container[], more: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'p', uid: 'u' },
  spec: { containers, ...more },
});
const options: ResourceOptions = {
  ...{ cgroupVersion: 1, cpuCfsQuota: true, cpuCfsPeriodUs: 100_000, memoryCapacityBytes: 2 ** 30 },
  ...{ hugePageSizes: [], swapController: true, singleProcessOomKill: true, podPidsLimit: -1 },
};
const requests = (cpu: string, memory: string): ResourceRequirements => ({ requests: { cpu, memory } });

test('what is more than the node is infeasible, memory first', () => {
  const capacity = { cpuMilli: 2000, memoryBytes: 2 ** 30 };
  const verdict = (cpu: string, memory: string) =>
    infeasible(pod([]), pod([{ name: 'a', resources: requests(cpu, memory) }]), capacity, options)?.message;
  assert.equal(verdict('2', '1Gi'), undefined);
  assert.equal(verdict('2001m', '1Gi'), "Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000");
  const memory = "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824";
  assert.equal(verdict('3', '2Gi'), memory);
  const fixed = { ...pod([]), metadata: { name: 'p', annotations: { 'kubernetes.io/config.source': 'file' } } };
  assert.equal(
    infeasible(pod([]), fixed, capacity, options)?.message,
    'In-place resize of static-pods is not supported',
  );
});

test('a container whose part of the swap would change has to be restarted for that', () => {
  const capacity = { cpuMilli: 2000, memoryBytes: 2 ** 30 };
  const swap = { ...options, cgroupVersion: 2 as const, limitedSwapBytes: 2 ** 30 };
  const asks = (memory: string, more: Partial<Container> = {}) =>
    pod([{ name: 'a', resources: requests('1', memory), ...more }]);
  const restart = { resizePolicy: [{ resourceName: 'memory', restartPolicy: 'RestartContainer' as const }] };
  const verdict = (after: Pod, o = swap) => infeasible(asks('1Mi'), after, capacity, o)?.message;
  assert.equal(verdict(asks('2Mi')), 'In-place resize of containers with swap is not supported.');
  assert.equal(verdict(asks('1024Ki')), undefined);
  assert.equal(verdict(asks('2Mi', restart)), undefined);
  assert.equal(verdict(asks('2Mi'), { ...swap, swapController: false }), undefined);
});

test('containers are restarted where their policy says so for what changes', () => {
  const policy = (resourceName: string): ContainerResizePolicy => ({ resourceName, restartPolicy: 'RestartContainer' });
  const restarts = (
    policies: readonly ContainerResizePolicy[],
    after: ResourceRequirements,
    { init, state }: { init?: Partial<Container>; state?: 'exited' } = {},
  ) => {
    const make = (resources: ResourceRequirements) => {
      const container: Container = { name: 'a', resources, resizePolicy: policies };
      return init ? pod([], { initContainers: [{ ...container, ...init }] }) : pod([container]);
    };
    const observed = observedPod([observedContainer('a', state ? { state } : {})]);
    return containersToRestart(make(requests('1', '1Gi')), make(after), observed);
  };
  const table: Record<string, [readonly string[], readonly string[]]> = {
    'no policy': [restarts([], requests('2', '2Gi')), []],
    'CPU changes': [restarts([policy('cpu')], requests('2', '1Gi')), ['a0']],
    'CPU is only written differently': [restarts([policy('cpu')], requests('1000m', '1Gi')), []],
    'only the other resource changes': [restarts([policy('cpu')], requests('1', '2Gi')), []],
    'a request for memory changes': [restarts([policy('memory')], requests('1', '2Gi')), ['a0']],
    'a limit changes': [restarts([policy('cpu')], { ...requests('1', '1Gi'), limits: { cpu: '4' } }), ['a0']],
    'it does not run': [restarts([policy('cpu')], requests('2', '1Gi'), { state: 'exited' }), []],
    'a sidecar': [restarts([policy('cpu')], requests('2', '1Gi'), { init: { restartPolicy: 'Always' } }), ['a0']],
    'an init container that ends': [restarts([policy('cpu')], requests('2', '1Gi'), { init: {} }), []],
  };
  for (const [sentence, [found, expected]] of Object.entries(table)) assert.deepEqual(found, expected, sentence);
});

test('who asks for no more comes first, then priority, class and time of waiting', () => {
  const pending = (name: string, cpu: string, over: Partial<PendingResize> & { priority?: number } = {}) => {
    const { priority = 0, ...rest } = over;
    const desired = { ...pod([{ name: 'a', resources: requests(cpu, '1Gi') }], { priority }), metadata: { name } };
    const granted = pod([{ name: 'a', resources: requests('1', '1Gi') }]);
    return { granted, desired, guaranteed: false, since: 0, ...rest };
  };
  const resizes = [
    pending('late', '2', { since: 2 }),
    pending('early', '2', { since: 1 }),
    pending('guaranteed', '2', { guaranteed: true, since: 3 }),
    pending('important', '2', { priority: 7, since: 4 }),
    pending('less', '500m', { since: 5 }),
  ];
  const order = resizes.sort(compareResizes).map((r) => r.desired.metadata.name);
  assert.deepEqual(order, ['less', 'important', 'guaranteed', 'early', 'late']);
});
