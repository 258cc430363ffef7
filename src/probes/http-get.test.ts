import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { test } from 'node:test';
import { Pki } from '../../test/pki/pki.ts';
import { HttpGetError, type HttpGetRequest, httpGet } from './http-get.ts';

const signal = new AbortController().signal;

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

const get = (port: number, over: Partial<HttpGetRequest> = {}): HttpGetRequest => ({
  scheme: 'HTTP',
  host: '127.0.0.1',
  port,
  path: '/',
  headers: [],
  timeoutMs: 10_000,
  ...over,
});

/** What a server saw of one request: its line and its headers. */
async function seen(over: Partial<HttpGetRequest>): Promise<string[]> {
  let raw = '';
  using server = await listen(
    createTcpServer((socket) => {
      socket.on('data', (data) => {
        raw += data.toString('latin1');
        if (raw.includes('\r\n\r\n')) socket.end('HTTP/1.0 200 OK\r\n\r\nhi');
      });
      socket.on('error', () => {});
    }),
  );
  assert.deepEqual(await httpGet(get(server.port, over), signal), { status: 200, body: 'hi' });
  return raw.trimEnd().replaceAll(String(server.port), 'PORT').split('\r\n');
}

const sent: Record<string, { over: Partial<HttpGetRequest>; expect: string[] }> = {
  'nothing special': {
    over: {},
    expect: [
      'GET / HTTP/1.1',
      'Host: 127.0.0.1:PORT',
      'Connection: close',
      'User-Agent: kube-probe/1.36',
      'Accept: */*',
    ],
  },
  'headers of its own, twice the same too': {
    over: {
      headers: [
        ['X-A', '1'],
        ['X-A', '2'],
        ['X-Empty', ''],
        ['accept', 'text/plain'],
        ['user-agent', 'me'],
      ],
    },
    expect: [
      'GET / HTTP/1.1',
      'Host: 127.0.0.1:PORT',
      'Connection: close',
      'X-A: 1',
      'X-A: 2',
      'X-Empty: ',
      'accept: text/plain',
      'user-agent: me',
    ],
  },
  'defaults taken away': {
    over: {
      headers: [
        ['Accept', ''],
        ['User-Agent', ''],
      ],
    },
    expect: ['GET / HTTP/1.1', 'Host: 127.0.0.1:PORT', 'Connection: close'],
  },
  'another host': {
    over: { headers: [['Host', 'shop.example']], userAgent: 'kube-lifecycle/1.36' },
    expect: [
      'GET / HTTP/1.1',
      'Host: shop.example',
      'Connection: close',
      'User-Agent: kube-lifecycle/1.36',
      'Accept: */*',
    ],
  },
};

for (const [sentence, { over, expect }] of Object.entries(sent)) {
  test(`what is sent: ${sentence}`, async () => assert.deepEqual(await seen(over), expect));
}

const paths: Record<string, string> = {
  '': '/',
  healthz: '/healthz',
  '?full=1': '/?full=1',
  '/a b/ä?q=ü#part': '/a%20b/%C3%A4?q=%C3%BC',
  '/a%20b?c=%25': '/a%20b?c=%25',
};

for (const [path, expect] of Object.entries(paths)) {
  test(`the path '${path}' is asked for as ${expect}`, async () => {
    assert.equal((await seen({ path }))[0], `GET ${expect} HTTP/1.1`);
  });
}

async function answerOf(handler: RequestListener, over: Partial<HttpGetRequest> = {}) {
  using server = await listen(createServer(handler));
  return await httpGet(get(server.port, over), signal);
}

test('any status is an answer, with at most 10 KiB of its body', async () => {
  const answer = await answerOf((_, response) => {
    response.writeHead(500);
    for (let i = 0; i < 100; i++) response.write('x'.repeat(1000)); // Chunked, and never ended.
  });
  assert.equal(answer.status, 500);
  assert.equal(answer.body, 'x'.repeat(10 * 1024));
});

const strange: Record<string, { raw: string; expect: { status: number; body: string } }> = {
  'bare line feeds': { raw: 'HTTP/1.1 200 OK\nX: y\n\nhi', expect: { status: 200, body: 'hi' } },
  'no reason': { raw: 'HTTP/1.0 204\r\n\r\n', expect: { status: 204, body: '' } },
  'two lengths': {
    raw: 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
    expect: { status: 200, body: 'hi' },
  },
  'word to go on, and then its answer': {
    raw: 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhi',
    expect: { status: 200, body: 'hi' },
  },
  'another protocol': {
    raw: 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    expect: { status: 101, body: '' },
  },
};

for (const [sentence, { raw, expect }] of Object.entries(strange)) {
  test(`a server that answers with ${sentence}`, async () => {
    using server = await listen(
      createTcpServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => socket.end(raw));
      }),
    );
    assert.deepEqual(await httpGet(get(server.port), signal), expect);
  });
}

