import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir, rename, rm } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { CONFIG_MAPS, PODS } from './apiserver/kinds.ts';
import { Cluster, containerOf, isReady, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxImage } from './images/images.ts';
import { TestRegistry } from './images/registry.ts';

/** A pod's whole life on one node with a real containerd and an API server in between. */

const registry = 'registry.test:5000';
const sleeper = {
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'],
};
const signal = AbortSignal.timeout(600_000);

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('pods', { registries: [registry], kubelet: 'fileCheckFrequency: 1s' });
});
after(() => cluster[Symbol.asyncDispose]());

/** The container's log as soon as `last` is in it: a container that runs has not said everything yet. */
const log = async (pod: string, last: string, container = 'c'): Promise<string> => {
  const uid = cluster.pod(pod)?.metadata.uid;
  const file = `/var/log/pods/default_${pod}_${uid}/${container}/0.log`;
  const script = `until grep -q -e "$0" "$1"; do sleep 0.05; done; cat "$1"`;
  const text = await cluster.host.exec('sh', ['-c', script, last, file], { timeoutMs: 20_000 });
  return text.replaceAll(/^\S+ (stdout|stderr) F /gm, '');
};

const lines = (text: string): string[] => text.trim().split('\n').filter(Boolean);

test('the node registers with what a control plane expects', async () => {
  const node = JSON.parse(await cluster.kubectl('get', 'node', NODE, '-o', 'json'));
  assert.match(node.status.nodeInfo.kubeletVersion, /^v1\.36\.2\+keelson\./);
  assert.equal(node.status.nodeInfo.containerRuntimeVersion.split('://')[0], 'containerd');
  assert.equal(node.metadata.labels['kubernetes.io/hostname'], NODE);
  assert.ok(node.status.images.some((i: { names: string[] }) => i.names.includes(BUSYBOX_IMAGE)));
  assert.deepEqual(
    node.status.addresses.map((a: { type: string; address: string }) => `${a.type} ${a.address}`),
    [`InternalIP ${cluster.host.nodeIp}`, `Hostname ${NODE}`],
  );
});

test('a pod goes from the API server to Ready and back to gone, and leaves nothing behind', async () => {
  cluster.createPod('whole', {
    initContainers: [
      {
        name: 'first',
        image: BUSYBOX_IMAGE,
        command: ['sh', '-c', 'echo made > /work/by-init'],
        resources: { limits: { cpu: '100m', memory: '32Mi' } },
        volumeMounts: [{ name: 'work', mountPath: '/work' }],
      },
    ],
    containers: [
      {
        ...sleeper,
        command: [
          'sh',
          '-c',
          'cat /work/by-init; echo $GREETING; hostname; trap "exit 0" TERM; while :; do sleep 1; done',
        ],
        env: [
          { name: 'WHO', value: 'world' },
          { name: 'GREETING', value: 'hello $(WHO)' },
        ],
        resources: { limits: { cpu: '100m', memory: '32Mi' } },
        volumeMounts: [{ name: 'work', mountPath: '/work' }],
      },
    ],
    volumes: [{ name: 'work', emptyDir: {} }],
  });
  const pod = await cluster.whenPodReady('whole');
  const { uid } = pod.metadata;
  assert.equal(pod.status?.phase, 'Running');
  assert.equal(pod.status?.qosClass, 'Guaranteed');
  assert.match(pod.status?.podIP ?? '', /^10\.244\.1\./);
  assert.equal(pod.status?.initContainerStatuses?.[0]?.state?.terminated?.reason, 'Completed');
  assert.deepEqual(lines(await log('whole', ' F whole$')), ['made', 'hello world', 'whole']);
  const cgroup = `/sys/fs/cgroup/memory/kubepods/pod${uid}`;
  assert.equal((await cluster.host.exec('cat', [`${cgroup}/memory.limit_in_bytes`])).trim(), String(32 << 20));

  await cluster.kubectl('delete', 'pod', 'whole', '--wait=false');
  await cluster.whenPodGone('whole');
  const { runtime } = cluster.host.cri();
  const left = () => runtime.listPodSandbox({ labelSelector: { 'io.kubernetes.pod.uid': uid ?? '' } }, signal);
  // The API object goes first: its name is free as soon as nothing runs. The traces follow.
  await cluster.keelson.waitForLog((line) => line.includes('purged') && line.includes(uid ?? 'none'));
  assert.deepEqual(await left(), []);
  assert.ok(!existsSync(cluster.host.path(cgroup)));
  assert.ok(!existsSync(cluster.host.path(`/var/lib/kubelet/pods/${uid}`)));
  assert.ok(!existsSync(cluster.host.path(`/var/log/pods/default_whole_${uid}`)));
});

