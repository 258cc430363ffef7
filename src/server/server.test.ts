import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, type RequestOptions, request } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ConnectionOptions, connect, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { EXPIRED, Pki } from '../../test/pki/pki.ts';
import { systemClock } from '../lib/clock.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { type Endpoint, HttpError } from './endpoint.ts';
import type { Visitor } from './guard.ts';
import { type Limits, NodeServer, type NodeServerOptions } from './server.ts';
import { ServingFiles } from './serving-files.ts';
import { type TlsSettings, tlsOptionsOf } from './tls-settings.ts';

interface Setup {
  readonly endpoints?: readonly Endpoint[];
  readonly clientCa?: boolean;
  readonly limits?: Partial<Limits>;
  readonly tls?: SecureContextOptions;
  readonly guard?: NodeServerOptions['guard'];
}

/** Shows who came, as the handshake found out. */
const whoami: Endpoint = {
  path: '/whoami',
  methods: ['GET'],
  handle: async ({ user }, response) => void response.end(user.username),
};

/** Lets in everybody but those with the wrong header, under the name that the handshake gave them. */
const openGuard: NodeServerOptions['guard'] = {
  admit: async ({ peer, authorization }: Visitor) => {
    if (authorization === 'Bearer wrong') throw new HttpError(401, 'Unauthorized');
    return { username: typeof peer === 'string' ? peer : peer.user.username, groups: [] };
  },
};

/** A server on the loopback with files of its own. */
class Lab implements AsyncDisposable {
  readonly pki = Pki.create();
  readonly folder = mkdtempSync(join(tmpdir(), 'node-port-'));
  readonly said: string[] = [];
  port = 0;
  /** Every bare connection, also those that came to nothing. */
  readonly clients: TLSSocket[] = [];
  readonly #end = new AbortController();
  #running: Promise<void> | undefined;
  #heard = Promise.withResolvers<void>();

  static async start(setup: Setup = {}): Promise<Lab> {
    const lab = new Lab();
    lab.serveWith(lab.pki);
    lab.put('ca.crt', lab.pki.ca);
    const files = new ServingFiles({
      certFile: join(lab.folder, 'tls.crt'),
      keyFile: join(lab.folder, 'tls.key'),
      certDir: lab.folder,
      hosts: ['localhost'],
      clientCaFile: setup.clientCa === false ? '' : join(lab.folder, 'ca.crt'),
      clock: systemClock,
      log: silentLog,
    });
    const hear = (_fields: object, message: string) => {
      lab.said.push(message);
      lab.#heard.resolve();
      lab.#heard = Promise.withResolvers();
    };
    const log: Log = { ...silentLog, info: hear, warn: hear, error: hear };
    const server = new NodeServer({
      address: '127.0.0.1',
      port: 0,
      tls: setup.tls ?? { minVersion: 'TLSv1.2' },
      files,
      endpoints: [whoami, ...(setup.endpoints ?? [])],
      guard: setup.guard ?? openGuard,
      clock: systemClock,
      log,
      ...(setup.limits ? { limits: setup.limits } : {}),
    });
    lab.#running = server.run(lab.#end.signal);
    lab.port = await server.listening;
    return lab;
  }

