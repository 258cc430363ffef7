import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { Container, Probe } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { podUid } from '../api/ids.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { CriError } from '../cri/services.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { runPod, testImage } from '../testing/runtime-pods.ts';
import { type ProbeAnswer, runProbe } from './run-probe.ts';

const signal = new AbortController().signal;

async function ask(probe: Probe, over: { container?: Partial<Container>; fake?: FakeCri; podIP?: string } = {}) {
  const fake = over.fake ?? new FakeCri({ clock: new FakeClock(), images: [testImage] });
  const { containers } = await runPod(fake, podUid('u1'), ['c']);
  const [containerId] = containers;
  assert.ok(containerId);
  const container = { name: 'c', ...over.container };
  return await runProbe(fake.runtime, { probe, container, containerId, podIP: over.podIP ?? '127.0.0.1' }, signal);
}

async function askExec(response: cri.ExecSyncResponse | CriError, times = 1): Promise<ProbeAnswer> {
  const fake = new FakeCri({ clock: new FakeClock(), images: [testImage] });
  if (response instanceof CriError) fake.injectError('ExecSync', response, times);
  else fake.exec = () => response;
  return await ask({ exec: { command: ['cat', '/tmp/x y'] }, timeoutSeconds: 3 }, { fake });
}

const bytes = (text: string) => new TextEncoder().encode(text);
const broken = new CriError('ExecSync', 'UNKNOWN', 'container not running');

const execs: Record<string, { response: cri.ExecSyncResponse | CriError; times?: number; expect: ProbeAnswer }> = {
  'ends well': { response: { exitCode: 0, stdout: bytes('fine') }, expect: { kind: 'success', message: 'fine' } },
  'ends badly': {
    response: { exitCode: 3, stdout: bytes('out '), stderr: bytes('err') },
    expect: { kind: 'failure', message: 'out err', timedOut: false },
  },
  'says too much': {
    response: { exitCode: 1, stdout: bytes('x'.repeat(20_000)) },
    expect: { kind: 'failure', message: 'x'.repeat(10_240), timedOut: false },
  },
  'does not end in time': {
    response: new CriError('ExecSync', 'DEADLINE_EXCEEDED', 'timeout 3s exceeded'),
    expect: { kind: 'failure', message: 'command timed out: "cat /tmp/x y" timed out after 3s', timedOut: true },
  },
  'cannot be started twice': { response: broken, times: 2, expect: { kind: 'success', message: '' } },
  'cannot be started': {
    response: broken,
    times: 3,
    expect: { kind: 'error', message: 'rpc error: code = Unknown desc = container not running' },
  },
};

for (const [sentence, { response, times, expect }] of Object.entries(execs)) {
  test(`a command that ${sentence}`, async () => assert.deepEqual(await askExec(response, times), expect));
}

test('a command is expanded by what the spec spells out', async () => {
  const fake = new FakeCri({ clock: new FakeClock(), images: [testImage] });
  const env = [
    { name: 'A', value: '1' },
    { name: 'B', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
  ];
  await ask({ exec: { command: ['$(A)', '$(B)', '$(C)', '$$(A)'] }, timeoutSeconds: 3 }, { fake, container: { env } });
  const { args } = fake.calls.find(({ method }) => method === 'ExecSync') ?? {};
  assert.deepEqual(args?.slice(1), [['1', '', '$(C)', '$(A)'], 3]);
});

async function askHttp(handler: RequestListener, over: Partial<Probe['httpGet']> = {}): Promise<ProbeAnswer> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const container = { ports: [{ name: 'web', containerPort: port }] };
  const answer = await ask({ httpGet: { port: 'web', ...over } }, { container });
  server.close();
  server.closeAllConnections();
  return answer;
}

const statuses: Record<string, ProbeAnswer> = {
  200: { kind: 'success', message: 'body' },
  399: { kind: 'warning', message: 'Probe terminated redirects, Response body: body' },
  400: { kind: 'failure', message: 'HTTP probe failed with statuscode: 400', timedOut: false },
  503: { kind: 'failure', message: 'HTTP probe failed with statuscode: 503', timedOut: false },
};

for (const [status, expect] of Object.entries(statuses)) {
  test(`status ${status} is a ${expect.kind}`, async () => {
    assert.deepEqual(await askHttp((_, response) => response.writeHead(Number(status)).end('body')), expect);
  });
}

test('a body that breaks off says nothing', async () => {
  const answer = await askHttp((request, response) => {
    response.writeHead(200, { 'content-length': 10 });
    response.write('a', () => request.socket.destroy());
  });
  assert.equal(answer.kind, 'error');
});

const others: Record<string, { probe: Probe; podIP?: string; expect: { kind: ProbeAnswer['kind']; message: RegExp } }> =
  {
    'a tcp port that nobody has': {
      probe: { tcpSocket: { port: 1 } },
      expect: { kind: 'failure', message: /^dial tcp 127.0.0.1:1: connect: connection refused$/ },
    },
    'a grpc port that nobody has': {
      probe: { grpc: { port: 1 } },
      expect: { kind: 'failure', message: /connection refused$/ },
    },
    'a port of no known name': {
      probe: { tcpSocket: { port: 'web' } },
      expect: { kind: 'error', message: /^port "web" not found$/ },
    },
    'a pod without an address': {
      probe: { httpGet: { port: 1 } },
      podIP: '',
      expect: { kind: 'error', message: /^the pod has no address$/ },
    },
    'no handler': { probe: {}, expect: { kind: 'error', message: /^missing probe handler for c$/ } },
  };

for (const [sentence, { probe, podIP, expect }] of Object.entries(others)) {
  test(`a probe of ${sentence}`, async () => {
    const answer = await ask(probe, podIP === undefined ? {} : { podIP });
    assert.equal(answer.kind, expect.kind);
    assert.match(answer.message, expect.message);
  });
}

test('a host of its own needs no address of the pod', async () => {
  const answer = await ask({ tcpSocket: { port: 1, host: '127.0.0.1' } }, { podIP: '' });
  assert.equal(answer.kind, 'failure');
});

test('who asks us to stop is heard', async () => {
  const fake = new FakeCri({ clock: new FakeClock(), images: [testImage] });
  fake.block('ExecSync');
  const stop = new AbortController();
  const { containers } = await runPod(fake, podUid('u1'), ['c']);
  const target = { probe: { exec: { command: ['x'] } }, container: { name: 'c' }, podIP: '' };
  const [containerId] = containers;
  assert.ok(containerId);
  const pending = runProbe(fake.runtime, { ...target, containerId }, stop.signal);
  stop.abort();
  await assert.rejects(pending, { name: 'AbortError' });
});