test('the events of a pod are those that kubelet writes', async () => {
  cluster.createPod('told', { containers: [sleeper] });
  await cluster.whenPodReady('told');
  await cluster.whenEvent('told', 'Started');
  const told = cluster.events('told').map((e) => `${e.type} ${e.reason} ${e.message} ${e.involvedObject.fieldPath}`);
  assert.deepEqual(told.sort(), [
    'Normal Created Container created spec.containers{c}',
    `Normal Pulled Container image "${BUSYBOX_IMAGE}" already present on machine and can be accessed by the pod spec.containers{c}`,
    'Normal Started Container started spec.containers{c}',
  ]);
});

test('a ConfigMap and a service account token are seen inside, and changes follow', async () => {
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'cm', namespace: 'default' },
    data: { color: 'blue' },
  });
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'sec', namespace: 'default' },
    data: { password: btoa('s3cret') },
  });
  const token = '/var/run/secrets/kubernetes.io/serviceaccount';
  const script = `cat /cm/color; echo; cat /sec/password; echo; cat ${token}/namespace; echo; wc -c < ${token}/token; head -1 ${token}/ca.crt
    while [ "$(cat /cm/color)" != green ]; do sleep 0.1; done; echo changed; trap "exit 0" TERM; while :; do sleep 1; done`;
  cluster.createPod('inside', {
    containers: [
      {
        ...sleeper,
        command: ['sh', '-c', script],
        volumeMounts: [
          { name: 'cm', mountPath: '/cm' },
          { name: 'sec', mountPath: '/sec' },
        ],
      },
    ],
    volumes: [
      { name: 'cm', configMap: { name: 'cm' } },
      { name: 'sec', secret: { secretName: 'sec' } },
    ],
  });
  await cluster.whenPodReady('inside');
  const [color, password, namespace, size, ca] = lines(await log('inside', 'BEGIN CERTIFICATE'));
  assert.deepEqual([color, password, namespace, ca], ['blue', 's3cret', 'default', '-----BEGIN CERTIFICATE-----']);
  assert.ok(Number(size) > 100, `token of ${size} bytes`);
  const cm = cluster.api.store.get(CONFIG_MAPS, 'default', 'cm');
  assert.ok(cm);
  await cluster.kubectl('patch', 'configmap', 'cm', '--type=merge', '-p', '{"data":{"color":"green"}}');
  await cluster.host.exec(
    'sh',
    ['-c', `until grep -q changed /var/log/pods/default_inside_*/c/0.log; do sleep 0.1; done`],
    { timeoutMs: 20_000 },
  );
});

test('a pod whose ConfigMap is missing says so, and starts when it appears', async () => {
  cluster.createPod('waits', {
    containers: [{ ...sleeper, volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
    volumes: [{ name: 'v', configMap: { name: 'late' } }],
  });
  const event = await cluster.whenEvent('waits', 'FailedMount');
  assert.match(event.message, /MountVolume.SetUp failed for volume "v" : configmap "late" not found/);
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'late', namespace: 'default' },
    data: {},
  });
  await cluster.whenPodReady('waits');
});

