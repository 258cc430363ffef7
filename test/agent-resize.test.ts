import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { Container, Node, Pod, PodStatus, ResourceRequirements } from '../src/api/core-v1.ts';
import { quantityMilliValue } from '../src/api/quantity.ts';
import { NODES, PODS } from './apiserver/kinds.ts';
import { Cluster, containerOf, isReady, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';

/** Room on the node: pods that get more of it while they run, pods that find none, and pods that are given others'. */

const sleeper: Container = {
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'],
};
const signal = AbortSignal.timeout(600_000);
const mebi = 2 ** 20;

let cluster: Cluster;
/** CPU that pods can have together, in thousandths. */
let room: number;
before(async () => {
  cluster = await Cluster.boot('resize', { kubelet: 'fileCheckFrequency: 1s\nsystemReserved: {cpu: 500m}' });
  const node = cluster.api.store.get(NODES, undefined, NODE) as unknown as Node;
  room = quantityMilliValue(node.status?.allocatable?.['cpu'] ?? 0);
});
after(() => cluster[Symbol.asyncDispose]());
beforeEach(async () => {
  const names = cluster.api.store.list(PODS).map((p) => p.metadata.name);
  await cluster.kubectl('delete', 'pods', '--all', '--grace-period=1', '--wait=false');
  for (const name of names) await cluster.whenPodGone(name);
});

const bounds = (cpu: number, memory: string): ResourceRequirements => ({
  requests: { cpu: `${cpu}m`, memory },
  limits: { cpu: `${2 * cpu}m`, memory },
});
const requests = (cpu: number): ResourceRequirements => ({ requests: { cpu: `${cpu}m` } });

async function start(name: string, resources: ResourceRequirements, more: Partial<Container> = {}): Promise<Pod> {
  cluster.createPod(name, { containers: [{ ...sleeper, resources, ...more }] });
  return cluster.whenPodReady(name);
}

const resize = (name: string, resources: ResourceRequirements) =>
  cluster.kubectl(
    ...['patch', 'pod', name, '--subresource=resize', '--patch'],
    JSON.stringify({ spec: { containers: [{ name: 'c', resources }] } }),
  );

const condition = (status: PodStatus | undefined, type: string) => status?.conditions?.find((c) => c.type === type);
const pending = (status: PodStatus | undefined) => condition(status, 'PodResizePending');
const inProgress = (status: PodStatus | undefined) => condition(status, 'PodResizeInProgress');

/** The resize that was asked for last is over and done. */
const whenResized = (name: string, cpu: number) =>
  cluster.whenPod(
    name,
    (s) =>
      quantityMilliValue(s.containerStatuses?.[0]?.resources?.requests?.['cpu'] ?? 0) === cpu &&
      !inProgress(s) &&
      !pending(s),
  );

/** What the kernel has for the pod and for its container: memory limit in bytes, CPU quota and shares. */
async function cgroups(pod: Pod): Promise<{ readonly pod: readonly string[]; readonly container: readonly string[] }> {
  const uid = pod.metadata.uid ?? '';
  const id = containerOf(cluster.pod(pod.metadata.name) ?? pod, 'c')?.containerID?.replace('containerd://', '') ?? '';
  const below = `kubepods/burstable/pod${uid}`;
  const read = async (path: string) => {
    const files = [`memory/${path}/memory.limit_in_bytes`, `cpu/${path}/cpu.cfs_quota_us`, `cpu/${path}/cpu.shares`];
    const text = await cluster.host.exec(
      'cat',
      files.map((f) => `/sys/fs/cgroup/${f}`),
    );
    return text.trim().split('\n');
  };
  return { pod: await read(below), container: await read(`${below}/${id}`) };
}

test('CPU and memory grow and shrink in the cgroups of a container that goes on', async () => {
  const pod = await start('grows', bounds(100, '64Mi'));
  assert.deepEqual((await cgroups(pod)).container, [`${64 * mebi}`, '20000', '102']);
  await resize('grows', bounds(200, '128Mi'));
  const grown = await whenResized('grows', 200);
  const large = [`${128 * mebi}`, '40000', '204'];
  assert.deepEqual(await cgroups(pod), { pod: large, container: large });
  const status = containerOf(grown, 'c');
  assert.deepEqual(
    [status?.resources, status?.allocatedResources],
    [bounds(200, '128Mi'), bounds(200, '128Mi').requests],
  );
  assert.equal(grown.status?.allocatedResources?.['memory'], '128Mi');
  await resize('grows', bounds(50, '32Mi'));
  const shrunk = await whenResized('grows', 50);
  const small = [`${32 * mebi}`, '10000', '51'];
  assert.deepEqual(await cgroups(pod), { pod: small, container: small });
  assert.deepEqual(
    [containerOf(shrunk, 'c')?.restartCount, containerOf(shrunk, 'c')?.containerID],
    [0, containerOf(pod, 'c')?.containerID],
  );
  const resources = '{"limits":{"cpu":"400m","memory":"128Mi"},"requests":{"cpu":"200m","memory":"128Mi"}}';
  const summary = `{"containers":[{"name":"c","resources":${resources}}],"generation":2}`;
  assert.equal((await cluster.whenEvent('grows', 'ResizeStarted')).message, `Pod resize started: ${summary}`);
  assert.equal((await cluster.whenEvent('grows', 'ResizeCompleted')).message, `Pod resize completed: ${summary}`);
});

test('a container whose policy wants it is restarted for new memory, and not for CPU', async () => {
  const resizePolicy = [
    { resourceName: 'memory', restartPolicy: 'RestartContainer' as const },
    { resourceName: 'cpu', restartPolicy: 'NotRequired' as const },
  ];
  const pod = await start('restarts', bounds(100, '64Mi'), { resizePolicy });
  await resize('restarts', bounds(200, '64Mi'));
  assert.equal(containerOf(await whenResized('restarts', 200), 'c')?.restartCount, 0);
  await resize('restarts', bounds(300, '128Mi'));
  const resized = await cluster.whenPod('restarts', (s) => s.containerStatuses?.[0]?.restartCount === 1 && isReady(s));
  await whenResized('restarts', 300);
  assert.deepEqual(await cgroups(resized), {
    pod: [`${128 * mebi}`, '60000', '307'],
    container: [`${128 * mebi}`, '60000', '307'],
  });
  assert.notEqual(containerOf(resized, 'c')?.containerID, containerOf(pod, 'c')?.containerID);
  assert.equal((await cluster.whenEvent('restarts', 'Killing')).message, 'Container c resize requires restart');
});

test('a sidecar is resized beside its pod, and a pod as a whole with the container that leaves its limits to it', async () => {
  const sidecar = { ...sleeper, name: 'side', restartPolicy: 'Always' as const, resources: bounds(50, '32Mi') };
  const whole = bounds(200, '128Mi');
  cluster.createPod('whole', { resources: whole, initContainers: [sidecar], containers: [sleeper] });
  const pod = await cluster.whenPodReady('whole');
  assert.deepEqual(await cgroups(pod), {
    pod: [`${128 * mebi}`, '40000', '204'],
    container: [`${128 * mebi}`, '40000', '409'],
  });
  const wish = { resources: bounds(300, '256Mi'), initContainers: [{ name: 'side', resources: bounds(100, '64Mi') }] };
  await cluster.kubectl('patch', 'pod', 'whole', '--subresource=resize', '--patch', JSON.stringify({ spec: wish }));
  const resized = await cluster.whenPod(
    'whole',
    (s) => s.initContainerStatuses?.[0]?.resources?.requests?.['cpu'] === '100m' && !inProgress(s),
  );
  assert.deepEqual(await cgroups(pod), {
    pod: [`${256 * mebi}`, '60000', '307'],
    container: [`${256 * mebi}`, '60000', '614'],
  });
  assert.deepEqual(resized.status?.allocatedResources, { cpu: '300m', memory: '256Mi' });
  assert.deepEqual(resized.status?.initContainerStatuses?.[0]?.resources, bounds(100, '64Mi'));
  assert.equal(resized.status?.initContainerStatuses?.[0]?.restartCount, 0);
});

test('what the node can never give is infeasible, until something else is asked for', async () => {
  const pod = await start('greedy', requests(100));
  await resize('greedy', requests(1_000_000));
  const { status } = await cluster.whenPod('greedy', (s) => pending(s) !== undefined);
  const { reason, message, observedGeneration } = pending(status) ?? {};
  const text = `Node didn't have enough capacity: cpu, requested: 1000000, capacity: ${room}`;
  assert.deepEqual([reason, message, observedGeneration], ['Infeasible', text, 2]);
  assert.deepEqual(status?.containerStatuses?.[0]?.allocatedResources, { cpu: '100m' });
  assert.equal((await cgroups(pod)).container[2], '102');
  assert.ok((await cluster.whenEvent('greedy', 'ResizeInfeasible')).message.startsWith('Pod resize Infeasible: {'));
  await resize('greedy', requests(200));
  await whenResized('greedy', 200);
});

test('what others hold is waited for, and given when they are gone', async () => {
  await start('big', requests(room - 300));
  const pod = await start('waits', requests(100));
  await resize('waits', requests(500));
  const { status } = await cluster.whenPod('waits', (s) => pending(s) !== undefined);
  const text = `Node didn't have enough resource: cpu, requested: 500, used: ${room - 300}, capacity: ${room}`;
  assert.deepEqual([pending(status)?.reason, pending(status)?.message], ['Deferred', text]);
  await cluster.whenEvent('waits', 'ResizeDeferred');
  await cluster.kubectl('delete', 'pod', 'big', '--wait=false');
  await whenResized('waits', 500);
  assert.equal((await cgroups(pod)).container[2], '512');
});

test('a pod that gives back makes room for one that waits', async () => {
  await start('gives', requests(room - 300));
  await start('takes', requests(100));
  await resize('takes', requests(500));
  await cluster.whenPod('takes', (s) => pending(s)?.reason === 'Deferred');
  await resize('gives', requests(room - 600));
  await whenResized('takes', 500);
});

test('what was granted is what counts after a restart, whatever is asked for meanwhile', async () => {
  await start('holds', requests(room - 300));
  const pod = await start('keeps', requests(100));
  await cluster.keelson.kill('SIGKILL');
  await resize('keeps', requests(900));
  // What is free on the node is not known before the node is.
  using _ = cluster.api.faults.add({
    match: { resource: 'nodes', verb: ['get', 'list'] },
    action: 'delay',
    delayMs: 2_000,
  });
  await cluster.startKeelson();
  const { status } = await cluster.whenPod('keeps', (s) => pending(s) !== undefined);
  assert.equal(pending(status)?.reason, 'Deferred');
  assert.deepEqual(status?.containerStatuses?.[0]?.allocatedResources, { cpu: '100m' });
  assert.equal(status?.containerStatuses?.[0]?.restartCount, 0);
  assert.equal((await cgroups(pod)).container[2], '102');
});

test('memory in use is not taken away, but as soon as it is free, over a restart too', async () => {
  const hoard =
    'dd if=/dev/zero of=/dev/shm/x bs=1048576 count=48; : > /dev/shm/full; trap "exit 0" TERM; while :; do sleep 1; done';
  const readinessProbe = { exec: { command: ['test', '-e', '/dev/shm/full'] }, periodSeconds: 1 };
  const command = ['sh', '-c', hoard];
  const pod = await start('hoards', bounds(100, '96Mi'), { command, readinessProbe });
  await resize('hoards', bounds(100, '24Mi'));
  const { status } = await cluster.whenPod('hoards', (s) => inProgress(s)?.reason === 'Error');
  const each = (what: string) =>
    `attempting to set ${what} memory limit \\(${24 * mebi}\\) below current usage \\(\\d+\\)`;
  const text = new RegExp(`^cannot decrease memory limits: \\[${each('pod')}, ${each('container "c"')}\\]$`);
  assert.match(inProgress(status)?.message ?? '', text);
  assert.equal(containerOf(pod, 'c')?.resources?.limits?.['memory'], '96Mi');
  assert.equal(status?.containerStatuses?.[0]?.resources?.limits?.['memory'], '96Mi');
  assert.equal(status?.containerStatuses?.[0]?.allocatedResources?.['memory'], '24Mi');
  assert.match(
    (await cluster.whenEvent('hoards', 'ResizeError')).message,
    /^Pod resize error: \{.*"error":"cannot decrease/,
  );
  await cluster.keelson.kill('SIGKILL');
  const id = containerOf(pod, 'c')?.containerID?.replace('containerd://', '') ?? '';
  await cluster.host.cri().runtime.execSync(id, ['rm', '/dev/shm/x'], 10, signal);
  await cluster.startKeelson();
  const resized = await cluster.whenPod('hoards', (s) => !inProgress(s));
  assert.equal(containerOf(resized, 'c')?.resources?.limits?.['memory'], '24Mi');
  assert.deepEqual([(await cgroups(pod)).pod[0], (await cgroups(pod)).container[0]], [`${24 * mebi}`, `${24 * mebi}`]);
});

test('a pod for which there is no room fails with the reason', async () => {
  await start('first', requests(room - 100));
  cluster.createPod('second', { containers: [{ ...sleeper, resources: requests(200) }] });
  const { status } = await cluster.whenPod('second', (s) => s.phase === 'Failed');
  assert.equal(status?.reason, 'OutOfcpu');
  const lack = `Node didn't have enough resource: cpu, requested: 200, used: ${room - 100}, capacity: ${room}`;
  assert.equal(status?.message, `Pod was rejected: ${lack}`);
  assert.equal((await cluster.whenEvent('second', 'OutOfcpu')).message, lack);
});

test('a pod that wants a host port which is taken fails with the reason', async () => {
  const ports = [{ containerPort: 80, hostPort: 18_080 }];
  await start('holder', {}, { ports });
  cluster.createPod('intruder', { containers: [{ ...sleeper, ports }] });
  const { status } = await cluster.whenPod('intruder', (s) => s.phase === 'Failed');
  assert.equal(status?.reason, 'NodePorts');
  assert.match(status?.message ?? '', /Predicate NodePorts failed: node\(s\) didn't have free ports/);
});

test('a critical static pod gets the room of a pod that is not', async () => {
  await start('victim', requests(room - 100));
  await start('bystander', requests(50));
  const manifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'vital', namespace: 'default' },
    spec: {
      priorityClassName: 'system-node-critical',
      containers: [{ ...sleeper, resources: requests(500) }],
      terminationGracePeriodSeconds: 1,
    },
  };
  await cluster.host.writeFile('/etc/kubernetes/manifests/vital.yaml', JSON.stringify(manifest));
  const { status } = await cluster.whenPod('victim', (s) => s.phase === 'Failed');
  assert.deepEqual([status?.reason, status?.message], ['Preempting', 'Preempted in order to admit critical pod']);
  const disruption = await cluster.whenPod('victim', (s) => condition(s, 'DisruptionTarget') !== undefined);
  assert.equal(condition(disruption.status, 'DisruptionTarget')?.reason, 'TerminationByKubelet');
  assert.equal((await cluster.whenEvent('victim', 'Preempting')).type, 'Warning');
  await cluster.whenPodReady(`vital-${NODE}`);
  assert.ok(isReady(cluster.pod('bystander')?.status ?? {}));
  await cluster.host.exec('rm', ['/etc/kubernetes/manifests/vital.yaml']);
  await cluster.whenPodGone(`vital-${NODE}`);
});
