import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MachineFacts } from '../host/machine.ts';
import { computeNodeResources, computePodsAllocatable, type Reservations, thresholdBytes } from './node-resources.ts';

const facts: MachineFacts = {
  hostname: 'n',
  architecture: 'amd64',
  kernelVersion: '',
  osImage: '',
  machineId: '',
  bootId: '',
  systemUuid: '',
  cpuCount: 4,
  onlineCpus: '0-3',
  memoryBytes: 8 * 2 ** 30,
  swapBytes: 0,
  hugePages: [
    { pageBytes: 2 ** 21, pages: 512 },
    { pageBytes: 2 ** 30, pages: 0 },
  ],
  maxPids: 30_000,
  swapController: true,
  selinux: false,
};
const disk = { capacityBytes: 100 * 2 ** 30, availableBytes: 2 ** 30, inodes: 1000, inodesFree: 10 };
const reservations: Reservations = {
  maxPods: 110,
  podsPerCore: 0,
  kubeReserved: { cpu: '100m', memory: '256Mi', 'ephemeral-storage': '1Gi', pid: '1000' },
  systemReserved: { cpu: '0.4', memory: '256Mi' },
  evictionHard: { 'memory.available': '512Mi', 'nodefs.available': '10Gi' },
};

test('allocatable is capacity less reservations, eviction thresholds and huge pages', () => {
  assert.deepEqual(computeNodeResources(facts, disk, reservations), {
    capacity: {
      cpu: '4',
      'ephemeral-storage': '100Gi',
      'hugepages-1Gi': '0',
      'hugepages-2Mi': '1Gi',
      memory: '8Gi',
      pods: '110',
    },
    allocatable: {
      cpu: '3500m',
      'ephemeral-storage': '89Gi',
      'hugepages-1Gi': '0',
      'hugepages-2Mi': '1Gi',
      memory: '6Gi',
      pods: '110',
    },
  });
});

test('pods per core bound the number of pods', () => {
  assert.equal(computeNodeResources(facts, disk, { ...reservations, podsPerCore: 10 }).capacity['pods'], '40');
});

test('reserving more than there is leaves nothing, not less', () => {
  const greedy = { ...reservations, systemReserved: { cpu: '64', memory: '1Ti', 'ephemeral-storage': '1Ti' } };
  const { allocatable } = computeNodeResources(facts, disk, greedy);
  assert.deepEqual([allocatable['cpu'], allocatable['memory'], allocatable['ephemeral-storage']], ['0', '0', '0']);
});

test('the limits of all pods do not subtract the eviction threshold', () => {
  assert.deepEqual(computePodsAllocatable(facts, reservations, 2), {
    cpuMilli: 3500,
    memoryBytes: 8 * 2 ** 30 - 512 * 2 ** 20,
    pids: 29_000,
    hugePageBytes: { [2 ** 21]: 2 ** 30, [2 ** 30]: 0 },
    cpus: '0-3',
  });
  assert.equal(computePodsAllocatable(facts, reservations, 1).cpus, undefined);
});

test('a percentage is taken in single precision', () => {
  assert.equal(thresholdBytes('10%', 270_553_174_016), 27_055_317_804);
  assert.equal(thresholdBytes('100Mi', 1), 100 * 2 ** 20);
  assert.equal(thresholdBytes(undefined, 1), 0);
});
