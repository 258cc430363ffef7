import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Container, ContainerStatus, Pod, Volume } from '../src/api/core-v1.ts';
import { Cluster, containerOf } from './host/cluster.ts';
import { BUSYBOX_IMAGE, HTTPD_IMAGE } from './images/images.ts';

/** The order in which containers live and end, on a real containerd. */

const signal = AbortSignal.timeout(600_000);

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('life');
});
after(() => cluster[Symbol.asyncDispose]());

/** Containers write into a folder of the host what they do: a line in the file tells it in the order of time. */
const diary = (pod: string): Volume => ({
  name: 'diary',
  hostPath: { path: `/var/lib/diaries/${pod}`, type: 'DirectoryOrCreate' },
});
const read = (pod: string): string[] =>
  readFileSync(cluster.host.path(`/var/lib/diaries/${pod}/lines`), 'utf8')
    .trim()
    .split('\n');
const says = (text: string) => `echo ${text} >> /diary/lines`;

/** A container that writes down its start and its end, and takes a second for the latter. */
const writer = (name: string, over: Partial<Container> = {}): Container => ({
  name,
  image: BUSYBOX_IMAGE,
  command: [
    'sh',
    '-c',
    `${says(`${name} up`)}; trap '${says(`${name} down`)}; exit 0' TERM; while :; do sleep 0.1; done`,
  ],
  volumeMounts: [{ name: 'diary', mountPath: '/diary' }],
  ...over,
});
/** A container that writes a line and ends. */
const brief = (name: string, code = 0): Container =>
  writer(name, { command: ['sh', '-c', `${says(name)}; exit ${code}`] });
const exec = (script: string) => ({ exec: { command: ['sh', '-c', script] } });

const initStatus = (pod: Pod, name: string): ContainerStatus | undefined =>
  pod.status?.initContainerStatuses?.find((s) => s.name === name);
const idOf = (status: ContainerStatus | undefined): string => status?.containerID?.replace('containerd://', '') ?? '';

async function remove(name: string, ...args: string[]): Promise<void> {
  await cluster.kubectl('delete', 'pod', name, '--wait=false', ...args);
  await cluster.whenPodGone(name);
}

test('init containers, sidecars and containers start in their order, and sidecars end last and backwards', async () => {
  const sidecar = { restartPolicy: 'Always' as const };
  cluster.createPod('order', {
    terminationGracePeriodSeconds: 30,
    initContainers: [
      writer('s1', {
        ...sidecar,
        startupProbe: { ...exec(`sleep 1; ${says('s1 ready')}`), timeoutSeconds: 5, periodSeconds: 1 },
      }),
      brief('i1'),
      writer('s2', { ...sidecar, lifecycle: { postStart: exec(`sleep 1; ${says('s2 ready')}`) } }),
      brief('i2'),
    ],
    containers: [writer('a', { lifecycle: { preStop: exec(says('a leaves')) } }), writer('b')],
    volumes: [diary('order')],
  });
  const pod = await cluster.whenPodReady('order');
  const started = read('order').filter((line) => line !== 's1 ready');
  assert.deepEqual(started.slice(0, 5), ['s1 up', 'i1', 's2 up', 's2 ready', 'i2']);
  assert.deepEqual(started.slice(5).toSorted(), ['a up', 'b up']);
  assert.ok(read('order').indexOf('s1 ready') < read('order').indexOf('i1'));
  assert.deepEqual(
    pod.status?.initContainerStatuses?.map((s) => [s.name, s.started, s.ready]),
    [
      ['s1', true, true],
      ['i1', false, true],
      ['s2', true, true],
      ['i2', false, true],
    ],
  );
  const before = read('order').length;
  await remove('order');
  const ended = read('order').slice(before);
  assert.ok(ended.indexOf('a leaves') < ended.indexOf('a down'), ended.join());
  assert.deepEqual(ended.slice(-2), ['s2 down', 's1 down']);
  assert.equal(ended.length, 5);
});

