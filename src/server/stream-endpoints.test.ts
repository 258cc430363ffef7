import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pod } from '../api/core-v1.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { CriError } from '../cri/services.ts';
import { systemClock } from '../lib/clock.ts';
import { PodManager } from '../pod/pod-manager.ts';
import { maskedFrame, readFrame } from '../testing/websocket-client.ts';
import { answerText, refuseUpgrade } from './answer.ts';
import { HttpError } from './endpoint.ts';
import { Router } from './router.ts';
import { dataHead, SpdyDecoder } from './spdy-frames.ts';
import { streamEndpoints } from './stream-endpoints.ts';
import { closeCode, opcode } from './websocket-frames.ts';

/*
 * The endpoints in an HTTP server of the test's own, without TLS and guard, before a runtime in memory
 * whose streaming server is the test's, too.
 */
const IMAGE = 'registry.test/app:1';
const signal = new AbortController().signal;
const idleTimeoutMs = 2_000;
let fake: FakeCri;
let containerId: string;
let node: Server;
let runtime: Server;
/** What the runtime's streaming server does with an upgraded connection. */
let serve: (socket: Socket, request: IncomingMessage) => void;

const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'ns', uid: 'uid-p' },
  spec: {
    containers: [
      { name: 'c', image: IMAGE },
      { name: 't', image: IMAGE, tty: true },
      { name: 'waiting', image: IMAGE },
    ],
  },
};

before(async () => {
  runtime = createServer((_request, response) => response.writeHead(404).end('no such token'));
  runtime.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    const protocol = [request.headers['x-stream-protocol-version']].flat()[0]?.split(',')[0];
    const chosen = protocol === undefined ? '' : `X-Stream-Protocol-Version: ${protocol}\r\n`;
    const upgrade = request.headers.upgrade;
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n${chosen}\r\n`);
    socket.on('error', () => {});
    serve(socket, request);
  });
  await once(runtime.listen(0, '127.0.0.1'), 'listening');
  node = createServer();
  await once(node.listen(0, '127.0.0.1'), 'listening');
});
after(() => {
  node.close();
  runtime.close();
});

beforeEach(async () => {
  fake = new FakeCri({ clock: systemClock, images: [IMAGE] });
  fake.streamingServer = `http://127.0.0.1:${(runtime.address() as AddressInfo).port}`;
  const manager = new PodManager(systemClock.now, () => {});
  manager.setFromApi('ns/p', pod);
  const labels = { 'io.kubernetes.pod.uid': 'uid-p' };
  const sandboxConfig = { metadata: { name: 'p', namespace: 'ns', uid: 'uid-p', attempt: 0 }, labels };
  const sandboxId = await fake.runtime.runPodSandbox(sandboxConfig, '', signal);
  for (const name of ['t', 'c']) {
    const config = {
      metadata: { name, attempt: 0 },
      image: { image: IMAGE },
      labels: { ...labels, 'io.kubernetes.container.name': name },
    };
    containerId = await fake.runtime.createContainer(sandboxId, config, sandboxConfig, signal);
    await fake.runtime.startContainer(containerId, signal);
  }
  serveWith(manager);
});

function serveWith(manager: PodManager): void {
  const router = new Router(streamEndpoints({ runtime: fake.runtime, manager, idleTimeoutMs, clock: systemClock }));
  const served = (raw: IncomingMessage, gone: AbortController) => {
    const url = new URL(raw.url ?? '/', 'http://node');
    const match = router.matches(url.pathname).find(({ endpoint }) => endpoint.methods.includes(raw.method ?? ''));
    if (!match) throw new HttpError(404, 'no endpoint');
    const user = { username: 'test', groups: [] };
    return { endpoint: match.endpoint, request: { raw, url, params: match.params, user, signal: gone.signal } };
  };
  const statusOf = (error: unknown) => (error instanceof HttpError ? error.status : 500);
  node.removeAllListeners('request').removeAllListeners('upgrade');
  node.on('request', async (raw, response) => {
    const { endpoint, request } = served(raw, new AbortController());
    try {
      await endpoint.handle?.(request, response);
    } catch (error) {
      answerText(response, statusOf(error), (error as Error).message);
    }
  });
  node.on('upgrade', async (raw: IncomingMessage, socket: Duplex, head: Buffer) => {
    const gone = new AbortController();
    socket.once('close', () => gone.abort());
    try {
      const { endpoint, request } = served(raw, gone);
      await endpoint.upgrade?.(request, socket, head);
    } catch (error) {
      refuseUpgrade(socket, statusOf(error), (error as Error).message);
    }
    socket.end();
  });
}