  put(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  serveWith(pki: Pki): void {
    const { cert, key } = pki.serving(['localhost', '127.0.0.1']);
    this.put('tls.key', key);
    this.put('tls.crt', cert);
  }

  async untilSaid(pattern: RegExp): Promise<void> {
    while (!this.said.some((message) => pattern.test(message))) await this.#heard.promise;
  }

  async get(path: string, options: RequestOptions = {}): Promise<{ status: number; text: string; headers: object }> {
    const asked = request({
      host: '127.0.0.1',
      port: this.port,
      path,
      rejectUnauthorized: false,
      agent: false,
      ...options,
    });
    asked.end();
    const [response] = await once(asked, 'response');
    let text = '';
    for await (const chunk of response) text += chunk;
    return { status: response.statusCode, text, headers: response.headers };
  }

  /** A bare TLS connection. */
  async connect(options: ConnectionOptions = {}): Promise<TLSSocket> {
    const socket = connect({ host: '127.0.0.1', port: this.port, rejectUnauthorized: false, ...options });
    socket.on('error', () => {});
    this.clients.push(socket);
    await once(socket, 'secureConnect');
    return socket;
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#running;
    rmSync(this.folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Everything that comes until the other side ends the connection. */
async function readAll(socket: TLSSocket): Promise<string> {
  let text = '';
  socket.on('data', (data) => {
    text += data;
  });
  await closed(socket);
  return text;
}

/** However it ends. */
const closed = (socket: TLSSocket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.closed) resolve();
    socket.once('close', () => resolve());
  });

test('what the handshake finds out of a client', async () => {
  await using lab = await Lab.start();
  await using trusting = await Lab.start({ clientCa: false });
  const { cert, key } = lab.pki.serving(['x']);
  const table: Record<string, [Lab, { cert?: string; key?: string }, string]> = {
    'no certificate': [lab, {}, 'none'],
    'one of our authority': [lab, lab.pki.client('ann', ['ops']), 'ann'],
    'a name with signs in it': [lab, lab.pki.client('a,b=c+"d"\\#'), 'a,b=c+"d"\\#'],
    'one of a stranger': [lab, Pki.create().client('ann'), 'refused'],
    'one of a stranger with the same name': [lab, Pki.create().client('ann'), 'refused'],
    'an expired one': [lab, lab.pki.client('ann', [], EXPIRED), 'refused'],
    "a server's": [lab, { cert, key }, 'refused'],
    'any, where no authority is configured': [trusting, trusting.pki.client('ann'), 'none'],
  };
  for (const [sentence, [at, credential, expected]] of Object.entries(table)) {
    assert.equal((await at.get('/whoami', credential)).text, expected, sentence);
  }
});

test('a resumed session is the same client, and one without a certificate is nobody', async () => {
  await using lab = await Lab.start();
  for (const [credential, expected] of [
    [lab.pki.client('ann'), 'ann'],
    [{}, 'none'],
  ] as const) {
    const first = await lab.connect(credential);
    const session = once(first, 'session');
    first.write('GET /whoami HTTP/1.1\r\nHost: n\r\n\r\n');
    const [ticket] = await session;
    first.destroy();
    const socket = await lab.connect({ ...credential, session: ticket });
    assert.ok(socket.isSessionReused());
    socket.write('GET /whoami HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n');
    assert.match(await readAll(socket), new RegExp(`\r\n\r\n${expected}|${expected}\r\n0`));
  }
});

test('a new serving certificate is shown to new clients, and open connections go on', async () => {
  await using lab = await Lab.start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const sockets = new Set<unknown>();
  agent.on('free', (socket) => sockets.add(socket));
  await lab.get('/whoami', { agent });
  const before = await lab.connect();
  const other = Pki.create();
  lab.serveWith(other);
  await lab.untilSaid(/have changed and are in use/);
  const after = await lab.connect();
  assert.notEqual(after.getPeerCertificate().fingerprint256, before.getPeerCertificate().fingerprint256);
  assert.equal((await lab.connect({ ca: other.ca, rejectUnauthorized: true })).authorized, true);
  assert.equal((await lab.get('/whoami', { agent })).status, 200);
  assert.equal(sockets.size, 1);
  agent.destroy();
  for (const socket of [before, after]) socket.destroy();
});

test('other authorities decide at once who comes in, also on connections that are open', async () => {
  const inside = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const slow: Endpoint = {
    path: '/slow',
    methods: ['GET'],
    handle: async (_request, response) => {
      inside.resolve();
      await gate.promise;
      response.end('done');
    },
  };
  await using lab = await Lab.start({ endpoints: [slow] });
  const ann = lab.pki.client('ann');
  const idle = await lab.connect(ann);
  const busy = await lab.connect(ann);
  const ended = [readAll(idle), readAll(busy)];
  busy.write('GET /slow HTTP/1.1\r\nHost: n\r\n\r\n');
  await inside.promise;
  const other = Pki.create();
  lab.put('ca.crt', other.ca);
  await lab.untilSaid(/have changed and are in use/);
  gate.resolve();
  assert.equal(await ended[0], '', 'an idle one is closed');
  assert.match((await ended[1]) ?? '', /done/, 'one in use is closed after its answer');
  assert.equal((await lab.get('/whoami', ann)).text, 'refused');
  assert.equal((await lab.get('/whoami', other.client('bob'))).text, 'bob');
});

test('only the protocol versions and ciphers of the configuration are spoken', async () => {
  const settings: TlsSettings = { tlsMinVersion: '', tlsCipherSuites: [], tlsCurvePreferences: [] };
  const only = { ...settings, tlsCipherSuites: ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384'] };
  const v12: ConnectionOptions = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' };
  const v11: ConnectionOptions = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' };
  const table: Record<string, [TlsSettings, ConnectionOptions, string | undefined]> = {
    'TLS 1.2 by default': [settings, v12, 'TLSv1.2'],
    'TLS 1.3 by default': [settings, {}, 'TLSv1.3'],
    'no TLS 1.1 by default': [settings, v11, undefined],
    'TLS 1.1 where it must be': [{ ...settings, tlsMinVersion: 'VersionTLS11' }, v11, 'TLSv1.1'],
    'nothing below the least': [{ ...settings, tlsMinVersion: 'VersionTLS13' }, v12, undefined],
    'a cipher that is chosen': [only, { ...v12, ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' }, 'TLSv1.2'],
    'one that is not': [only, { ...v12, ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }, undefined],
    'TLS 1.3 whatever is chosen': [only, {}, 'TLSv1.3'],
    'a curve that is chosen': [{ ...settings, tlsCurvePreferences: [24] }, { ecdhCurve: 'P-384' }, 'TLSv1.3'],
    'one that is not, either': [{ ...settings, tlsCurvePreferences: [24] }, { ecdhCurve: 'P-256' }, undefined],
  };
  for (const [sentence, [config, client, expected]] of Object.entries(table)) {
    await using lab = await Lab.start({ tls: tlsOptionsOf(config) });
    const spoken = await lab.connect(client).then(
      (socket) => {
        const protocol = socket.getProtocol();
        socket.destroy();
        return protocol;
      },
      () => undefined,
    );
    assert.equal(spoken, expected, sentence);
  }
});

test('answers to what is not served, not so, or fails', async () => {
  const endpoints: Endpoint[] = [
    { path: '/things/{name}', methods: ['GET'], handle: async (r, response) => void response.end(r.params['name']) },
    { path: '/refuse', methods: ['GET'], handle: () => Promise.reject(new HttpError(422, 'not like this')) },
    { path: '/fail', methods: ['GET'], handle: () => Promise.reject(new Error('out of luck')) },
    { path: '/stream', methods: ['GET', 'POST'], upgrade: async () => {} },
  ];
  await using lab = await Lab.start({ endpoints });
  const table: Record<string, [string, RequestOptions, number, string]> = {
    'what is served': ['/things/a%20b', {}, 200, 'a b'],
    'dots are resolved': ['/x/../things/y', {}, 200, 'y'],
    'nothing there': ['/nothing', {}, 404, '404 page not found\n'],
    'nothing there, and no good caller': [
      '/nothing',
      { headers: { authorization: 'Bearer wrong' } },
      404,
      '404 page not found\n',
    ],
    'nothing below': ['/things/a/b', {}, 404, '404: Page Not Found'],
    'nothing below, and no good caller': [
      '/things/a/b',
      { headers: { authorization: 'Bearer wrong' } },
      401,
      'Unauthorized',
    ],
    'a host in the path': ['//things/a', {}, 200, 'a'],
    'no path': ['*', { method: 'OPTIONS' }, 400, 'Bad Request'],
    'another method': ['/things/a', { method: 'POST' }, 405, '405: Method Not Allowed'],
    'a refusal': ['/refuse', {}, 422, 'not like this'],
    'a failure': ['/fail', {}, 500, 'out of luck'],
    'no upgrade where one is needed': ['/stream', {}, 400, 'Upgrade request required'],
    'an upgrade where there is none': ['/things/a', { headers: { connection: 'upgrade', upgrade: 'h2c' } }, 200, 'a'],
    'an upgrade by nobody': [
      '/stream',
      { headers: { connection: 'upgrade', upgrade: 'x', authorization: 'Bearer wrong' } },
      401,
      'Unauthorized',
    ],
  };
  for (const [sentence, [path, options, status, text]] of Object.entries(table)) {
    const answer = await lab.get(path, options);
    assert.deepEqual([answer.status, answer.text], [status, text], sentence);
  }
  assert.deepEqual(
    lab.said.filter((message) => message.includes('failed')),
    ["a request to the node's port failed"],
  );
});

test('a stream is the endpoint’s until it is over, and ends with the server', async () => {
  const gone = Promise.withResolvers<void>();
  const echo: Endpoint = {
    path: '/echo',
    methods: ['GET'],
    upgrade: async ({ signal }, socket) => {
      signal.addEventListener('abort', () => gone.resolve());
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
      for await (const data of socket) socket.write(data);
    },
  };
  const lab = await Lab.start({ endpoints: [echo] });
  const socket = await lab.connect();
  socket.write('GET /echo HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
  const [head] = await once(socket, 'data');
  assert.match(String(head), /^HTTP\/1.1 101/);
  socket.write('hello');
  assert.equal(String((await once(socket, 'data'))[0]), 'hello');
  const ended = closed(socket);
  await lab.stop();
  await ended;
  await gone.promise;
});

test('a client that goes away is noticed at once', async () => {
  const inside = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  const follow: Endpoint = {
    path: '/follow',
    methods: ['GET'],
    handle: async ({ signal }, response) => {
      response.write('line');
      inside.resolve();
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      aborted.resolve();
    },
  };
  await using lab = await Lab.start({ endpoints: [follow] });
  const socket = await lab.connect();
  socket.write('GET /follow HTTP/1.1\r\nHost: n\r\n\r\n');
  await inside.promise;
  socket.destroy();
  await aborted.promise;
});

test('who is slow, or wants too much, is cut off', async () => {
  const big: Endpoint = {
    path: '/big',
    methods: ['GET', 'POST'],
    handle: async (_request, response) => void response.end(Buffer.alloc(64 * 1024 * 1024)),
  };
  const hangUp: Endpoint = {
    path: '/hang-up',
    methods: ['GET'],
    upgrade: async (_request, socket) => void socket.write(Buffer.alloc(64 * 1024 * 1024)),
  };
  const limits = { headMs: 300, requestMs: 600, lastBytesMs: 300, checkMs: 50, headBytes: 4096 };
  await using lab = await Lab.start({ endpoints: [big, hangUp], limits });
  const head = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: n\r\n${more}\r\n`;
  const table: Record<string, [string, RegExp]> = {
    'it says nothing': ['', /^(HTTP\/1.1 408 .*)?/],
    'it never ends its head': ['GET /whoami HTTP/1.1\r\nHost: n\r\nX-A: ', /^HTTP\/1.1 408 /],
    'its head is too big': [head('/whoami', `X-A: ${'a'.repeat(5000)}\r\n`), /^HTTP\/1.1 431 /],
    'its path is too long': [head(`/${'a'.repeat(5000)}`), /^HTTP\/1.1 431 /],
    'it speaks no HTTP': ['EHLO mail\r\n\r\n', /^HTTP\/1.1 400 /],
    'it asks for a stream as nobody and stays': [
      head('/hang-up', 'Connection: Upgrade\r\nUpgrade: x\r\nAuthorization: Bearer wrong\r\n'),
      /^HTTP\/1.1 401 Unauthorized\r\n[\s\S]*Unauthorized$/,
    ],
  };
  for (const [sentence, [sent, expected]] of Object.entries(table)) {
    const socket = await lab.connect();
    socket.write(sent);
    assert.match(await readAll(socket), expected, sentence);
  }
  for (const sent of [head('/big'), head('/hang-up', 'Connection: Upgrade\r\nUpgrade: x\r\n')]) {
    const socket = await lab.connect();
    const ended = closed(socket);
    socket.pause();
    socket.write(sent);
    // The end of a connection is noticed when there is something to read or write.
    const knock = setInterval(() => socket.write('x'), 50);
    await ended;
    clearInterval(knock);
  }
});

test('an upgrade behind requests without an answer is an ordinary request, and all end with their client', async () => {
  const upgraded: string[] = [];
  const started = Promise.withResolvers<void>();
  const ended: Promise<void>[] = [];
  const wait: Endpoint = {
    path: '/wait',
    methods: ['GET'],
    handle: async ({ signal }, response) => {
      response.flushHeaders();
      ended.push(new Promise((resolve) => signal.addEventListener('abort', () => resolve())));
      if (ended.length === 3) started.resolve();
      await ended.at(-1);
    },
    upgrade: async ({ url }) => {
      upgraded.push(url.search);
      started.resolve();
    },
  };
  await using lab = await Lab.start({ endpoints: [wait] });
  const socket = await lab.connect();
  const request = (query: string, headers = '') => `GET /wait?${query} HTTP/1.1\r\nHost: n\r\n${headers}\r\n`;
  socket.write(request('1') + request('2') + request('3', 'Connection: Upgrade\r\nUpgrade: x\r\n'));
  await started.promise;
  assert.deepEqual(upgraded, []);
  socket.destroy();
  await Promise.all(ended);
});

test('of a client that says nothing the kernel asks whether it is still there', async () => {
  await using lab = await Lab.start();
  const socket = await lab.connect();
  socket.write('GET /whoami HTTP/1.1\r\nHost: n\r\n\r\n');
  await once(socket, 'data');
  // What is sent now acknowledges the answer: the kernel has nothing to send again.
  await new Promise((resolve) => socket.write('G', resolve));
  const place = (port = 0) => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const connection = `${place(lab.port)} ${place(socket.localPort)} `;
  const line = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .find((text) => text.includes(connection));
  // The kind of the timer that runs (proc_net_tcp of the kernel's documentation): 2 is that of keepalive.
  assert.match(line ?? '', / 01 \S+ 02:/);
  socket.destroy();
});

test('a flood of strangers costs them their own places, and nothing stays', async () => {
  const before = process.getActiveResourcesInfo();
  const lab = await Lab.start({ limits: { strangers: 20 } });
  const known = await lab.connect();
  known.write('GET /whoami HTTP/1.1\r\nHost: n\r\n\r\n');
  await once(known, 'data');
  const flood = await Promise.allSettled(Array.from({ length: 200 }, () => lab.connect()));
  const sockets = flood.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []));
  const last = await lab.connect();
  const isOpen = (socket: TLSSocket) => !socket.destroyed && !socket.readableEnded;
  for (const socket of sockets) socket.resume();
  while (sockets.filter(isOpen).length > 20) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(isOpen(known) && isOpen(last), 'who was let in stays, and so does the newest');
  assert.equal((await lab.get('/whoami')).status, 200);
  for (let round = 0; round < 10; round++) {
    const refused = Array.from({ length: 20 }, () =>
      lab.get('/whoami', { headers: { authorization: 'Bearer wrong' } }),
    );
    for (const { status } of await Promise.all(refused)) assert.equal(status, 401);
  }
  for (const socket of lab.clients) socket.destroy();
  await Promise.all(lab.clients.map(closed));
  await lab.stop();
  const kinds = ['TCPSocketWrap', 'TLSWrap', 'TCPServerWrap', 'FSEventWrap'];
  const more = () =>
    kinds.filter((kind) => {
      const count = (list: string[]) => list.filter((name) => name === kind).length;
      return count(process.getActiveResourcesInfo()) > count(before);
    });
  // The kernel's side of a closed connection goes a few turns later.
  for (let turns = 0; turns < 1000 && more().length > 0; turns++) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(more(), []);
});

test('a port that is taken is said once, with who has it, and served as soon as it is free', async () => {
  const squatter = createServer().listen(0, '127.0.0.1');
  await once(squatter, 'listening');
  const { port } = squatter.address() as AddressInfo;
  const { cert, key } = Pki.create().serving(['n']);
  const clock = new FakeClock();
  const errors: { err: string; hint: string }[] = [];
  const failed = Promise.withResolvers<void>();
  const end = new AbortController();
  const files: NodeServerOptions['files'] = {
    read: async () => ({ cert, key }),
    watch: (_known, _changed, signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve())),
  };
  const log: Log = {
    ...silentLog,
    warn: (fields) => void errors.push(fields as never),
    error: (fields) => {
      errors.push(fields as never);
      failed.resolve();
    },
  };
  const server = new NodeServer({
    address: '127.0.0.1',
    port,
    tls: {},
    files,
    endpoints: [],
    guard: openGuard,
    clock,
    log,
  });
  const running = server.run(end.signal);
  await failed.promise;
  assert.match(
    errors[0]?.err ?? '',
    new RegExp(`^127\\.0\\.0\\.1:${port} is taken by .+ \\(process ${process.pid}\\)`),
  );
  assert.match(errors[0]?.hint ?? '', /set address and port of the KubeletConfiguration/);
  squatter.close();
  await once(squatter, 'close');
  let listening = false;
  void server.listening.then(() => {
    listening = true;
  });
  while (!listening) {
    await clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(errors.length, 1);
  end.abort();
  await running;
});