test('redirects to the same host are followed, with the headers', async () => {
  const visits: string[] = [];
  const answer = await answerOf(
    (request, response) => {
      visits.push(`${request.url} ${request.headers.host} ${request.headers['x-a']}`);
      if (request.url === '/3') response.end('there');
      else response.writeHead(302, { location: request.url === '/2' ? '/3' : '2' }).end();
    },
    {
      path: '/1',
      headers: [
        ['Host', 'shop.example'],
        ['X-A', 'a'],
      ],
    },
  );
  assert.deepEqual(answer, { status: 200, body: 'there' });
  assert.deepEqual(visits, ['/1 shop.example a', '/2 shop.example a', '/3 shop.example a']);
});

test('a redirect to another host is the answer', async () => {
  const answer = await answerOf((_, response) => {
    response.writeHead(301, { location: 'http://elsewhere.test/' }).end('moved');
  });
  assert.deepEqual(answer, { status: 301, body: 'moved' });
});

test('a redirect without a location is the answer', async () => {
  assert.equal((await answerOf((_, response) => response.writeHead(304).end())).status, 304);
  assert.equal((await answerOf((_, response) => response.writeHead(302).end())).status, 302);
});

const failure = (get: HttpGetRequest, using = signal) =>
  httpGet(get, using).then(
    () => assert.fail('an answer'),
    (error: unknown) => error,
  );

test('the eleventh redirect is too many', async () => {
  let visits = 0;
  using server = await listen(
    createServer((_, response) => {
      visits++;
      response.writeHead(307, { location: '/' }).end();
    }),
  );
  const error = await failure(get(server.port));
  assert.match(String(error), /Get "http:\/\/127.0.0.1:\d+\/": stopped after 10 redirects/);
  assert.equal(visits, 11);
});

test('certificates are not verified', async () => {
  const { cert, key } = Pki.create().serving(['nobody.test']);
  using server = await listen(createTlsServer({ cert, key }, (_, response) => response.end('secret')));
  assert.equal((await httpGet(get(server.port, { scheme: 'HTTPS' }), signal)).body, 'secret');
});

test('nobody listens', async () => {
  using server = await listen(createServer());
  server[Symbol.dispose]();
  const error = await failure(get(server.port, { path: 'x' }));
  assert.ok(error instanceof HttpGetError);
  const { port } = server;
  const expected = `Get "http://127.0.0.1:${port}/x": dial tcp 127.0.0.1:${port}: connect: connection refused`;
  assert.equal(error.message, expected);
  assert.deepEqual([error.timedOut, error.inBody], [false, false]);
});

const brokenAnswers: Record<string, { speak: (socket: Socket) => void; expect: RegExp; inBody: boolean; late?: true }> =
  {
    'hangs up without a word': { speak: (socket) => socket.end(), expect: /": EOF$/, inBody: false },
    'says nothing': {
      speak: () => {},
      expect: /context deadline exceeded \(Client.Timeout exceeded while awaiting headers\)$/,
      inBody: false,
      late: true,
    },
    'stops in the body': {
      speak: (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'),
      expect: /Client.Timeout exceeded while reading body\)$/,
      inBody: true,
      late: true,
    },
    'breaks off in the body': {
      speak: (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab'),
      expect: /": unexpected EOF$/,
      inBody: true,
    },
    'speaks something else': { speak: (socket) => socket.end('220 mail\r\n'), expect: /Parse Error/, inBody: false },
  };

for (const [sentence, { speak, expect, inBody, late }] of Object.entries(brokenAnswers)) {
  test(`a server that ${sentence}`, async () => {
    using server = await listen(
      createTcpServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => speak(socket));
      }),
    );
    const error = await failure(get(server.port, late ? { timeoutMs: 100 } : {}));
    assert.ok(error instanceof HttpGetError);
    assert.match(error.message, expect);
    assert.deepEqual([error.timedOut, error.inBody], [late ?? false, inBody]);
  });
}

test('who asks us to stop is heard at once', async () => {
  const stop = new AbortController();
  using server = await listen(createServer(() => stop.abort()));
  assert.equal(await failure(get(server.port), stop.signal), stop.signal.reason);
  assert.equal(await failure(get(server.port), stop.signal), stop.signal.reason);
});

test('HTTPS of a server that speaks plain HTTP', async () => {
  using server = await listen(createServer());
  const error = await failure(get(server.port, { scheme: 'HTTPS' }));
  assert.match(String(error), /Get "https:\/\/\S+\/": http: server gave HTTP response to HTTPS client$/);
});

test('a header that cannot be sent fails with words of its own', async () => {
  const error = await failure(get(1, { headers: [['X A', 'b']] }));
  assert.ok(error instanceof HttpGetError);
});
