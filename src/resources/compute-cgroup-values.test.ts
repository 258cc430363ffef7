import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Container, Pod } from '../api/core-v1.ts';
import { cpuWeight, sliceName, slicePath } from '../host/compute-cgroup-settings.ts';
import { podCgroupName, podsRootName, podUidOf, qosCgroupName } from './cgroup-names.ts';
import {
  containerResources,
  hugePageResource,
  podCgroupValues,
  podsRootValues,
  qosCgroupValues,
  type ResourceOptions,
  sandboxOverhead,
  sandboxResources,
} from './compute-cgroup-values.ts';

interface Golden {
  readonly pod: Pod;
  readonly sandbox: { readonly linux: Record<string, unknown> };
  readonly containers: Readonly<
    Record<string, { readonly config: { readonly linux: { readonly resources: unknown } } }>
  >;
}

const golden = new URL('../../test/golden/', import.meta.url);
const readGolden = (folder: string): Golden[] =>
  readdirSync(new URL(folder, golden))
    .filter((file) => file.endsWith('.json'))
    .map((file) => JSON.parse(readFileSync(new URL(`${folder}/${file}`, golden), 'utf8')));

const machines: readonly { folder: string; options: ResourceOptions; parent: (pod: Pod) => string }[] = [
  {
    folder: 'pods',
    options: options({ cgroupVersion: 1, memoryCapacityBytes: 24_684_096 * 1024, singleProcessOomKill: true }),
    parent: (pod) => `/${podCgroupName(pod, '').join('/')}`,
  },
  {
    folder: 'pods-cgroup2',
    options: options({ cgroupVersion: 2, memoryCapacityBytes: 2_062_479_360 }),
    parent: (pod) => slicePath(podCgroupName(pod, '/')).replace('<uid>', '<uid_>'),
  },
];

function options(changes: Partial<ResourceOptions>): ResourceOptions {
  return {
    cgroupVersion: 1,
    cpuCfsQuota: true,
    cpuCfsPeriodUs: 100_000,
    memoryCapacityBytes: 8 * 2 ** 30,
    hugePageSizes: [2 ** 21, 2 ** 30],
    swapController: true,
    singleProcessOomKill: false,
    podPidsLimit: -1,
    ...changes,
  };
}

