import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Summary, SummaryPod } from '../src/stats/summary.ts';
import { Cluster, containerOf, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';

/** What monitoring reads at the node's port: the same names as kubelet's, and figures that others count to as well. */

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('stats', { kubelet: 'volumeStatsAggPeriod: 1s' });
  const limits = { cpu: '200m', memory: '64Mi' };
  const mounts = [
    { name: 'scratch', mountPath: '/scratch' },
    { name: 'memory', mountPath: '/memory' },
  ];
  const write = 'for i in 1 2 3; do dd if=/dev/zero of=/scratch/$i bs=1M count=2; mkdir /scratch/d$i; done';
  const files = `${write}; ln /scratch/1 /scratch/again; dd if=/dev/zero of=/memory/f bs=1M count=3`;
  const layer = 'dd if=/dev/zero of=/layer bs=1M count=5; seq 1 20000';
  cluster.createPod('full', {
    containers: [
      {
        name: 'c',
        image: BUSYBOX_IMAGE,
        command: ['sh', '-c', `${files}; ${layer}; touch /ready; trap "exit 0" TERM; while :; do :; done`],
        readinessProbe: { exec: { command: ['ls', '/ready'] }, periodSeconds: 1 },
        resources: { limits },
        volumeMounts: mounts,
      },
    ],
    volumes: [
      { name: 'scratch', emptyDir: {} },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
    ],
  });
  cluster.createPod('two', { containers: ['a', 'b'].map((name) => ({ name, image: BUSYBOX_IMAGE, command: sleep })) });
  await cluster.whenPodReady('full');
  await cluster.whenPodReady('two');
});
after(() => cluster[Symbol.asyncDispose]());

