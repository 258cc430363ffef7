import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { ContainerState } from '../src/api/cri.ts';
import { isCriCode } from '../src/cri/services.ts';
import { cleanUpDeadRuns, remains } from './host/cleanup.ts';
import { startPod } from './host/start-pod.ts';
import { connectHosts, TestHost } from './host/test-host.ts';
import { busyboxImage, HTTPD_IMAGE, httpdImage } from './images/images.ts';
import { TestRegistry } from './images/registry.ts';

const signal = AbortSignal.timeout(120_000);

test('two hosts reach each other over their cable and nothing else', async () => {
  await using left = await TestHost.create('left', { nodeIp: '192.0.2.2', podCidr: '10.244.1.0/24' });
  await using right = await TestHost.create('right', { nodeIp: '192.0.2.3', podCidr: '10.244.2.0/24' });
  await assert.rejects(left.exec('busybox', ['ping', '-c1', '-W1', right.nodeIp]));
  await connectHosts(left, right);
  await left.exec('busybox', ['ping', '-c1', '-W5', right.nodeIp]);
  await right.exec('busybox', ['ping', '-c1', '-W5', left.nodeIp]);
  assert.equal((await right.exec('hostname')).trim(), 'right');
});

test('containers run inside, answer on the pod network, and leave nothing behind', async () => {
  const host = await TestHost.boot('pods', { images: [httpdImage()] });
  try {
    await host.configureNetwork();
    const pod = await startPod(host, { name: 'web', image: HTTPD_IMAGE });
    assert.match(pod.ip, /^10\.244\.1\./);
    assert.equal((await host.get(`http://${pod.ip}:8080/`)).trim(), 'web');
    assert.ok(
      existsSync(host.path('/sys/fs/cgroup/memory/test/web')) || existsSync(host.path('/sys/fs/cgroup/test/web')),
    );
    await host.restartContainerd();
    const { state } = await host.cri().runtime.containerStatus(pod.containerId, signal);
    assert.equal(state, ContainerState.CONTAINER_RUNNING);
  } finally {
    await host[Symbol.asyncDispose]();
  }
  assert.deepEqual(remains(host.id), []);
  assert.ok(!existsSync(`/proc/${host.pid}`));
  await host[Symbol.asyncDispose]();
});

test('images come from the registry, with the credentials it asks for', async () => {
  const registry = 'registry.test:5000';
  const image = `${registry}/team/app:1`;
  await using host = await TestHost.create('pull', { registries: [registry] });
  await host.startContainerd();
  using server = new TestRegistry({
    listener: await host.listen(5000),
    images: [busyboxImage(image)],
    credentials: { username: 'bob', password: 's3cret' },
  }).start();
  const { images } = host.cri();
  await assert.rejects(images.pullImage({ image }, undefined, {}, signal), /401 Unauthorized|authorization failed/);
  assert.ok(server.denied > 0);
  const auth = { username: 'bob', password: 's3cret' };
  const reference = await images.pullImage({ image }, auth, {}, signal);
  assert.deepEqual((await images.imageStatus({ image: reference }, signal))?.repoTags, [image]);
  assert.equal(server.resolved.get('team/app:1'), 1);
  await assert.rejects(images.pullImage({ image: `${registry}/team/none:1` }, auth, {}, signal), (error) =>
    isCriCode(error, 'NOT_FOUND'),
  );
});

test('a port inside is reached from the test process, and one where nobody listens says so', async () => {
  await using host = await TestHost.create('dial');
  const listener = await host.listen(5000);
  listener.on('connection', (socket) => socket.end('hello'));
  const socket = await host.connect(5000);
  assert.equal(await text(socket), 'hello');
  await assert.rejects(host.connect(5001), /ECONNREFUSED/);
});

test('what a killed test process leaves is removed by the next one', async () => {
  const script = `
    const { TestHost } = await import(${JSON.stringify(new URL('./host/test-host.ts', import.meta.url).href)});
    const host = await TestHost.create('lost');
    await host.startContainerd();
    console.log(host.id, host.pid);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [printed] = (await once(child.stdout, 'data')) as [Buffer];
  const [id = '', pid = ''] = printed.toString().trim().split(' ');
  assert.notDeepEqual(remains(id), []);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await cleanUpDeadRuns();
  assert.deepEqual(remains(id), []);
  assert.ok(!existsSync(`/proc/${pid}/ns`));
});

test('a process inside is signalled itself, and what it prints can be waited for', async () => {
  await using host = await TestHost.create('daemon');
  const script = 'trap "echo bye; exit 5" TERM; echo "root is $PWD as $NAME"; while :; do sleep 0.05; done';
  const daemon = host.spawn('daemon', ['sh', '-c', script], { NAME: 'x' });
  assert.match(await daemon.waitForLog(/root is/), / as x$/);
  await daemon.kill('SIGTERM');
  assert.deepEqual(await daemon.exited, { code: 5, signal: null });
  await daemon.waitForLog(/^bye$/);
  const next = host.spawn('daemon', ['sh', '-c', 'echo up; sleep 100']);
  await next.waitForLog(/^up$/);
  await next.kill('SIGKILL');
  assert.deepEqual(await next.exited, { code: null, signal: 'SIGKILL' });
  await assert.rejects(next.waitForLog(/never/), /daemon ended/);
});
