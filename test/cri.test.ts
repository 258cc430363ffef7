import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ContainerState, NamespaceMode } from '../src/api/cri.ts';
import { subscribeContainerdEvents } from '../src/cri/containerd-events.ts';
import { createCriClient } from '../src/cri/cri-client.ts';
import { isCriCode } from '../src/cri/services.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { criContract } from './contract/cri-contract.ts';
import { containerConfigOf, sandboxConfigOf } from './host/start-pod.ts';
import { TestHost } from './host/test-host.ts';
import { busyboxImage } from './images/images.ts';

/** Ends with what is written to /code, or with 143 on SIGTERM. */
const STEERED = 'trap "exit 143" TERM; while [ ! -s /code ]; do sleep 0.05; done; exit $(cat /code)';
const IMAGE = 'registry.test/steered:1';
const signal = AbortSignal.timeout(180_000);
let host: TestHost;

before(async () => {
  host = await TestHost.boot('cri', {
    images: [busyboxImage(IMAGE, ['sh', '-c', STEERED]), busyboxImage('docker.io/library/short:1')],
  });
});
after(() => host[Symbol.asyncDispose]());

/** On the host's network: nothing here needs CNI. */
const sandboxConfig = (name: string) => {
  const config = sandboxConfigOf(name);
  const namespaceOptions = { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER };
  return { ...config, hostname: '', linux: { ...config.linux, securityContext: { namespaceOptions } } };
};

criContract('containerd', () => {
  const { runtime, images } = host.cri();
  const exit = async (id: string, code: number) => {
    await runtime.execSync(id, ['sh', '-c', `echo ${code} > /code`], 5, signal);
  };
  return { runtime, images, image: IMAGE, sandboxConfig, exit };
});

function clientFor(endpoint: string, requestTimeoutMs = 5000) {
  const client = createCriClient({ endpoint, requestTimeoutMs, clock: systemClock, log: silentLog });
  return Object.assign(client, { [Symbol.dispose]: client.close });
}

async function startContainer(name: string, command?: readonly string[]): Promise<string> {
  const { runtime } = host.cri();
  const config = sandboxConfig(name);
  const sandboxId = await runtime.runPodSandbox(config, '', signal);
  const options = { name, image: IMAGE, ...(command && { command }) };
  const id = await runtime.createContainer(sandboxId, containerConfigOf(options), config, signal);
  await runtime.startContainer(id, signal);
  return id;
}

test('a command gives its output and exit code', async () => {
  const id = await startContainer('exec-output');
  const command = ['sh', '-c', 'printf out; printf err >&2; exit 3'];
  const { stdout, stderr, exitCode } = await host.cri().runtime.execSync(id, command, 5, signal);
  assert.deepEqual([`${stdout}`, `${stderr}`, exitCode], ['out', 'err', 3]);
});

test('a call past its deadline is DEADLINE_EXCEEDED, an aborted one ends at once with the reason', async () => {
  const id = await startContainer('deadline');
  using client = clientFor(`unix://${host.folder}/run/containerd/containerd.sock`, 100);
  const sleep = (seconds: number, s: AbortSignal) => client.runtime.execSync(id, ['sleep', '100'], seconds, s);
  await assert.rejects(sleep(0.01, signal), (error) => isCriCode(error, 'DEADLINE_EXCEEDED'));
  const caller = new AbortController();
  const running = sleep(100, caller.signal);
  setImmediate(() => caller.abort());
  await assert.rejects(running, { name: 'AbortError' });
});

test('quotas of -1 and large limits arrive as meant', async () => {
  const config = sandboxConfig('numbers');
  const { runtime } = host.cri();
  const sandboxId = await runtime.runPodSandbox(config, '', signal);
  const resources = { cpuShares: 512, cpuPeriod: 100_000, cpuQuota: -1, memoryLimitInBytes: 64 * 2 ** 20 };
  const container = { ...containerConfigOf({ name: 'numbers', image: IMAGE }), linux: { resources } };
  const id = await runtime.createContainer(sandboxId, container, config, signal);
  await runtime.startContainer(id, signal);
  const spec = JSON.parse(await host.exec('ctr', ['-n', 'k8s.io', 'containers', 'info', id])).Spec;
  assert.equal(spec.linux.resources.cpu.quota, -1);
  assert.equal(spec.linux.resources.memory.limit, 64 * 2 ** 20);
});

