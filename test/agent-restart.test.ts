import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ContainerState, PodSandboxState } from '../src/api/cri.ts';
import { LEASES, NODES, PODS } from './apiserver/kinds.ts';
import { Cluster, containerOf, isReady, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';

/** What must survive: keelson killed at any moment, the runtime restarted, the API server away. */

const sleeper = {
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'],
};
const signal = AbortSignal.timeout(900_000);

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('restart');
});
after(() => cluster[Symbol.asyncDispose]());

/** Running containers and ready sandboxes by pod name. */
async function running(): Promise<Map<string, { containers: string[]; sandboxes: string[] }>> {
  const { runtime } = cluster.host.cri();
  const found = new Map<string, { containers: string[]; sandboxes: string[] }>();
  const of = (labels: Readonly<Record<string, string>> | undefined) => {
    const name = labels?.['io.kubernetes.pod.name'] ?? '?';
    const entry = found.get(name) ?? { containers: [], sandboxes: [] };
    found.set(name, entry);
    return entry;
  };
  for (const s of await runtime.listPodSandbox({ state: { state: PodSandboxState.SANDBOX_READY } }, signal))
    of(s.labels).sandboxes.push(s.id ?? '');
  for (const c of await runtime.listContainers({ state: { state: ContainerState.CONTAINER_RUNNING } }, signal))
    of(c.labels).containers.push(c.id ?? '');
  return found;
}

test('a stop leaves pods running, and a start adopts them without a restart', async () => {
  for (const name of ['stay-1', 'stay-2']) cluster.createPod(name, { containers: [sleeper] });
  const before = await Promise.all(['stay-1', 'stay-2'].map((name) => cluster.whenPodReady(name)));
  const transition = (pod: (typeof before)[number] | undefined) =>
    pod?.status?.conditions?.find((c) => c.type === 'Ready')?.lastTransitionTime;
  await cluster.keelson.kill('SIGTERM');
  assert.equal((await running()).size, 2);
  await cluster.startKeelson();
  cluster.createPod('fresh', { containers: [sleeper] });
  await cluster.whenPodReady('fresh');
  for (const pod of before) {
    const now = cluster.pod(pod.metadata.name);
    assert.equal(containerOf(now ?? pod, 'c')?.containerID, containerOf(pod, 'c')?.containerID);
    assert.equal(containerOf(now ?? pod, 'c')?.restartCount, 0);
    assert.equal(transition(now), transition(pod), 'the pod never turned NotReady');
  }
});

test('killed at ten random moments while pods start and stop: nothing doubled, nothing left over', async () => {
  let made = 0;
  const create = () => cluster.createPod(`kill-${made++}`, { containers: [sleeper, { ...sleeper, name: 'd' }] });
  const names = () =>
    cluster.api.store
      .list(PODS)
      .map((p) => p.metadata.name)
      .filter((n) => n.startsWith('kill-'));
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 2; i++) create();
    const oldest = names()[0];
    if (round > 1 && oldest) await cluster.kubectl('delete', 'pod', oldest, '--wait=false', '--grace-period=1');
    // The moment is the point of this test: anywhere between the first call and the last.
    await delay(randomInt(0, 700));
    await cluster.keelson.kill('SIGKILL');
    cluster.launchKeelson();
  }
  await cluster.whenNodeReady();
  const live = names().filter((name) => !cluster.pod(name)?.metadata.deletionTimestamp);
  for (const name of live) await cluster.whenPodReady(name, 120_000);
  for (const name of names().filter((n) => !live.includes(n))) await cluster.whenPodGone(name);
  const found = await running();
  for (const name of live) {
    assert.deepEqual([found.get(name)?.sandboxes.length, found.get(name)?.containers.length], [1, 2], name);
  }
  assert.deepEqual([...found.keys()].filter((n) => n.startsWith('kill-')).sort(), live.sort());
  await cluster.kubectl('delete', 'pods', '--all', '--grace-period=1', '--wait=false');
  for (const name of names()) await cluster.whenPodGone(name);
});

test('containerd restarted: pods go on, the node stays, new pods start', async () => {
  cluster.createPod('through', { containers: [sleeper] });
  const before = await cluster.whenPodReady('through');
  await cluster.host.killContainerd();
  cluster.createPod('during', { containers: [sleeper] });
  await cluster.keelson.waitForLog(/container runtime does not answer|cannot list the runtime/);
  await cluster.host.startContainerd();
  await cluster.whenPodReady('during');
  const after = cluster.pod('through') ?? before;
  assert.equal(containerOf(after, 'c')?.containerID, containerOf(before, 'c')?.containerID);
  assert.ok(isReady(after.status ?? {}));
});

test('the API server gone for a minute: pods go on, then everything catches up', async () => {
  cluster.createPod('lonely', {
    restartPolicy: 'Always',
    containers: [{ ...sleeper, command: ['sh', '-c', 'sleep 8; exit 0'] }],
  });
  await cluster.whenPodReady('lonely');
  await cluster.api.close();
  const { runtime } = cluster.host.cri();
  const uid = cluster.pod('lonely')?.metadata.uid ?? '';
  const attempts = async () =>
    (await runtime.listContainers({ labelSelector: { 'io.kubernetes.pod.uid': uid } }, signal)).map(
      (c) => c.metadata?.attempt ?? 0,
    );
  // The outage is what is tested; that pods are looked after meanwhile shows in the restart.
  await delay(60_000);
  assert.ok(Math.max(...(await attempts())) >= 1, 'the container was restarted without the API server');
  const renewed = () =>
    (cluster.api.store.get(LEASES, 'kube-node-lease', NODE)?.['spec'] as { renewTime?: string } | undefined)?.renewTime;
  const before = renewed();
  await cluster.api.listen();
  await cluster.api.until(LEASES, 'kube-node-lease', NODE, () => renewed() !== before, AbortSignal.timeout(60_000));
  await cluster.whenPod('lonely', (s) => (s.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
  cluster.createPod('after', { containers: [sleeper] });
  await cluster.whenPodReady('after');
});

test('a Node deleted behind its back is registered again', async () => {
  const { uid } = cluster.api.store.get(NODES, undefined, NODE)?.metadata ?? {};
  await cluster.kubectl('delete', 'node', NODE, '--wait=false');
  await cluster.api.until(
    NODES,
    undefined,
    NODE,
    (n) => n !== undefined && n.metadata.uid !== uid,
    AbortSignal.timeout(60_000),
  );
  await cluster.whenNodeReady();
});

test("a second keelson on the same root directory is refused, with the first one's process id", async () => {
  const second = cluster.host.startKeelson(['--config=/etc/keelson/config.yaml']);
  await second.waitForLog(/root directory|locked|another/i);
  const { code } = await second.exited;
  assert.notEqual(code, 0);
  assert.ok(cluster.keelson.running);
});