test('a sidecar that ends is started again, and the containers do not notice', async () => {
  cluster.createPod('sidecar', {
    initContainers: [writer('s', { restartPolicy: 'Always' })],
    containers: [writer('a')],
    volumes: [diary('sidecar')],
  });
  const first = await cluster.whenPodReady('sidecar');
  await cluster.host.cri().runtime.stopContainer(idOf(initStatus(first, 's')), 5, signal);
  const second = await cluster.whenPod('sidecar', (_, pod) => {
    const status = initStatus(pod, 's');
    return status?.restartCount === 1 && status.state?.running !== undefined;
  });
  assert.equal(containerOf(second, 'a')?.containerID, containerOf(first, 'a')?.containerID);
  assert.equal(initStatus(second, 's')?.lastState?.terminated?.exitCode, 0);
  await remove('sidecar', '--grace-period=1');
});

test('sidecars end with a pod whose containers have done their work', async () => {
  cluster.createPod('job', {
    restartPolicy: 'Never',
    initContainers: [writer('s', { restartPolicy: 'Always' })],
    containers: [brief('work')],
    volumes: [diary('job')],
  });
  await cluster.whenPod('job', (s) => s.phase === 'Succeeded');
  assert.deepEqual(read('job'), ['s up', 'work', 's down']);
});

test('an init container that fails for good fails the pod', async () => {
  cluster.createPod('noinit', {
    restartPolicy: 'Never',
    initContainers: [brief('i1'), brief('i2', 5), brief('i3')],
    containers: [brief('a')],
    volumes: [diary('noinit')],
  });
  const pod = await cluster.whenPod('noinit', (s) => s.phase === 'Failed');
  assert.equal(initStatus(pod, 'i2')?.state?.terminated?.exitCode, 5);
  assert.deepEqual(read('noinit'), ['i1', 'i2']);
});

test('an ephemeral container joins a running pod, sees the processes of its target, and is not started again', async () => {
  cluster.createPod('debugged', { containers: [writer('a')], volumes: [diary('debugged')] });
  await cluster.whenPodReady('debugged');
  const look = 'tr "\\\\0" " " < /proc/1/cmdline; exit 3';
  await cluster.kubectl(
    ...['debug', 'debugged', '-c', 'eye', `--image=${BUSYBOX_IMAGE}`, '--image-pull-policy=IfNotPresent'],
    ...['--target=a', '--profile=general', '--', 'sh', '-c', look],
  );
  const ended = (pod: Pod) => pod.status?.ephemeralContainerStatuses?.[0]?.state?.terminated;
  const pod = await cluster.whenPod('debugged', (_, p) => ended(p) !== undefined);
  assert.equal(ended(pod)?.exitCode, 3);
  const log = `/var/log/pods/default_debugged_${pod.metadata.uid}/eye/0.log`;
  assert.match(readFileSync(cluster.host.path(log), 'utf8'), /a up/);
  // Whatever else happens to the pod, the ephemeral container stays as it ended.
  await cluster.host.cri().runtime.stopContainer(idOf(containerOf(pod, 'a')), 5, signal);
  const later = await cluster.whenPod('debugged', (_, p) => containerOf(p, 'a')?.restartCount === 1);
  assert.equal(ended(later)?.containerID, ended(pod)?.containerID);
  await remove('debugged', '--grace-period=1');
});

test('hooks of each kind run, in their container and against its address', async () => {
  cluster.createPod('hooks', {
    containers: [
      { name: 'web', image: HTTPD_IMAGE, ports: [{ name: 'http', containerPort: 8080 }] },
      writer('exec', { lifecycle: { postStart: exec(says('exec hook')), preStop: exec(says('exec leaves')) } }),
      writer('get', {
        ports: [{ name: 'web', containerPort: 8080 }],
        lifecycle: { postStart: { httpGet: { port: 'web', path: '/' } }, preStop: { httpGet: { port: 8080 } } },
      }),
      writer('nap', { lifecycle: { postStart: { sleep: { seconds: 0 } }, preStop: { sleep: { seconds: 1 } } } }),
    ],
    terminationGracePeriodSeconds: 30,
    volumes: [diary('hooks')],
  });
  await cluster.whenPodReady('hooks');
  assert.ok(read('hooks').includes('exec hook'));
  await remove('hooks');
  const ended = read('hooks').slice(-4);
  assert.ok(ended.indexOf('exec leaves') < ended.indexOf('exec down'), ended.join());
  const reasons = cluster.events('hooks').map((e) => e.reason);
  assert.equal(reasons.filter((r) => r.startsWith('Failed')).length, 0, reasons.join());
});

const failingHooks: Record<
  string,
  { readonly hook: NonNullable<Container['lifecycle']>['postStart']; readonly says: RegExp }