test('containerd says when containers and sandboxes start and end, and is silent about commands', async () => {
  const endpoint = `unix://${host.folder}/run/containerd/containerd.sock`;
  const stream = subscribeContainerdEvents({ endpoint, clock: systemClock, log: silentLog }, signal);
  const seen: { topic: string; containerId?: string }[] = [];
  const first = stream.next();
  // A subscription has no acknowledgement: containers are started until one is heard of.
  let id = await startContainer('events-0');
  for (let n = 1; ; n++) {
    const heard = await Promise.race([first, delay(200)]);
    if (heard) {
      seen.push(heard.value as { topic: string });
      break;
    }
    id = await startContainer(`events-${n}`);
  }
  const { runtime } = host.cri();
  id = await startContainer('events-last');
  await runtime.execSync(id, ['true'], 5, signal);
  await runtime.execSync(id, ['sh', '-c', 'echo 4 > /code'], 5, signal);
  for await (const event of stream) {
    seen.push(event);
    if (event.topic === '/tasks/delete') break;
  }
  assert.deepEqual(seen.slice(-2), [
    { topic: '/tasks/exit', containerId: id },
    { topic: '/tasks/delete', containerId: id },
  ]);
  assert.ok(seen.some(({ topic, containerId }) => topic === '/tasks/start' && containerId === id));
  assert.equal(seen.filter(({ topic }) => topic === '/tasks/exit').length, 1);
});

test('CRI events are UNIMPLEMENTED in containerd 1.6', async () => {
  const { runtime } = host.cri();
  if (!/^1\.[0-6]\./.test((await runtime.version(signal)).runtimeVersion ?? '')) return;
  const events = runtime.getContainerEvents(signal)[Symbol.asyncIterator]();
  await assert.rejects(events.next(), (error) => isCriCode(error, 'UNIMPLEMENTED'));
});

test('after a restart of containerd the same client goes on, and the containers are still there', async () => {
  const id = await startContainer('restart');
  const { runtime } = host.cri();
  await host.killContainerd();
  await assert.rejects(runtime.version(signal), (error) => isCriCode(error, 'UNAVAILABLE'));
  await host.startContainerd();
  assert.equal((await runtime.containerStatus(id, signal)).state, ContainerState.CONTAINER_RUNNING);
});

test('what is wrong with the socket is said', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'keelson-cri-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'file'), '');
  const talker = createServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  await new Promise<void>((resolve) => talker.listen(join(folder, 'http'), resolve));
  t.after(() => talker.close());
  await symlink(join(host.folder, 'run/containerd/containerd.sock'), join(folder, 'link'));
  const cases = {
    missing: /no such socket/,
    file: /not a socket/,
    http: /does not speak gRPC/,
  };
  for (const [name, message] of Object.entries(cases)) {
    using client = clientFor(`unix://${folder}/${name}`);
    await assert.rejects(client.runtime.version(signal), (error) => {
      assert.ok(isCriCode(error, 'UNAVAILABLE'), String(error));
      assert.match(error.message, message);
      assert.match(error.hint ?? '', /containerRuntimeEndpoint/);
      return true;
    });
  }
  using linked = clientFor(`${folder}/link`);
  await linked.runtime.version(signal);
  assert.throws(() => clientFor('tcp://127.0.0.1:1'), { code: 'BadRuntimeEndpoint' });
});

test('a containerd without CRI is named, with the way to mend it', async () => {
  await using other = await TestHost.create('no-cri');
  const config = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n';
  await other.writeFile('/etc/containerd/config.toml', config);
  await assert.rejects(other.startContainerd(), (error) => {
    assert.ok(isCriCode(error, 'UNIMPLEMENTED'), String(error));
    assert.match(error.message, /is not a CRI v1 runtime/);
    assert.match(error.hint ?? '', /disabled_plugins/);
    return true;
  });
});