test('a container that keeps failing is restarted, then backs off', async () => {
  cluster.createPod('crash', {
    containers: [{ ...sleeper, command: ['sh', '-c', 'echo bad > /dev/termination-log; exit 3'] }],
  });
  const pod = await cluster.whenPod(
    'crash',
    (s) => s.containerStatuses?.[0]?.state?.waiting?.reason === 'CrashLoopBackOff',
  );
  const status = containerOf(pod, 'c');
  assert.equal(status?.restartCount, 1);
  assert.equal(status?.lastState?.terminated?.exitCode, 3);
  assert.equal(status?.lastState?.terminated?.message, 'bad\n');
  assert.match(
    status?.state?.waiting?.message ?? '',
    /^back-off 10s restarting failed container=c pod=crash_default\(/,
  );
  assert.equal(
    (await cluster.whenEvent('crash', 'BackOff')).message,
    `Back-off restarting failed container c in pod crash_default(${pod.metadata.uid})`,
  );
  await cluster.whenPod('crash', (s) => (s.containerStatuses?.[0]?.restartCount ?? 0) >= 2);
});

test('a pod that ends is Succeeded or Failed, with what its containers left behind', async () => {
  cluster.createPod('ends', {
    restartPolicy: 'Never',
    containers: [
      { name: 'ok', image: BUSYBOX_IMAGE, command: ['true'] },
      {
        name: 'bad',
        image: BUSYBOX_IMAGE,
        command: ['sh', '-c', 'echo boom; exit 7'],
        terminationMessagePolicy: 'FallbackToLogsOnError',
      },
    ],
  });
  const pod = await cluster.whenPod('ends', (s) => s.phase === 'Failed');
  assert.deepEqual(
    pod.status?.containerStatuses?.map((s) => [s.name, s.state?.terminated?.exitCode, s.state?.terminated?.message]),
    [
      ['bad', 7, 'boom\n'],
      ['ok', 0, undefined],
    ],
  );
});

test('an image that does not exist is named, with the reason', async () => {
  cluster.createPod('noimage', { containers: [{ name: 'c', image: `${registry}/no/such:1` }] });
  const pod = await cluster.whenPod('noimage', (s) =>
    /ErrImagePull|ImagePullBackOff/.test(s.containerStatuses?.[0]?.state?.waiting?.reason ?? ''),
  );
  assert.equal(pod.status?.phase, 'Pending');
  assert.match((await cluster.whenEvent('noimage', 'Failed')).message, /no\/such:1|ErrImagePull/);
});

test("an image behind credentials is pulled with the pod's secret, and not without", async () => {
  const image = `${registry}/team/app:1`;
  using server = new TestRegistry({
    listener: await cluster.host.listen(5000),
    // Not the image that the other pods run under another name: who may have that would be decided here too.
    images: [busyboxImage(image, ['true'])],
    credentials: { username: 'bob', password: 's3cret' },
  }).start();
  const auths = { [registry]: { username: 'bob', password: 's3cret' } };
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'pull', namespace: 'default' },
    type: 'kubernetes.io/dockerconfigjson',
    data: { '.dockerconfigjson': btoa(JSON.stringify({ auths })) },
  });
  cluster.createPod('stranger', { containers: [{ ...sleeper, image }] });
  await cluster.whenPod('stranger', (s) => s.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImagePull');
  assert.ok(server.denied > 0);
  cluster.createPod('friend', { containers: [{ ...sleeper, image }], imagePullSecrets: [{ name: 'pull' }] });
  await cluster.whenPodReady('friend');
  assert.match((await cluster.whenEvent('friend', 'Pulled')).message, /^Successfully pulled image/);
});

