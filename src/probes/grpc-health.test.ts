import assert from 'node:assert/strict';
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { checkGrpcHealth } from './grpc-health.ts';

const signal = new AbortController().signal;
const response = (...body: number[]) => Buffer.from([0, 0, 0, 0, body.length, ...body]);

type Serve = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, body: Buffer) => void;

const answer =
  (body: Buffer, trailers: object, http = 200): Serve =>
  (stream) => {
    stream.respond({ ':status': http, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ ...trailers }));
    stream.end(body);
  };
const refuse =
  (code: number, message: string): Serve =>
  (stream) =>
    stream.respond({ ':status': 200, 'grpc-status': code, 'grpc-message': message }, { endStream: true });

async function listen(server: Server) {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: (server.address() as AddressInfo).port, [Symbol.dispose]: close };
}

function healthServer(serve: Serve): Server {
  const server = createServer();
  server.on('session', (session) => session.on('error', () => {}));
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => serve(stream, headers, Buffer.concat(chunks)));
  });
  return server as unknown as Server;
}

const check = (port: number, service = '', timeoutMs = 10_000, using = signal) =>
  checkGrpcHealth({ host: '127.0.0.1', port, service, timeoutMs }, using);

const answers: Record<string, { serve: Serve; expect: string }> = {
  serving: { serve: answer(response(8, 1), { 'grpc-status': 0 }), expect: 'service healthy' },
  'not serving': {
    serve: answer(response(8, 2), { 'grpc-status': 0 }),
    expect: 'service unhealthy (responded with "NOT_SERVING")',
  },
  'an empty answer': {
    serve: answer(response(), { 'grpc-status': 0 }),
    expect: 'service unhealthy (responded with "UNKNOWN")',
  },
  'no such service': {
    serve: refuse(5, 'unknown service'),
    expect: 'error: health rpc probe failed: rpc error: code = NotFound desc = unknown service',
  },
  'no health protocol': {
    serve: refuse(12, 'unknown service grpc.health.v1.Health'),
    expect:
      'error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service grpc.health.v1.Health',
  },
  'a web server': {
    serve: (stream) => stream.respond({ ':status': 404 }, { endStream: true }),
    expect:
      'error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unexpected HTTP status code received from server: 404',
  },
};

for (const [sentence, { serve, expect }] of Object.entries(answers)) {
  test(`a gRPC server that answers: ${sentence}`, async () => {
    using server = await listen(healthServer(serve));
    const { kind, message } = await check(server.port);
    assert.deepEqual([kind, message], [sentence === 'serving' ? 'success' : 'failure', expect]);
  });
}

test('what is asked', async () => {
  const asked: unknown[] = [];
  using server = await listen(
    healthServer((stream, headers, body) => {
      const { ':path': path, te, 'content-type': type, 'user-agent': agent } = headers;
      asked.push({ path, te, type, agent }, body.toString('hex'));
      answer(response(8, 1), { 'grpc-status': 0 })(stream, headers, body);
    }),
  );
  await check(server.port, 'db');
  await check(server.port, 'x'.repeat(200));
  assert.deepEqual(asked[0], {
    path: '/grpc.health.v1.Health/Check',
    te: 'trailers',
    type: 'application/grpc',
    agent: 'kube-probe/1.36',
  });
  assert.equal(asked[1], '00000000040a026462');
  assert.equal(asked[3], `00000000cb0ac801${'78'.repeat(200)}`);
});

test('nobody listens', async () => {
  const server = await listen(healthServer(() => {}));
  server[Symbol.dispose]();
  const to = `127.0.0.1:${server.port}`;
  assert.deepEqual(await check(server.port), {
    kind: 'failure',
    message: `error: failed to connect service at "${to}": dial tcp ${to}: connect: connection refused`,
    timedOut: false,
  });
});

test('a port that accepts and says nothing', async () => {
  using server = await listen(createTcpServer((socket) => socket.on('error', () => {})));
  const { message, ...rest } = await check(server.port, '', 100);
  assert.match(message, /^timeout: failed to connect service "127.0.0.1:\d+" within 100ms: context deadline exceeded$/);
  assert.deepEqual(rest, { kind: 'failure', timedOut: true });
});

test('a server that does not come to an answer', async () => {
  using server = await listen(healthServer(() => {}));
  const message = 'timeout: health rpc did not complete within 200ms';
  assert.deepEqual(await check(server.port, '', 200), { kind: 'failure', message, timedOut: true });
});

test('a server that hangs up', async () => {
  using server = await listen(
    createTcpServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad\r\n\r\n')),
  );
  const { kind, message } = await check(server.port);
  assert.equal(kind, 'failure');
  assert.match(message, /^error: failed to connect service at/);
});

test('who asks us to stop is heard at once', async () => {
  const stop = new AbortController();
  using server = await listen(healthServer(() => stop.abort()));
  await assert.rejects(check(server.port, '', 10_000, stop.signal), { name: 'AbortError' });
  await assert.rejects(check(server.port, '', 10_000, stop.signal), { name: 'AbortError' });
});