const sleep = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done'];
const raw = (path: string) => cluster.kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy${path}`);
const summary = async (query = '') => JSON.parse(await raw(`/stats/summary${query}`)) as Summary;
const sh = (script: string) => cluster.host.exec('sh', ['-c', script]);

async function podSummary(name: string): Promise<SummaryPod> {
  const found = (await summary()).pods.find((p) => p.podRef.name === name);
  assert.ok(found, `no pod ${name} in the summary`);
  return found;
}

/** Some figures are measured now and then (volumes by keelson, layers by the runtime): nobody tells when. */
async function podSummaryWhen(name: string, holds: (pod: SummaryPod) => boolean): Promise<SummaryPod> {
  for (let tries = 0; tries < 60; tries++) {
    const pod = await podSummary(name);
    if (holds(pod)) return pod;
    await delay(500);
  }
  throw new Error(`waited in vain until ${holds}`);
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  readonly at: number | undefined;
}

interface Scrape {
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly Sample[];
}

/** The text format, read as strictly as Prometheus does. */
function parse(text: string): Scrape {
  const types = new Map<string, string>();
  const seen = new Set<string>();
  const samples: Sample[] = [];
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('# HELP ')) continue;
    const type = /^# TYPE (\S+) (counter|gauge)$/.exec(line);
    if (type) {
      assert.ok(!types.has(type[1] ?? ''), `two families ${type[1]}`);
      types.set(type[1] ?? '', type[2] ?? '');
      continue;
    }
    const sample = /^([a-z0-9_]+)(?:\{(.*)\})? (\S+)(?: (\d+))?$/.exec(line);
    assert.ok(sample, `not a sample: ${line}`);
    const [, name = '', labelText = '', value, at] = sample;
    assert.equal([...types.keys()].at(-1), name, `${line} is not with its family`);
    assert.ok(!seen.has(`${name}{${labelText}`), `twice: ${line}`);
    seen.add(`${name}{${labelText}`);
    const labels = Object.fromEntries([...labelText.matchAll(/(\w+)="([^"]*)"/g)].map(([, l = '', v = '']) => [l, v]));
    assert.ok(!Number.isNaN(Number(value)), line);
    samples.push({ name, labels, value: Number(value), at: at === undefined ? undefined : Number(at) });
  }
  return { types, samples };
}

/** Lines as in the recorded tables: name, type, labels of all its samples together. */
function describe({ types, samples }: Scrape): ReadonlyMap<string, string> {
  const labels = new Map<string, Set<string>>();
  for (const s of samples) {
    const known = labels.get(s.name) ?? new Set();
    labels.set(s.name, known.union(new Set(Object.keys(s.labels))));
  }
  return new Map([...labels].map(([name, l]) => [name, `${types.get(name)}\t${[...l].sort().join(',')}`.trimEnd()]));
}

function golden(file: string): ReadonlyMap<string, string> {
  const lines = readFileSync(new URL(`golden/node/${file}`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')
    .slice(1);
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf('\t')), line.slice(line.indexOf('\t') + 1).trimEnd()]),
  );
}

/** docs/metrics.md says why. */
const leftOut = [
  'container_cpu_load_average_10s',
  'container_cpu_load_d_average_10s',
  'container_health_state',
  'container_tasks_state',
  'machine_cpu_books',
  'machine_cpu_drawers',
  'machine_nvm_avg_power_budget_watts',
  'machine_nvm_capacity',
];

/** Kubelet has them too, for containers such as these: there were none when it was recorded. */
const notRecorded: Record<string, string> = {
  container_blkio_device_usage_total: 'counter\tcontainer,device,id,image,major,minor,name,namespace,operation,pod',
  container_cpu_cfs_periods_total: 'counter\tcontainer,id,image,name,namespace,pod',
  container_cpu_cfs_throttled_periods_total: 'counter\tcontainer,id,image,name,namespace,pod',
  container_cpu_cfs_throttled_seconds_total: 'counter\tcontainer,id,image,name,namespace,pod',
  container_fs_reads_bytes_total: 'counter\tcontainer,device,id,image,name,namespace,pod',
  container_fs_writes_bytes_total: 'counter\tcontainer,device,id,image,name,namespace,pod',
  container_spec_cpu_quota: 'gauge\tcontainer,id,image,name,namespace,pod',
  ...Object.fromEntries(
    ['cpu', 'memory', 'io']
      .flatMap((what) => [`${what}_stalled`, `${what}_waiting`])
      .map((name) => [`container_pressure_${name}_seconds_total`, 'counter\tcontainer,id,image,name,namespace,pod']),
  ),
};

test('/metrics/cadvisor has the names, types and labels that kubelet has', async () => {
  const ours = describe(parse(await raw('/metrics/cadvisor')));
  const theirs = golden('metrics-cadvisor.tsv');
  const missing = [...theirs.keys()].filter((name) => !ours.has(name));
  assert.deepEqual(missing.sort(), leftOut);
  for (const [name, shape] of ours) assert.equal(shape, theirs.get(name) ?? notRecorded[name], name);
});

test('/metrics/resource has the names, types and labels that kubelet has', async () => {
  const ours = describe(parse(await raw('/metrics/resource')));
  assert.deepEqual(
    Object.fromEntries([...ours].sort()),
    Object.fromEntries([...golden('metrics-resource.tsv')].sort()),
  );
});

/** Every path to a value in it, lists as one. */
function pathsOf(value: unknown, path = ''): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((item) => pathsOf(item, `${path}[]`));
  if (typeof value !== 'object' || value === null) return [`${path} ${typeof value}`];
  return Object.entries(value).flatMap(([key, item]) => pathsOf(item, `${path}.${key}`));
}

test('/stats/summary has the fields that kubelet has', async () => {
  await podSummaryWhen('full', (pod) => (pod.volume?.length ?? 0) >= 2);
  const ours = new Set(pathsOf(await summary()));
  const recorded: unknown = JSON.parse(
    readFileSync(new URL('golden/node/stats-summary.json', import.meta.url), 'utf8'),
  );
  const theirs = new Set(pathsOf(recorded));
  // cgroup v1 has no pressure of cgroups: kubelet says 0, which would be good news. The node's is there.
  const isCgroupPressure = (path: string) => path.includes('.psi.') && !/^\.node\.(cpu|memory|io)\./.test(path);
  const cgroup2 = (await sh('stat -fc %T /sys/fs/cgroup')).trim() === 'cgroup2fs';
  const missing = [...theirs.difference(ours)].filter((path) => cgroup2 || !isCgroupPressure(path));
  assert.deepEqual(missing, []);
  // None of the recorded pods was limited as a whole.
  assert.deepEqual([...ours.difference(theirs)], ['.pods[].memory.availableBytes number']);
});

test('only CPU and memory, for who asks for no more', async () => {
  const { node, pods } = await summary('?only_cpu_and_memory=true');
  assert.equal(node.fs, undefined);
  assert.ok(node.cpu.usageCoreNanoSeconds > 0 && node.memory.workingSetBytes > 0);
  const full = pods.find((p) => p.podRef.name === 'full');
  assert.deepEqual(Object.keys(full ?? {}).sort(), ['containers', 'cpu', 'memory', 'podRef', 'startTime', 'swap']);
  assert.equal(pods.find((p) => p.podRef.name === 'two')?.containers.length, 2);
});

const within = (actual: number, expected: number, share: number, what: string) =>
  assert.ok(Math.abs(actual - expected) <= share * expected, `${what}: ${actual} is not ${expected}`);

test('memory, processes and network are what the kernel says', async () => {
  const { metadata, status } = await cluster.whenPodReady('two');
  const folder = `/sys/fs/cgroup/memory/kubepods/besteffort/pod${metadata.uid}`;
  // The sandbox's own processes are no container's.
  const ids = status?.containerStatuses?.map((s) => s.containerID?.replace('containerd://', '')) ?? [];
  const files = [`{${ids.join()}}/cgroup.procs`, 'memory.usage_in_bytes', 'memory.stat'];
  const look = () => Promise.all(files.map((file) => cluster.host.exec('bash', ['-c', `cat ${folder}/${file}`])));
  const inactive = (stat: string) => Number(/^total_inactive_file (\d+)$/m.exec(stat)?.[1]);
  for (let tries = 0; ; tries++) {
    const before = await look();
    // Figures are kept for two seconds, numbers of processes for ten.
    await delay(10_500);
    const pod = await podSummary('two');
    const after = await look();
    const [processes = '', usage = '', stat = ''] = before;
    const rests = before.slice(0, 2).join() === after.slice(0, 2).join();
    if (!rests && tries < 5) continue;
    assert.ok(rests, 'the pod did not come to rest');
    within(pod.memory?.usageBytes ?? 0, Number(usage), 0.02, 'usage');
    within(pod.memory?.workingSetBytes ?? 0, Number(usage) - inactive(stat), 0.02, 'working set');
    assert.equal(pod.process_stats?.process_count, processes.trim().split('\n').length);
    const [pid] = processes.split('\n');
    const received = Number(/eth0:\s*(\d+)/.exec(await sh(`cat /proc/${pid}/net/dev`))?.[1]);
    assert.ok(received > 0);
    within(pod.network?.rxBytes ?? 0, received, 0.1, 'received');
    return;
  }
});

test('volumes, logs and the writable layer are as large as du says', async () => {
  const { uid = '' } = cluster.pod('full')?.metadata ?? {};
  const volumes = `/var/lib/kubelet/pods/${uid}/volumes/kubernetes.io~empty-dir`;
  const du = async (path: string) => Number((await sh(`du -s --block-size=1 ${path}`)).split('\t')[0]);
  const pod = await podSummaryWhen(
    'full',
    (p) => (p.volume?.length ?? 0) >= 2 && (p.containers[0]?.rootfs?.usedBytes ?? 0) > 5_000_000,
  );
  const volume = (name: string) => pod.volume?.find((v) => v.name === name)?.usedBytes ?? 0;
  within(volume('scratch'), await du(`${volumes}/scratch`), 0.02, 'emptyDir');
  assert.equal(pod.volume?.find((v) => v.name === 'scratch')?.inodesUsed, 7);
  within(volume('memory'), 3 << 20, 0.02, 'emptyDir in memory');
  const logs = await du(`/var/log/pods/default_full_${uid}/c/*`);
  within(pod.containers[0]?.logs?.usedBytes ?? 0, logs, 0.02, 'logs');
  const layer = pod.containers[0]?.rootfs?.usedBytes ?? 0;
  within(layer, 5 << 20, 0.02, 'writable layer');
  // Memory is not the node's disk; /etc/hosts is.
  const storage = volume('scratch') + logs + layer + 4096;
  within(pod['ephemeral-storage']?.usedBytes ?? 0, storage, 0.02, 'ephemeral storage');
});

test('two scrapes as metrics-server does them give the rate at which a container computes', async () => {
  const scrape = async () => {
    const { samples } = parse(await raw('/metrics/resource'));
    const of = (name: string, container: string) =>
      samples.find((s) => s.name === name && s.labels['container'] === container);
    return { cpu: of('container_cpu_usage_seconds_total', 'c'), idle: of('container_cpu_usage_seconds_total', 'a') };
  };
  const first = await scrape();
  // It takes time to use time: what is scraped in the same two seconds is the same.
  await delay(4_000);
  const second = await scrape();
  const rate = (from: Sample | undefined, to: Sample | undefined) => {
    assert.ok(from?.at && to?.at && to.at - from.at >= 2_000, 'the second scrape is of another moment');
    return (to.value - from.value) / ((to.at - from.at) / 1_000);
  };
  const cores = rate(first.cpu, second.cpu);
  // Its quota is 0.2, in periods of 0.1 s; a machine that is busy gives it less.
  assert.ok(cores > 0.02 && cores < 0.25, `${cores} cores`);
  assert.ok(rate(first.idle, second.idle) < 0.02);
  const inSummary = (await podSummary('full')).containers[0]?.cpu.usageNanoCores ?? 0;
  assert.ok(inSummary > 20_000_000 && inSummary < 250_000_000, `${inSummary} nanocores`);
});

test('series are told apart by whose they are', async () => {
  const { samples } = parse(await raw('/metrics/cadvisor'));
  const memory = samples.filter((s) => s.name === 'container_memory_working_set_bytes');
  const pod = cluster.pod('full');
  const id = (pod && containerOf(pod, 'c')?.containerID?.replace('containerd://', '')) ?? 'none';
  const path = `/kubepods/pod${pod?.metadata.uid}`;
  const own = memory.filter((s) => s.labels['pod'] === 'full').map((s) => s.labels);
  const [whole, sandbox, container] = own;
  assert.equal(own.length, 3);
  assert.deepEqual([whole?.['id'], whole?.['container'], whole?.['name']], [path, '', '']);
  assert.deepEqual([sandbox?.['container'], sandbox?.['image']], ['', 'registry.test/pause:1']);
  assert.deepEqual(
    [container?.['container'], container?.['name'], container?.['id'], container?.['image']],
    ['c', id, `${path}/${id}`, BUSYBOX_IMAGE],
  );
  assert.deepEqual(
    memory.filter((s) => s.labels['pod'] === '').map((s) => s.labels['id']),
    ['/', '/kubepods', '/kubepods/burstable', '/kubepods/besteffort', '/system'],
  );
});

test('a pod that is gone is gone from the figures', async () => {
  cluster.createPod('brief', { containers: [{ name: 'c', image: BUSYBOX_IMAGE, command: sleep }] });
  await cluster.whenPodReady('brief');
  await cluster.kubectl('delete', 'pod', 'brief', '--wait=false');
  await cluster.keelson.waitForLog((line) => line.includes('purged') && line.includes('brief'));
  const { samples } = parse(await raw('/metrics/cadvisor'));
  assert.ok(!(await summary()).pods.some((p) => p.podRef.name === 'brief'));
  assert.deepEqual(
    samples.filter((s) => s.labels['pod'] === 'brief'),
    [],
  );
});