test('a pod with an unknown volume says which, and harms nobody', async () => {
  cluster.createPod('odd', {
    containers: [{ ...sleeper, volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
    volumes: [{ name: 'v', glusterfs: {} }],
  });
  assert.match((await cluster.whenEvent('odd', 'FailedMount')).message, /glusterfs/);
  cluster.createPod('even', { containers: [sleeper] });
  await cluster.whenPodReady('even');
});

test("a command that does not exist is a RunContainerError in upstream's words", async () => {
  cluster.createPod('nostart', { containers: [{ name: 'c', image: BUSYBOX_IMAGE, command: ['/no/such/binary'] }] });
  const pod = await cluster.whenPod('nostart', (s) =>
    /RunContainerError|CrashLoopBackOff/.test(s.containerStatuses?.[0]?.state?.waiting?.reason ?? ''),
  );
  assert.match(
    (await cluster.whenEvent('nostart', 'Failed')).message,
    /^Error: failed to create containerd task: .*no such file or directory/,
  );
  assert.ok(pod);
});

test('a pod that does not fit is refused with the reason', async () => {
  cluster.createPod('huge', { containers: [{ ...sleeper, resources: { requests: { memory: '100Ti' } } }] });
  const pod = await cluster.whenPod('huge', (s) => s.phase === 'Failed');
  assert.equal(pod.status?.reason, 'OutOfmemory');
});

test("a host-network pod has the node's address", async () => {
  cluster.createPod('hostnet', { hostNetwork: true, containers: [sleeper] });
  const pod = await cluster.whenPodReady('hostnet');
  assert.equal(pod.status?.podIP, cluster.host.nodeIp);
});

test('a force deletion ends a pod that ignores signals', async () => {
  cluster.createPod('stubborn', {
    terminationGracePeriodSeconds: 3600,
    containers: [{ ...sleeper, command: ['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'] }],
  });
  await cluster.whenPodReady('stubborn');
  await cluster.kubectl('delete', 'pod', 'stubborn', '--wait=false');
  await cluster.kubectl('delete', 'pod', 'stubborn', '--wait=false', '--grace-period=1');
  await cluster.whenPodGone('stubborn');
});

test('static pods: mirrored, replaced, removed; a broken file is named and the others go on', async () => {
  const dir = '/etc/kubernetes/manifests';
  const manifest = (name: string, greeting: string) => `apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: ${BUSYBOX_IMAGE}
    command: [sh, -c, 'echo ${greeting}; trap "exit 0" TERM; while :; do sleep 1; done']
`;
  // A file that is half written would be named as a broken one.
  const place = async (name: string, text: string) => {
    await cluster.host.writeFile(`${dir}/.new`, text);
    await rename(cluster.host.path(`${dir}/.new`), cluster.host.path(`${dir}/${name}`));
  };
  await place('one.yaml', manifest('one', 'first'));
  const first = await cluster.whenPodReady(`one-${NODE}`);
  assert.equal(first.metadata.annotations?.['kubernetes.io/config.source'], 'file');
  assert.ok(first.metadata.annotations?.['kubernetes.io/config.mirror']);

  await place('broken.yaml', 'apiVersion: v1\n\tkind: Pod\n');
  await cluster.keelson.waitForLog(/broken\.yaml/);
  assert.match((await cluster.whenEvent(NODE, 'FailedValidation')).message, /broken\.yaml:2/);
  await place('two.yaml', manifest('two', 'second'));
  await cluster.whenPodReady(`two-${NODE}`);

  await cluster.kubectl('delete', 'pod', `one-${NODE}`, '--wait=false');
  const again = await cluster.whenPod(`one-${NODE}`, (s, pod) => pod.metadata.uid !== first.metadata.uid && isReady(s));
  assert.equal(
    containerOf(again, 'c')?.containerID,
    containerOf(first, 'c')?.containerID,
    'deleting the mirror restarts nothing',
  );

  await place('one.yaml', manifest('one', 'changed'));
  const replaced = await cluster.whenPod(
    `one-${NODE}`,
    (s) => isReady(s) && s.containerStatuses?.[0]?.containerID !== containerOf(first, 'c')?.containerID,
  );
  assert.ok(replaced);

  await rm(cluster.host.path(`${dir}/two.yaml`));
  await cluster.whenPodGone(`two-${NODE}`);
  await rm(cluster.host.path(`${dir}/one.yaml`));
  await cluster.whenPodGone(`one-${NODE}`);
  await rm(cluster.host.path(`${dir}/broken.yaml`));
});

test('after all pods are deleted, no container, folder or cgroup of theirs is left', async () => {
  await cluster.kubectl('delete', 'pods', '--all', '--grace-period=1', '--wait=false');
  for (const pod of cluster.api.store.list(PODS)) await cluster.whenPodGone(pod.metadata.name);
  const { runtime } = cluster.host.cri();
  const none = async () =>
    (await runtime.listPodSandbox({}, signal)).length === 0 &&
    (await readdir(cluster.host.path('/var/lib/kubelet/pods'))).length === 0;
  while (!(await none())) await cluster.keelson.waitForLog(/purged/, { from: cluster.keelson.lines.length });
  assert.deepEqual(await readdir(cluster.host.path('/var/log/pods')), []);
  assert.deepEqual(await readdir(cluster.host.path('/var/log/containers')), []);
});