/** The recordings spell fields as the protocol does, and leave out zeros. */
function recorded(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(recorded);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, v]) => [
      key.includes('.') ? key : key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`),
      recorded(v),
    ]),
  );
}

for (const { folder, options: o, parent } of machines) {
  describe(`as recorded in ${folder}`, () => {
    for (const { pod, sandbox, containers } of readGolden(folder)) {
      test(`${pod.metadata.name}: the sandbox and its place`, () => {
        assert.deepEqual(recorded(sandboxResources(pod, o)), sandbox.linux['resources']);
        assert.deepEqual(recorded(sandboxOverhead(pod, o)), sandbox.linux['overhead']);
        assert.equal(parent(pod), sandbox.linux['cgroup_parent']);
      });
      const specs = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
      for (const container of specs.filter((c) => containers[c.name])) {
        test(`${pod.metadata.name}: container ${container.name}`, () => {
          const expected = containers[container.name]?.config.linux.resources;
          assert.deepEqual(recorded(containerResources(pod, container, o)), expected);
        });
      }
    }
  });
}

describe('cgroup files as recorded on cgroup v2', () => {
  const pods = readGolden('pods-cgroup2').map((g) => g.pod);
  const lines = readFileSync(new URL('pods-cgroup2/cgroup-values.txt', golden), 'utf8').split('\n');
  const anyOf = (slice: string, file: string) =>
    lines
      .map((line) => line.match(/^(\S+) (\S+) (.*)$/))
      .filter((m) => m?.[1] === slice && m[2] === file)
      .map((m) => m?.[3]);
  for (const pod of pods) {
    test(`${pod.metadata.name}: weight, quota and memory of its slice`, () => {
      const values = podCgroupValues(pod, options({ cgroupVersion: 2 }));
      const slice = slicePath(podCgroupName(pod, '')).replace('<uid>', '<uid_>');
      const quota = values.cpuQuota === undefined ? 'max' : String(values.cpuQuota);
      assert.ok(anyOf(slice, 'cpu.weight').includes(String(cpuWeight(values.cpuShares ?? 0))));
      assert.ok(anyOf(slice, 'cpu.max').includes(`${quota} 100000`));
      assert.ok(anyOf(slice, 'memory.max').includes(String(values.memoryLimit ?? 'max')));
    });
  }
  test('kubepods.slice', () => {
    const allocatable = { cpuMilli: 2000, memoryBytes: 2_062_479_360, pids: 15_636, cpus: '0-1' };
    const values = podsRootValues(allocatable);
    assert.deepEqual(anyOf('/kubepods.slice', 'cpu.weight'), [String(cpuWeight(values.cpuShares ?? 0))]);
    assert.deepEqual(anyOf('/kubepods.slice', 'memory.max'), [String(values.memoryLimit)]);
    assert.deepEqual(anyOf('/kubepods.slice', 'pids.max'), [String(values.pidsLimit)]);
    assert.deepEqual(anyOf('/kubepods.slice', 'cpuset.cpus'), [values.cpusetCpus]);
  });
});

const container = (name: string, resources: Container['resources'] = {}, rest: Partial<Container> = {}): Container => ({
  name,
  resources,
  ...rest,
});
const makePod = (containers: readonly Container[], spec: Partial<Pod['spec']> = {}): Pod => ({
  metadata: { name: 'p', uid: '0f6c-11' },
  spec: { containers, ...spec },
});
const cpu = (requests: string, limits?: string) => ({
  requests: { cpu: requests },
  ...(limits === undefined ? {} : { limits: { cpu: limits } }),
});

describe('the values of a pod cgroup', () => {
  const table: [sentence: string, pod: Pod, expected: object][] = [
    ['best effort', makePod([container('a')]), { cpuShares: 2 }],
    [
      'burstable with a limit on one container only is not limited',
      makePod([container('a', cpu('100m', '200m')), container('b', cpu('50m'))]),
      { cpuShares: 153, hugepageLimits: { '2MB': 0, '1GB': 0 } },
    ],
    [
      'burstable with limits on all is limited by their sum',
      makePod([container('a', cpu('100m', '200m')), container('b', cpu('50m', '300m'))]),
      { cpuShares: 153, cpuQuota: 50_000, cpuPeriod: 100_000, hugepageLimits: { '2MB': 0, '1GB': 0 } },
    ],
    [
      'a limit alone is a request too',
      makePod([container('a', { limits: { cpu: '1', memory: '1Mi' } })]),
      {
        cpuShares: 1024,
        cpuQuota: 100_000,
        cpuPeriod: 100_000,
        memoryLimit: 2 ** 20,
        hugepageLimits: { '2MB': 0, '1GB': 0 },
      },
    ],
    [
      'init containers count with the sidecars started before them',
      makePod([container('a', cpu('100m'))], {
        initContainers: [
          container('side', cpu('200m'), { restartPolicy: 'Always' }),
          container('init', cpu('700m')),
          container('late', cpu('300m'), { restartPolicy: 'Always' }),
        ],
      }),
      { cpuShares: Math.floor((900 * 1024) / 1000), hugepageLimits: { '2MB': 0, '1GB': 0 } },
    ],
    [
      'overhead comes on top',
      makePod([container('a', { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '1', memory: '1Gi' } })], {
        overhead: { cpu: '250m', memory: '64Mi' },
      }),
      {
        cpuShares: 1280,
        cpuQuota: 125_000,
        cpuPeriod: 100_000,
        memoryLimit: 2 ** 30 + 2 ** 26,
        hugepageLimits: { '2MB': 0, '1GB': 0 },
      },
    ],
    [
      'resources of the pod as a whole replace the sum',
      makePod([container('a', cpu('100m'))], { resources: { requests: { cpu: '2' }, limits: { cpu: '3' } } }),
      { cpuShares: 2048, cpuQuota: 300_000, cpuPeriod: 100_000, hugepageLimits: { '2MB': 0, '1GB': 0 } },
    ],
    [
      'huge pages',
      makePod([container('a', { requests: { cpu: '1', 'hugepages-2Mi': '4Mi' }, limits: { 'hugepages-2Mi': '4Mi' } })]),
      { cpuShares: 1024, hugepageLimits: { '2MB': 4 * 2 ** 20, '1GB': 0 } },
    ],
  ];
  for (const [sentence, pod, expected] of table) {
    test(sentence, () => assert.deepEqual(podCgroupValues(pod, options({})), expected));
  }
  test('podPidsLimit', () => {
    assert.equal(podCgroupValues(makePod([container('a')]), options({ podPidsLimit: 512 })).pidsLimit, 512);
  });
});

test('without cpuCFSQuota nothing is limited in CPU', () => {
  const pod = makePod([container('a', { limits: { cpu: '1', memory: '1Mi' } })]);
  const o = options({ cpuCfsQuota: false });
  assert.equal(podCgroupValues(pod, o).cpuQuota, undefined);
  const [only] = pod.spec.containers;
  assert.ok(only);
  const resources = containerResources(pod, only, o);
  assert.deepEqual([resources.cpuQuota, resources.cpuPeriod, resources.cpuShares], [undefined, undefined, 1024]);
});

test('what a container does not limit itself is limited by what the pod may use', () => {
  const whole = { cpu: '2', memory: '1Gi', 'hugepages-2Mi': '4Mi' };
  const own = container('a', { limits: { cpu: '1' }, requests: { cpu: '500m' } });
  const none = container('b');
  const pod = makePod([own, none], { resources: { requests: whole, limits: whole } });
  const limits = (c: Container) => {
    const r = containerResources(pod, c, options({}));
    return [r.cpuShares, r.cpuQuota, r.memoryLimitInBytes, r.hugepageLimits?.[0]?.limit];
  };
  assert.deepEqual(limits(own), [512, 100_000, 2 ** 30, 4 * 2 ** 20]);
  assert.deepEqual(limits(none), [2048, 200_000, 2 ** 30, 4 * 2 ** 20]);
});

describe('swap', () => {
  const o = options({ cgroupVersion: 2, memoryCapacityBytes: 2 ** 30, limitedSwapBytes: 2 ** 29 });
  const memory = (request: string, limit?: string) => ({
    requests: { memory: request },
    ...(limit === undefined ? {} : { limits: { memory: limit } }),
  });
  const table: [sentence: string, pod: Pod, o: ResourceOptions, expected: string | undefined][] = [
    ['a burstable container gets its part', makePod([container('a', memory('256Mi', '512Mi'))]), o, String(2 ** 27)],
    ['none where memory is bounded by its request', makePod([container('a', memory('1Mi', '1Mi'))]), o, '0'],
    ['none without a request', makePod([container('a'), container('b', memory('1Mi'))]), o, '0'],
    ['none for best effort', makePod([container('a')]), o, '0'],
    ['none for critical pods', makePod([container('a', memory('1Mi'))], { priority: 2_000_000_000 }), o, '0'],
    [
      'none where pods may not swap',
      makePod([container('a', memory('1Mi'))]),
      options({ cgroupVersion: 2, memoryCapacityBytes: 2 ** 30 }),
      '0',
    ],
    [
      'nothing is said where swap cannot be bounded',
      makePod([container('a', memory('1Mi'))]),
      { ...o, swapController: false },
      undefined,
    ],
  ];
  for (const [sentence, pod, given, expected] of table) {
    test(sentence, () => {
      const [first] = pod.spec.containers;
      assert.ok(first);
      assert.equal(containerResources(pod, first, given).unified?.['memory.swap.max'], expected);
    });
  }
});

test('the burstable class weighs what its pods request; others do not count', () => {
  const guaranteed = makePod([container('a', { limits: { cpu: '1', memory: '1Gi' } })]);
  const pods = [makePod([container('a', cpu('1126m'))]), makePod([container('a', cpu('284m'))]), guaranteed];
  assert.deepEqual(qosCgroupValues('Burstable', pods), { cpuShares: 1443 });
  assert.deepEqual(qosCgroupValues('Burstable', []), { cpuShares: 2 });
});

describe('oom_score_adj', () => {
  const o = options({ memoryCapacityBytes: 1000 * 2 ** 20 });
  const memory = (requests: string) => ({ requests: { memory: requests } });
  const side = (requests: string) => container('side', memory(requests), { restartPolicy: 'Always' });
  const table: [sentence: string, pod: Pod, name: string, score: number | undefined][] = [
    [
      'a burstable container: 1000 less the per-mille it requests',
      makePod([container('a', memory('250Mi'))]),
      'a',
      750,
    ],
    ['never as low as a guaranteed one', makePod([container('a', memory('2000Mi'))]), 'a', 3],
    ['never as high as a best-effort one', makePod([container('a', memory('1Ki'))]), 'a', 999],
    [
      'a sidecar is no easier prey than the containers it serves',
      makePod([container('a', memory('500Mi'))], { initContainers: [side('10Mi')] }),
      'side',
      500,
    ],
    [
      'what the pod requests beyond its containers is shared among them',
      makePod([container('a', memory('100Mi')), container('b')], { resources: memory('500Mi') }),
      'b',
      800,
    ],
    [
      'a static pod of the class system-node-critical is spared, without a priority too',
      {
        metadata: { name: 'p', annotations: { 'kubernetes.io/config.source': 'file' } },
        spec: { containers: [container('a')], priorityClassName: 'system-node-critical' },
      },
      'a',
      -997,
    ],
    [
      'the class alone does not spare a pod from the API',
      makePod([container('a')], { priorityClassName: 'system-node-critical', priority: 0 }),
      'a',
      1000,
    ],
  ];
  for (const [sentence, pod, name, score] of table) {
    test(sentence, () => {
      const found = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].find((c) => c.name === name);
      assert.ok(found);
      assert.equal(containerResources(pod, found, o).oomScoreAdj, score);
    });
  }
});

test('names: guaranteed pods are directly below kubepods, the root can be elsewhere', () => {
  assert.deepEqual(podsRootName('/'), ['kubepods']);
  assert.deepEqual(podsRootName('/a/b/'), ['a', 'b', 'kubepods']);
  assert.deepEqual(qosCgroupName('Guaranteed', ''), ['kubepods']);
  assert.deepEqual(qosCgroupName('BestEffort', ''), ['kubepods', 'besteffort']);
  const pod = makePod([container('a', cpu('1'))]);
  assert.deepEqual(podCgroupName(pod, 'x'), ['x', 'kubepods', 'burstable', 'pod0f6c-11']);
  assert.equal(sliceName(podCgroupName(pod, '')), 'kubepods-burstable-pod0f6c_11.slice');
  assert.equal(podUidOf('pod0f6c-11'), '0f6c-11');
  assert.equal(podUidOf('burstable'), undefined);
});

test('huge page resources are named after the size', () => {
  assert.deepEqual([2 ** 16, 2 ** 21, 2 ** 25, 2 ** 30].map(hugePageResource), [
    'hugepages-64Ki',
    'hugepages-2Mi',
    'hugepages-32Mi',
    'hugepages-1Gi',
  ]);
});