const spdyHeaders = 'Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n';
const webSocketHeaders = (protocol: string) =>
  `Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: ${protocol}\r\n`;

function ask(path: string, headers = spdyHeaders, method = 'POST', more: Buffer = Buffer.alloc(0)): Socket {
  const socket = connect({ port: (node.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => {});
  const connection = headers === '' ? 'close' : 'Upgrade';
  const head = `${method} ${path} HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer secret\r\nConnection: ${connection}\r\n`;
  socket.write(Buffer.concat([Buffer.from(`${head}${headers}Content-Length: 0\r\n\r\n`), more]));
  return socket;
}

/** Everything that is said on the socket until its end. */
async function saidOn(socket: Socket, encoding: BufferEncoding = 'utf8'): Promise<string> {
  const said = await text(socket.setEncoding(encoding));
  socket.destroy();
  return said;
}

/** The status and the body of a refusal. */
async function refusal(path: string, headers?: string, method?: string): Promise<string> {
  const answer = await saidOn(ask(path, headers, method));
  return `${answer.split(' ')[1]} ${answer.slice(answer.indexOf('\r\n\r\n') + 4)}`;
}

const exec = '/exec/ns/p/c?command=true&output=1';
const webSocket = webSocketHeaders('v4.channel.k8s.io');

const refusals: Readonly<Record<string, readonly [path: string, expected: string, headers?: string]>> = {
  'no stream at all': ['/exec/ns/p/c?command=true', '400 you must specify at least 1 of stdin, stdout, stderr'],
  'only a stream that a terminal has not': [
    '/exec/ns/p/c?tty=1&error=1',
    '400 you must specify at least 1 of stdin, stdout, stderr',
  ],
  'a pod that is not here': ['/exec/ns/other/c?command=true&output=1', '404 pod does not exist'],
  'a pod of another namespace': ['/attach/default/p/c?output=1', '404 pod does not exist'],
  'a pod with another uid': ['/exec/ns/p/uid-q/c?command=true&output=1', '500 container not found ("c")'],
  'a container that the pod has not': ['/exec/ns/p/x?command=true&output=1', '500 container not found ("x")'],
  'a container that does not run': ['/exec/ns/p/waiting?command=true&output=1', '500 container not found ("waiting")'],
  'attaching to a container that does not run': [
    '/attach/ns/p/waiting?output=1',
    '500 container waiting not found in pod p_ns',
  ],
  'attaching to a terminal with a stream for errors': [
    '/attach/ns/p/t?output=1&error=1',
    '500 rpc error: code = InvalidArgument desc = tty and stderr cannot both be true',
  ],
  'forwarding to a pod that is not here': ['/portForward/ns/other', '404 pod does not exist'],
  'forwarding to a pod with another uid': ['/portForward/ns/p/uid-q', '404 pod not found'],
  'forwarding by WebSocket without a port': ['/portForward/ns/p', '400 query parameter "port" is required', webSocket],
  'forwarding by WebSocket to an empty port': [
    '/portForward/ns/p?port=',
    '400 query parameter "port" cannot be empty',
    webSocket,
  ],
  'forwarding by WebSocket to port 0': ['/portForward/ns/p?port=0', '400 port "0" must be > 0', webSocket],
  'forwarding by WebSocket to a word': [
    '/portForward/ns/p?port=80,http',
    '400 unable to parse "80,http" as a port: strconv.ParseUint: parsing "http": invalid syntax',
    webSocket,
  ],
  'forwarding by WebSocket to a port that is too high': [
    '/portForward/ns/p?port=65536',
    '400 unable to parse "65536" as a port: strconv.ParseUint: parsing "65536": value out of range',
    webSocket,
  ],
  'a request that asks for no other protocol': [exec, '500 Upgrade request required', ''],
};

test('what is refused, and how', async (t) => {
  for (const [sentence, [path, expected, headers]] of Object.entries(refusals)) {
    await t.test(sentence, async () => assert.equal(await refusal(path, headers), expected));
  }
});

test("the runtime's own refusals are passed on", async () => {
  fake.injectError('Exec', new CriError('Exec', 'NOT_FOUND', 'gone'));
  assert.equal(await refusal(exec), '404 rpc error: code = NotFound desc = gone');
  fake.injectError('Exec', new CriError('Exec', 'RESOURCE_EXHAUSTED', 'too many'));
  assert.equal(await refusal(exec), '429 rpc error: code = ResourceExhausted desc = too many');
  fake.injectError('Exec', new CriError('Exec', 'UNAVAILABLE', 'down'));
  assert.equal(await refusal(exec), '500 rpc error: code = Unavailable desc = down');
  fake.streamingServer = 'http://127.0.0.1:1';
  assert.match(await refusal(exec), /^500 error dialing backend: connect ECONNREFUSED/);
  assert.match(await refusal(exec, webSocketHeaders('v5.channel.k8s.io'), 'GET'), /^500 error dialing backend: /);
});

test('the uid of a static pod may be that of its mirror', async () => {
  const manager = new PodManager(systemClock.now, () => {});
  manager.setFromFiles([
    { ...pod, metadata: { ...pod.metadata, annotations: { 'kubernetes.io/config.source': 'file' } } },
  ]);
  const annotations = { 'kubernetes.io/config.mirror': 'x', 'kubernetes.io/config.source': 'file' };
  manager.setFromApi('ns/p', { ...pod, metadata: { ...pod.metadata, uid: 'uid-mirror', annotations } });
  serveWith(manager);
  serve = (socket) => socket.end();
  assert.match(await saidOn(ask('/exec/ns/p/uid-mirror/c?command=true&output=1')), /^HTTP\/1.1 101 /);
});

test('/run answers with both outputs', async () => {
  fake.exec = (_id, command) => ({ stdout: Buffer.from(`${command}\n`), stderr: Buffer.from('err') });
  assert.match(await refusal('/run/ns/p/c?cmd=ls%20-l', ''), /^200 [\s\S]*ls,-l\nerr/);
  fake.exec = () => ({ exitCode: 3, stderr: Buffer.from('why') });
  assert.equal(await refusal('/run/ns/p/c?cmd=ls', ''), "500 command 'ls' exited with 3: why");
  assert.equal(await refusal('/run/ns/p/x?cmd=ls', ''), '500 container not found ("x")');
});

test('a tunnel carries bytes as they are, those that came early too, and no credentials', async () => {
  let asked: IncomingMessage | undefined;
  serve = (socket, request) => {
    asked = request;
    socket.pipe(socket);
  };
  const socket = ask(exec, spdyHeaders, 'POST', Buffer.from('early '));
  socket.end('late');
  const answer = await saidOn(socket);
  assert.match(
    answer,
    /^HTTP\/1.1 101 Switching Protocols\r\n[\s\S]*X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nearly late$/,
  );
  assert.match(asked?.url ?? '', /^\/exec\/token/);
  assert.deepEqual(Object.keys(asked?.headers ?? {}).sort(), [
    'connection',
    'content-length',
    'host',
    'upgrade',
    'x-stream-protocol-version',
  ]);
  assert.deepEqual(fake.calls.at(-1)?.args, [
    { containerId, cmd: ['true'], stdin: false, stdout: true, stderr: false, tty: false },
  ]);
});

/** A runtime that runs `echo` of its standard input: streams by their names once the client has opened them. */
function echoingRuntime(socket: Socket): void {
  // Streams are numbered in the order of their opening: error, stdin, stdout.
  const decoder = new SpdyDecoder({
    data: (id, piece, last) => {
      if (id !== 3) return;
      socket.write(Buffer.concat([dataHead(5, piece.length, last), piece]));
      if (!last) return;
      const status = Buffer.from('{"status":"Success"}');
      socket.write(Buffer.concat([dataHead(1, status.length, true), status]));
    },
    reset: () => {},
    ping: () => {},
  });
  socket.on('data', (chunk: Buffer) => decoder.push(chunk)).once('end', () => socket.end());
}

/** Messages of a server's WebSocket until it says goodbye, those of one channel joined; the goodbye's code at 'close'. */
async function messages(socket: Socket): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const bytes = Buffer.from(await saidOn(socket, 'latin1'), 'latin1');
  let rest: Buffer = bytes.subarray(bytes.indexOf('\r\n\r\n') + 4);
  for (let frame = readFrame(rest); frame && rest.length > 0; frame = readFrame(rest)) {
    rest = frame.rest;
    const [channel = 0] = frame.payload;
    if (frame.code === opcode.close) found['close'] = `${frame.payload.readUInt16BE(0)}`;
    else if (frame.code === opcode.pong) found['pong'] = `${frame.payload}`;
    else found[channel] = `${found[channel] ?? ''}${frame.payload.subarray(1)}`;
  }
  return found;
}

const echo = '/exec/ns/p/c?command=cat&input=1&output=1';
const v5 = webSocketHeaders('v5.channel.k8s.io');
const onChannel = (channel: number, content: string) =>
  maskedFrame(opcode.binary, Buffer.concat([Buffer.from([channel]), Buffer.from(content)]));

test('channels are carried over to streams and back, and closing one leaves the others open', async () => {
  serve = echoingRuntime;
  const socket = ask(echo, v5, 'GET', onChannel(0, 'one '));
  socket.write(maskedFrame(opcode.ping, 'there'));
  socket.write(onChannel(0, 'two'));
  socket.write(onChannel(7, 'for nobody'));
  socket.write(maskedFrame(opcode.binary, Buffer.from([255, 0])));
  const said = await messages(socket);
  assert.deepEqual(said, { '1': 'one two', '3': '{"status":"Success"}', pong: 'there', close: `${closeCode.normal}` });
  socket.destroy();
});

test('a command that is lost ends with a status that says so', async () => {
  serve = (socket) => socket.destroy();
  const said = await messages(ask(echo, v5, 'GET'));
  assert.match(said['3'] ?? '', /"reason":"InternalError".*"code":500/);
});

test('a client that does not speak the protocol is told and let go', async () => {
  const gone = Promise.withResolvers<void>();
  serve = (socket) => {
    socket.resume().once('end', () => gone.resolve());
  };
  const said = await messages(ask(echo, v5, 'GET', Buffer.from([0x82, 0x01, 0x00])));
  assert.equal(said['close'], `${closeCode.protocolError}`);
  await gone.promise;
});

test('SPDY in the messages of a WebSocket is unpacked', async () => {
  let asked: IncomingMessage | undefined;
  serve = (socket, request) => {
    asked = request;
    socket.once('data', (data) => socket.end(`got ${data}`));
  };
  const socket = ask('/portForward/ns/p', webSocketHeaders('SPDY/3.1+portforward.k8s.io'), 'GET');
  socket.write(maskedFrame(opcode.binary, 'bytes'));
  const answer = await saidOn(socket);
  assert.match(answer, /Sec-WebSocket-Protocol: SPDY\/3.1\+portforward.k8s.io\r\n/);
  assert.match(answer, /got bytes/);
  assert.deepEqual([asked?.method, asked?.headers['x-stream-protocol-version']], ['POST', 'portforward.k8s.io']);
});

for (const [kind, headers] of Object.entries({ 'a tunnel': spdyHeaders, 'a translation': v5 })) {
  test(`${kind} keeps little of what a client does not read, and ends when nothing has moved for the idle time`, async () => {
    let sent = 0;
    const closed = Promise.withResolvers<void>();
    serve = (socket) => {
      const piece = Buffer.concat([dataHead(5, 65_536), Buffer.alloc(65_536)]);
      const flood = () => {
        while (!socket.destroyed && socket.write(piece)) sent += piece.length;
        sent += piece.length;
      };
      socket.on('drain', flood).once('close', () => closed.resolve());
      flood();
    };
    const before = process.memoryUsage().external;
    const socket = ask(echo, headers, headers === v5 ? 'GET' : 'POST');
    socket.pause();
    await closed.promise;
    const held = process.memoryUsage().external - before;
    assert.ok(sent > 65_536 && held < 32 * 2 ** 20, `${sent} bytes sent, ${held} held`);
    socket.destroy();
  });
}

test('a thousand sessions that end in every way leave no socket and no timer', async () => {
  const kinds: readonly (() => Promise<unknown>)[] = [
    () => refusal('/exec/ns/p/x?command=true&output=1'),
    () => refusal(exec, ''),
    async () => {
      serve = (socket) => socket.pipe(socket);
      const socket = ask(exec);
      socket.end('x');
      await saidOn(socket);
    },
    async () => {
      serve = (socket) => socket.destroy();
      await saidOn(ask(exec));
    },
    async () => {
      serve = (socket) => socket.resume().once('end', () => socket.end());
      const socket = ask(exec);
      await once(socket, 'data');
      socket.destroy();
    },
    async () => {
      serve = echoingRuntime;
      const socket = ask(echo, v5, 'GET', maskedFrame(opcode.binary, Buffer.from([255, 0])));
      await messages(socket);
    },
    async () => {
      serve = (socket) => socket.destroy();
      await messages(ask(echo, v5, 'GET'));
    },
    async () => {
      serve = (socket) => socket.resume().once('end', () => socket.end());
      const socket = ask(echo, v5, 'GET', maskedFrame(opcode.close, ''));
      await messages(socket);
    },
  ];
  const held = () => process.getActiveResourcesInfo().filter((kind) => /TCP|Timeout|TLS/.test(kind)).length;
  for (const run of kinds) await run();
  const settled = async () => {
    for (let tries = 0; tries < 100 && held() > before; tries++) await delay(100);
    return held();
  };
  const before = held();
  for (let i = 0; i < 1000; i++) await kinds[i % kinds.length]?.();
  assert.ok((await settled()) <= before);
});
