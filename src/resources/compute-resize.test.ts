import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, PodSpec, ResourceRequirements } from '../api/core-v1.ts';
import type { LinuxContainerResources } from '../api/cri.ts';
import type { CgroupReading } from '../host/cgroups.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { observedContainer, observedPod } from '../testing/observed-pods.ts';
import { containerResources, type ResourceOptions } from './compute-cgroup-values.ts';
import { computeResize, type ResizeStep } from './compute-resize.ts';

const options: ResourceOptions = {
  ...{ cgroupVersion: 1, cpuCfsQuota: true, cpuCfsPeriodUs: 100_000, memoryCapacityBytes: 2 ** 30 },
  ...{ hugePageSizes: [], swapController: true, singleProcessOomKill: true, podPidsLimit: -1 },
};
const mebi = 2 ** 20;

/** Requests and limits of so many thousandths of CPU and MiB of memory; the limits are twice the requests of CPU. */
const bounds = (cpu: number, memory: number): ResourceRequirements => ({
  requests: { cpu: `${cpu}m`, memory: `${memory}Mi` },
  limits: { cpu: `${2 * cpu}m`, memory: `${memory}Mi` },
});
const pod = (resources: Readonly<Record<string, ResourceRequirements>>, more: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'p', uid: 'u' },
  spec: { containers: Object.entries(resources).map(([name, r]) => ({ name, resources: r })), ...more },
});
/** What the runtime says of a container that was made with these resources. */
const made = (name: string, resources: ResourceRequirements) => {
  const container: Container = { name, resources };
  const { cpuShares, cpuQuota, cpuPeriod, memoryLimitInBytes } = containerResources(
    pod({ [name]: resources }),
    container,
    options,
  );
  const linux = { cpuShares, cpuQuota, cpuPeriod, memoryLimitInBytes } as LinuxContainerResources;
  return observedContainer(name, { resources: { linux } });
};
const cgroup = (cpu: number, memory: number): CgroupReading => ({
  memoryLimit: memory * mebi,
  memoryUsage: 0,
  cpuQuota: 200 * cpu,
  cpuShares: Math.floor((cpu * 1024) / 1000),
});

function line(step: ResizeStep): string {
  if (step.type === 'pod') {
    const { memoryLimit, cpuQuota, cpuShares } = step.values;
    if (memoryLimit !== undefined) return `pod ${memoryLimit / mebi}Mi`;
    return cpuQuota === undefined ? `pod shares ${cpuShares}` : `pod quota ${cpuQuota}`;
  }
  const { container, resources, shrinksTo } = step.update;
  const { memoryLimitInBytes = 0, cpuQuota, cpuShares } = resources;
  const shrinks = shrinksTo === undefined ? '' : ' shrinks';
  return `${container.name} ${memoryLimitInBytes / mebi}Mi quota ${cpuQuota} shares ${cpuShares}${shrinks}`;
}

const before = bounds(100, 64);
const table: Record<
  string,
  {
    pod: Pod;
    has: Parameters<typeof computeResize>[0]['observed'];
    now: CgroupReading;
    restarting?: string[];
    steps: string[];
  }
> = {
  'nothing differs': {
    pod: pod({ a: before }),
    has: observedPod([made('a', before)]),
    now: cgroup(100, 64),
    steps: [],
  },
  'the pod grows before its container, memory before CPU, limits before requests': {
    pod: pod({ a: bounds(200, 128) }),
    has: observedPod([made('a', before)]),
    now: cgroup(100, 64),
    steps: [
      'pod 128Mi',
      'a 128Mi quota 20000 shares 102',
      'pod quota 40000',
      'pod shares 204',
      'a 128Mi quota 40000 shares 204',
    ],
  },
  'the pod shrinks after its container': {
    pod: pod({ a: bounds(50, 32) }),
    has: observedPod([made('a', before)]),
    now: cgroup(100, 64),
    steps: [
      'a 32Mi quota 20000 shares 102 shrinks',
      'pod 32Mi',
      'a 32Mi quota 10000 shares 51',
      'pod shares 51',
      'pod quota 10000',
    ],
  },
  'what one container gives another may take': {
    pod: pod({ a: bounds(100, 96), b: bounds(100, 32) }),
    has: observedPod([made('a', before), made('b', before)]),
    now: { ...cgroup(200, 128), cpuShares: 204 },
    steps: ['b 32Mi quota 20000 shares 102 shrinks', 'a 96Mi quota 20000 shares 102'],
  },
  'a container that is restarted is left to that, its pod is not': {
    pod: pod({ a: bounds(100, 128) }),
    has: observedPod([made('a', before)]),
    now: cgroup(100, 64),
    restarting: ['a0'],
    steps: ['pod 128Mi'],
  },
  'a container that does not run gets its share when it starts': {
    pod: pod({ a: bounds(100, 128) }),
    has: observedPod([{ ...made('a', before), state: 'exited' }]),
    now: cgroup(100, 64),
    steps: ['pod 128Mi'],
  },
  'a limit for the pod as a whole is one of a container without its own': {
    pod: pod(
      { a: { requests: { cpu: '100m' } } },
      { resources: { limits: { memory: '128Mi' }, requests: { cpu: '100m' } } },
    ),
    has: observedPod([
      observedContainer('a', { resources: { linux: { cpuShares: 102, memoryLimitInBytes: 64 * mebi } } }),
    ]),
    now: { ...cgroup(100, 64), cpuQuota: -1 },
    steps: ['pod 128Mi', 'a 128Mi quota undefined shares 102'],
  },
  'a limit that is new shrinks what was unlimited': {
    pod: pod({ a: bounds(100, 64) }),
    has: observedPod([observedContainer('a', { resources: { linux: { cpuShares: 102 } } })]),
    now: { memoryLimit: -1, memoryUsage: 0, cpuQuota: -1, cpuShares: 102 },
    steps: [
      'a 64Mi quota undefined shares 102 shrinks',
      'pod 64Mi',
      'a 64Mi quota 20000 shares 102',
      'pod quota 20000',
    ],
  },
};

for (const [sentence, given] of Object.entries(table)) {
  test(sentence, () => {
    const restarting = new Set(given.restarting);
    const plan = computeResize(
      deepFreeze({ pod: given.pod, observed: given.has, cgroup: given.now, restarting, options }),
    );
    assert.deepEqual(plan.steps.map(line), given.steps);
  });
}

test('a pod whose memory shrinks says to what', () => {
  const shrinking = (memory: number) =>
    computeResize({
      pod: pod({ a: bounds(100, memory) }),
      observed: observedPod([made('a', before)]),
      cgroup: cgroup(100, 64),
      restarting: new Set(),
      options,
    }).podShrinksTo;
  assert.deepEqual([shrinking(32), shrinking(64), shrinking(96)], [32 * mebi, undefined, undefined]);
});
