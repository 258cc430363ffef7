import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  computeUnitProperties,
  computeV1Settings,
  computeV2Settings,
  cpuWeight,
  sliceName,
  slicePartOf,
  slicePath,
} from './compute-cgroup-settings.ts';

test('shares become weights on a straight line', () => {
  const table: [shares: number, weight: number][] = [
    [0, 1],
    [2, 1],
    [10, 1],
    [102, 4],
    [256, 10],
    [307, 12],
    [1024, 39],
    [1126, 43],
    [2048, 79],
    [262_144, 10_000],
    [1e9, 10_000],
  ];
  for (const [shares, weight] of table) assert.equal(cpuWeight(shares), weight, `${shares} shares`);
});

const values = {
  cpuShares: 256,
  cpuQuota: 25_000,
  cpuPeriod: 100_000,
  memoryLimit: 67_108_864,
  pidsLimit: -1,
  hugepageLimits: { '2MB': 4096 },
};

test('on v1 the period comes before the quota that it bounds', () => {
  assert.deepEqual(
    computeV1Settings(values).map((s) => `${s.file}=${s.value}`),
    [
      'cpu.shares=256',
      'cpu.cfs_period_us=100000',
      'cpu.cfs_quota_us=25000',
      'memory.limit_in_bytes=67108864',
      'pids.max=max',
      'hugetlb.2MB.limit_in_bytes=4096',
    ],
  );
});

test('on v2 no limit is max', () => {
  assert.deepEqual(
    computeV2Settings(values).map((s) => `${s.file}=${s.value}`),
    ['cpu.weight=10', 'cpu.max=25000 100000', 'memory.max=67108864', 'pids.max=max', 'hugetlb.2MB.max=4096'],
  );
  assert.deepEqual(computeV2Settings({ cpuQuota: -1, memoryLimit: -1 }), [
    { controller: 'cpu', file: 'cpu.max', value: 'max 100000' },
    { controller: 'memory', file: 'memory.max', value: 'max' },
  ]);
});

test('nothing named is nothing written', () => {
  assert.deepEqual([computeV1Settings({}), computeV2Settings({}), computeUnitProperties({})], [[], [], []]);
});

test('unit properties: the quota per second is rounded up to a percent', () => {
  assert.deepEqual(computeUnitProperties({ ...values, cpuQuota: 12_345 }), [
    ['CPUWeight', 't', '10'],
    ['CPUQuotaPeriodUSec', 't', '100000'],
    ['CPUQuotaPerSecUSec', 't', '130000'],
    ['MemoryMax', 't', '67108864'],
    ['TasksMax', 't', '18446744073709551615'],
  ]);
});

test('a list of CPUs becomes a mask', () => {
  assert.deepEqual(computeUnitProperties({ cpusetCpus: '0-1' }), [['AllowedCPUs', 'ay', '1', '3']]);
  assert.deepEqual(computeUnitProperties({ cpusetCpus: '0,8-9,17' }), [['AllowedCPUs', 'ay', '3', '1', '3', '2']]);
});

test('names of slices, and back', () => {
  const pod = ['kubepods', 'burstable', 'pod0f6c-11'];
  assert.equal(sliceName(pod), 'kubepods-burstable-pod0f6c_11.slice');
  assert.equal(slicePath(pod), '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f6c_11.slice');
  assert.equal(slicePartOf('kubepods-burstable-pod0f6c_11.slice', pod.slice(0, 2)), 'pod0f6c-11');
  assert.equal(slicePartOf('kubepods-burstable.slice', ['kubepods']), 'burstable');
  assert.equal(slicePartOf('kubepods.slice', []), 'kubepods');
  assert.equal(slicePartOf('cri-containerd-abc.scope', pod), undefined);
  assert.equal(slicePartOf('kubepods-burstable-podx.slice', ['kubepods']), undefined);
  assert.equal(slicePath([]), '/');
});