> = {
  exec: {
    hook: exec('echo why >&2; exit 4'),
    says: /^Exec lifecycle hook .* exited with 4: why\n, message: "why\\n"$/,
  },
  httpGet: { hook: { httpGet: { port: 9 } }, says: /^HTTP lifecycle hook \(\/?\) .* connection refused$/ },
  tcpSocket: { hook: { tcpSocket: { port: 8080 } }, says: /^Cannot run handler: invalid handler: tcpSocket$/ },
};
for (const [kind, { hook, says: words }] of Object.entries(failingHooks)) {
  test(`a postStart hook that fails (${kind}) kills its container, and says why`, async () => {
    const name = `bad-${kind.toLowerCase()}`;
    const messages = new Set<string>();
    using _ = cluster.api.store.subscribe(() => {
      const waiting = cluster.pod(name)?.status?.containerStatuses?.[0]?.state?.waiting;
      if (waiting?.reason === 'PostStartHookError') messages.add(waiting.message ?? '');
    });
    cluster.createPod(name, {
      restartPolicy: 'Never',
      containers: [writer('c', { lifecycle: { ...(hook ? { postStart: hook } : {}) } })],
      volumes: [diary(name)],
    });
    const pod = await cluster.whenPod(name, (s) => s.phase === 'Succeeded' || s.phase === 'Failed');
    assert.ok(containerOf(pod, 'c')?.state?.terminated);
    assert.equal((await cluster.whenEvent(name, 'FailedPostStartHook')).message, 'PostStartHook failed');
    assert.equal((await cluster.whenEvent(name, 'Killing')).message, 'FailedPostStartHook');
    const logged = await cluster.keelson.waitForLog(
      (line) =>
        line.includes('container does not start') &&
        line.includes('PostStartHookError') &&
        line.includes(pod.metadata.uid ?? '?'),
    );
    const { err } = JSON.parse(logged) as { err: string };
    assert.match(err, words);
    for (const message of messages) assert.match(message, words);
  });
}

test('a preStop hook that fails is told, and the container ends all the same', async () => {
  cluster.createPod('badstop', {
    containers: [writer('c', { lifecycle: { preStop: exec('exit 1') } })],
    volumes: [diary('badstop')],
  });
  await cluster.whenPodReady('badstop');
  await remove('badstop', '--grace-period=5');
  assert.equal((await cluster.whenEvent('badstop', 'FailedPreStopHook')).message, 'PreStopHook failed');
  assert.deepEqual(read('badstop'), ['c up', 'c down']);
});

test('a preStop hook that does not end is cut off with the grace period', async () => {
  cluster.createPod('slowstop', {
    containers: [writer('c', { lifecycle: { preStop: exec(`${says('begins')}; sleep 600; ${says('ends')}`) } })],
    volumes: [diary('slowstop')],
  });
  await cluster.whenPodReady('slowstop');
  await cluster.kubectl('delete', 'pod', 'slowstop', '--wait=false', '--grace-period=600');
  await cluster.whenEvent('slowstop', 'Killing');
  // The second deletion shortens what the first one granted.
  await remove('slowstop', '--grace-period=2');
  const lines = read('slowstop');
  assert.ok(lines.includes('begins') && lines.includes('c down') && !lines.includes('ends'), lines.join());
});

test('a container that fails its liveness probe is killed with preStop and started again', async () => {
  const script = `if [ -e /diary/sick ]; then exit 1; fi`;
  cluster.createPod('alive', {
    terminationGracePeriodSeconds: 30,
    containers: [
      writer('c', {
        lifecycle: { preStop: exec(`${says('leaves')}; rm -f /diary/sick`) },
        livenessProbe: { ...exec(script), periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 5 },
      }),
    ],
    volumes: [diary('alive')],
  });
  await cluster.whenPodReady('alive');
  await cluster.host.writeFile('/var/lib/diaries/alive/sick', '');
  await cluster.whenPod('alive', (_, pod) => containerOf(pod, 'c')?.restartCount === 1);
  assert.equal(
    (await cluster.whenEvent('alive', 'Killing')).message,
    'Container c failed liveness probe, will be restarted',
  );
  await cluster.whenPodReady('alive');
  assert.deepEqual(read('alive'), ['c up', 'leaves', 'c down', 'c up']);
  await remove('alive', '--grace-period=1');
});

