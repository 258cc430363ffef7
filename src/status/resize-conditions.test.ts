import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResourceRequirements } from '../api/core-v1.ts';
import type { LinuxContainerResources } from '../api/cri.ts';
import { containerResourceStatus } from './container-resources.ts';
import { resizeConditions } from './resize-conditions.ts';

test('a resize that waits and one that is being carried out are both told, each with its generation', () => {
  const pending = { reason: 'Deferred' as const, message: 'no room', generation: 3 };
  assert.deepEqual(resizeConditions({ pending, inProgress: { generation: 2 } }), [
    { type: 'PodResizePending', status: 'True', reason: 'Deferred', message: 'no room', observedGeneration: 3 },
    { type: 'PodResizeInProgress', status: 'True', observedGeneration: 2 },
  ]);
});

test('what keeps a resize from being carried out is told', () => {
  assert.deepEqual(resizeConditions({ inProgress: { generation: 2, error: 'in use' } }), [
    { type: 'PodResizeInProgress', status: 'True', reason: 'Error', message: 'in use', observedGeneration: 2 },
  ]);
  assert.deepEqual(resizeConditions({}), []);
});

const granted: ResourceRequirements = {
  requests: { cpu: '100m', memory: '64Mi' },
  limits: { cpu: '200m', memory: '64Mi', 'example.com/gpu': 1 },
};
const actual = { cpuPeriod: 100_000, cpuQuota: 20_000, cpuShares: 102, memoryLimitInBytes: 64 << 20 };
const shown: Record<string, [LinuxContainerResources | undefined, ResourceRequirements]> = {
  'a runtime that says nothing': [undefined, granted],
  'what was granted, as the kernel rounds it': [actual, granted],
  'a limit of CPU that is still the old one': [
    { ...actual, cpuQuota: 40_000 },
    { ...granted, limits: { ...granted.limits, cpu: '400m' } },
  ],
  'a memory limit that is still the old one': [
    { ...actual, memoryLimitInBytes: 32 << 20 },
    { ...granted, limits: { ...granted.limits, memory: '32Mi' } },
  ],
  'a request that is still the old one': [
    { ...actual, cpuShares: 256 },
    { ...granted, requests: { cpu: '250m', memory: '64Mi' } },
  ],
};
for (const [sentence, [linux, resources]] of Object.entries(shown)) {
  test(`resources of a container: ${sentence}`, () => {
    const status = containerResourceStatus({ name: 'a', resources: granted }, linux);
    assert.deepEqual(status, { resources, allocatedResources: granted.requests });
  });
}
