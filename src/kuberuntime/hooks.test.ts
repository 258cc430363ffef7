import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { Container, LifecycleHandler, Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { FakeEventSink } from '../kubeapi/fake-event-sink.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { runPod, testImage } from '../testing/runtime-pods.ts';
import { HookRunner } from './hooks.ts';

const signal = new AbortController().signal;
const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid: 'u1' }, spec: { containers: [] } };
const container: Container = { name: 'c', ports: [{ name: 'web', containerPort: 8080 }] };
const failure = (kind: string, what: string) =>
  `${kind} lifecycle hook (${what}) for Container "c" in Pod "p_ns(u1)" failed - error: `;

async function setUp() {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [testImage] });
  const events = new FakeEventSink();
  const hooks = new HookRunner({ runtime: fake.runtime, clock, events });
  const { containers } = await runPod(fake, podUid('u1'), ['c']);
  const id = containers[0] ?? '';
  const run = (handler: LifecycleHandler, podIP: string | undefined = '127.0.0.1', abort = signal) =>
    hooks.run(handler, { pod, container, id, podIP }, abort);
  return { clock, fake, events, id, run };
}

test('exec runs its command in the container, for as long as that takes', async () => {
  const { fake, id, run } = await setUp();
  await run({ exec: { command: ['sh', '-c', 'echo hi'] } });
  const call = fake.calls.find((c) => c.method === 'ExecSync');
  assert.deepEqual(call?.args, [id, ['sh', '-c', 'echo hi'], 0]);
});

test('a command that fails is told with its code and its words', async () => {
  const { fake, run } = await setUp();
  fake.exec = () => ({ exitCode: 3, stdout: Buffer.from('out\n'), stderr: Buffer.from('err\n') });
  const message = `${failure('Exec', '[sh -c x]')}command 'sh -c x' exited with 3: err\n, message: "out\\nerr\\n"`;
  await assert.rejects(run({ exec: { command: ['sh', '-c', 'x'] } }), { code: 'HookFailed', message });
});

test('so is one that the runtime could not run', async () => {
  const { fake, id, run } = await setUp();
  fake.exitContainer(id, 0);
  await assert.rejects(run({ exec: { command: ['true'] } }), (error: Error) => {
    assert.ok(error.message.startsWith(failure('Exec', '[true]')), error.message);
    return true;
  });
});

test('an aborted command is no failure of the hook', async () => {
  const { fake, run } = await setUp();
  fake.block('ExecSync');
  const abort = new AbortController();
  const running = run({ exec: { command: ['true'] } }, undefined, abort.signal);
  abort.abort();
  await assert.rejects(running, { name: 'AbortError' });
});

test('httpGet is content with any answer, and says who asks', async () => {
  const { run } = await setUp();
  await using server = await serve(500);
  await run({ httpGet: { port: server.port, path: '/hook?a=1', httpHeaders: [{ name: 'X-A', value: 'b' }] } });
  assert.deepEqual(server.requests, ['/hook?a=1 kube-lifecycle/1.36 b']);
});

test('without an answer it fails', async () => {
  const { run } = await setUp();
  const server = await serve(200);
  await server[Symbol.asyncDispose]();
  await assert.rejects(run({ httpGet: { port: server.port, path: '/x' } }), (error: Error) => {
    const words = `${failure('HTTP', '/x')}Get "http://127.0.0.1:${server.port}/x": dial tcp`;
    assert.ok(error.message.startsWith(words), error.message);
    return true;
  });
});

test('HTTPS to a server of plain HTTP is tried again as that, which is told', async () => {
  const { events, run } = await setUp();
  await using server = await serve(200);
  await run({ httpGet: { port: server.port, path: '/', scheme: 'HTTPS' } });
  assert.deepEqual(server.requests, ['/ kube-lifecycle/1.36 undefined']);
  assert.deepEqual(events.lines, [
    `Warning LifecycleHTTPFallback: request to HTTPS lifecycle hook 127.0.0.1:${server.port} got HTTP response, retry with HTTP succeeded`,
  ]);
});

test('HTTPS to nobody is not', async () => {
  const { events, run } = await setUp();
  const server = await serve(200);
  await server[Symbol.asyncDispose]();
  await assert.rejects(run({ httpGet: { port: server.port, scheme: 'HTTPS' } }), { code: 'HookFailed' });
  assert.deepEqual(events.lines, []);
});

const refusals: Record<string, { readonly handler: LifecycleHandler; readonly podIP?: ''; readonly expect: RegExp }> = {
  'a port without a number': { handler: { httpGet: { port: 'none' } }, expect: /port "none" not found$/ },
  'a pod without an address': { handler: { httpGet: { port: 'web' } }, podIP: '', expect: /has no address$/ },
  'a tcpSocket, as with every kubelet': {
    handler: { tcpSocket: { port: 80 } },
    expect: /^Cannot run handler: invalid handler: tcpSocket$/,
  },
  'no handler at all': { handler: {}, expect: /^Cannot run handler: invalid handler: none$/ },
};
for (const [what, { handler, podIP, expect }] of Object.entries(refusals)) {
  test(`what cannot be done fails: ${what}`, async () => {
    const { run } = await setUp();
    await assert.rejects(run(handler, podIP), { code: 'HookFailed', message: expect });
  });
}

test('sleep sleeps, zero seconds too', async () => {
  const { clock, run } = await setUp();
  let over = false;
  const sleeping = run({ sleep: { seconds: 3 } }).then(() => {
    over = true;
  });
  await clock.advance(2999);
  assert.equal(over, false);
  await clock.advance(1);
  await sleeping;
  const none = run({ sleep: { seconds: 0 } });
  await clock.advance(0);
  await none;
});

async function serve(status: number) {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.url} ${request.headers['user-agent']} ${request.headers['x-a']}`);
    response.writeHead(status).end('hello');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return { port, requests, [Symbol.asyncDispose]: close };
}