test('a pod ends when its time is over', async () => {
  cluster.createPod('deadline', {
    activeDeadlineSeconds: 3,
    containers: [writer('c')],
    volumes: [diary('deadline')],
  });
  const pod = await cluster.whenPod(
    'deadline',
    (s, p) => s.phase === 'Failed' && containerOf(p, 'c')?.state?.terminated !== undefined,
  );
  const message = 'Pod was active on the node longer than the specified deadline';
  assert.deepEqual([pod.status?.reason, pod.status?.message], ['DeadlineExceeded', message]);
  const event = await cluster.whenEvent('deadline', 'DeadlineExceeded');
  assert.deepEqual([event.type, event.message], ['Normal', message]);
  assert.deepEqual(read('deadline'), ['c up', 'c down']);
});

test('a restart rule starts again what its policy would leave, and only for its code', async () => {
  const script = `${says('run')}; [ "$(wc -l < /diary/lines)" -ge 3 ] && exit 1; exit 42`;
  const exitCodes = { operator: 'In' as const, values: [42] };
  cluster.createPod('rules', {
    restartPolicy: 'Never',
    containers: [
      writer('c', {
        command: ['sh', '-c', script],
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'Restart', exitCodes }],
      }),
    ],
    volumes: [diary('rules')],
  });
  const pod = await cluster.whenPod('rules', (s) => s.phase === 'Failed');
  assert.equal(containerOf(pod, 'c')?.restartCount, 2);
  assert.equal(containerOf(pod, 'c')?.state?.terminated?.exitCode, 1);
});

test('a rule that asks for all lets the pod begin anew in its sandbox', async () => {
  const script = `${says('a')}; [ "$(grep -c '^a$' /diary/lines)" -ge 2 ] && sleep 3600; exit 42`;
  const exitCodes = { operator: 'In' as const, values: [42] };
  cluster.createPod('anew', {
    restartPolicy: 'Never',
    initContainers: [brief('i')],
    containers: [
      writer('a', {
        command: ['sh', '-c', script],
        restartPolicy: 'Never',
        restartPolicyRules: [{ action: 'RestartAllContainers', exitCodes }],
      }),
    ],
    volumes: [diary('anew')],
  });
  const pod = await cluster.whenPod('anew', (_, p) => {
    const status = containerOf(p, 'a');
    return status?.restartCount === 1 && status.state?.running !== undefined;
  });
  assert.deepEqual(read('anew'), ['i', 'a', 'i', 'a']);
  assert.equal(initStatus(pod, 'i')?.restartCount, 1);
  const labelSelector = { 'io.kubernetes.pod.uid': pod.metadata.uid ?? '' };
  assert.equal((await cluster.host.cri().runtime.listPodSandbox({ labelSelector }, signal)).length, 1);
  await remove('anew', '--grace-period=1');
});

test('a pod that is deleted by force is gone from the API at once, and from the node after it', async () => {
  cluster.createPod('forced', { containers: [writer('c')], volumes: [diary('forced')] });
  const { metadata } = await cluster.whenPodReady('forced');
  await cluster.kubectl('delete', 'pod', 'forced', '--force', '--grace-period=0', '--wait=false');
  assert.equal(cluster.pod('forced'), undefined);
  await cluster.keelson.waitForLog((line) => line.includes('pod purged') && line.includes(metadata.uid ?? '?'));
  assert.deepEqual(read('forced'), ['c up', 'c down']);
});

test('a container whose postStart hook was cut off by a restart of keelson is taken for started', async () => {
  cluster.createPod('cutoff', {
    containers: [writer('c', { lifecycle: { postStart: exec(`${says('hook')}; sleep 3600`) } })],
    volumes: [diary('cutoff')],
  });
  await cluster.keelson.waitForLog(
    (line) => line.includes('container started') && line.includes(cluster.pod('cutoff')?.metadata.uid ?? '?'),
  );
  assert.equal(cluster.pod('cutoff')?.status?.containerStatuses?.[0]?.started ?? false, false);
  await cluster.keelson.kill('SIGTERM');
  await cluster.startKeelson();
  const pod = await cluster.whenPodReady('cutoff');
  assert.equal(containerOf(pod, 'c')?.restartCount, 0);
  await remove('cutoff', '--grace-period=1');
});
