import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { describe, it } from 'node:test';
import type { TLSSocket } from 'node:tls';
import type { Pod } from '../src/api/core-v1.ts';
import { createKubeClient, type KubeClientOptions } from '../src/kubeapi/client.ts';
import { KubeconfigCredentials } from '../src/kubeapi/credentials.ts';
import { ApiError, isExpired, type WatchEvent } from '../src/kubeapi/kube-api.ts';
import { parseKubeconfig } from '../src/kubeapi/kubeconfig.ts';
import { nodes, pods, secrets, serviceAccounts } from '../src/kubeapi/resources.ts';
import { type Clock, systemClock } from '../src/lib/clock.ts';
import { AgentError } from '../src/lib/errors.ts';
import { FakeClock } from '../src/lib/fake-clock.ts';
import {
  base64,
  kubeconfigText,
  memoryLog,
  pki,
  readRecording,
  ScriptedServer,
  scratchDir,
  serving,
  sleeplessClock,
} from './kubeapi-support.ts';
import { EXPIRED, Pki } from './pki/pki.ts';

const never = new AbortController().signal;
const pod = { metadata: { namespace: 'default', name: 'web' } };
const podJson = JSON.stringify({ kind: 'Pod', ...pod });
const json = { 'content-type': 'application/json' };

interface ClientSpec extends Partial<KubeClientOptions> {
  readonly cluster?: Record<string, unknown>;
  readonly user?: Record<string, unknown>;
  readonly folder?: string;
}

async function clientOf(url: string, { cluster = {}, user = {}, folder = '/', clock, ...options }: ClientSpec = {}) {
  const time: Clock = clock ?? systemClock;
  const access = parseKubeconfig(`${folder}/config`, kubeconfigText(url, { cluster, user }));
  const client = await createKubeClient({
    credentials: new KubeconfigCredentials(access, time),
    clock: time,
    qps: 0,
    ...options,
  });
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.close() });
}

const answerWith =
  (status: number, body: string, headers: Record<string, string> = json): RequestListener =>
  (_request, response) => {
    response.writeHead(status, headers).end(body);
  };

const rejection = async (promise: Promise<unknown>): Promise<AgentError> => {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof AgentError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: 'expected a rejection' });
};

describe('errors that kube-apiserver answers', () => {
  const cases: Record<string, { status: number; reason: string; message: RegExp }> = {
    'error-401-bad-token': { status: 401, reason: 'Unauthorized', message: /^Unauthorized$/ },
    'error-401-anonymous-403': { status: 403, reason: 'Forbidden', message: /cannot list resource "nodes"/ },
    'error-404': { status: 404, reason: 'NotFound', message: /secrets "nope" not found/ },
    'error-409-conflict': { status: 409, reason: 'Conflict', message: /has been modified/ },
    'error-409-exists': { status: 409, reason: 'AlreadyExists', message: /already exists/ },
    'error-422-invalid': { status: 422, reason: 'Invalid', message: /spec.containers: Required value/ },
  };
  for (const [name, { status, reason, message }] of Object.entries(cases)) {
    it(`${name} becomes an ApiError ${status} ${reason}`, async () => {
      const recording = await readRecording(name);
      await using server = await ScriptedServer.start(
        answerWith(recording.status, recording.body, recording.headers),
        serving,
      );
      await using client = await clientOf(server.url);
      const error = await rejection(client.get(pods, pod.metadata, never));
      assert.ok(error instanceof ApiError);
      assert.deepEqual({ status: error.status, reason: error.reason }, { status, reason });
      assert.match(error.message, message);
      if (status === 422) assert.equal(error.details?.causes?.[0]?.field, 'spec.containers');
    });
  }
});

describe('a server that cannot be used is an error with a remedy', () => {
  const otherPki = Pki.create('wrong-ca');
  const ok = answerWith(200, '{"kind":"Node","metadata":{"name":"a"}}');
  const html = answerWith(404, '<html><body>nginx: not found</body></html>', { 'content-type': 'text/html' });
  const cases: Record<
    string,
    { start: () => Promise<ScriptedServer>; scheme?: string; code: string; says?: RegExp; hint: RegExp }
  > = {
    'another authority signed its certificate': {
      start: () => ScriptedServer.start(ok, otherPki.serving(['127.0.0.1'])),
      code: 'ApiCertificateUntrusted',
      hint: /certificate-authority-data/,
    },
    'its certificate has expired': {
      start: () => ScriptedServer.start(ok, pki.serving(['127.0.0.1'], EXPIRED)),
      code: 'ApiCertificateExpired',
      hint: /clock/,
    },
    'its certificate is for another name': {
      start: () => ScriptedServer.start(ok, pki.serving(['example.test'])),
      code: 'ApiCertificateWrongName',
      hint: /tls-server-name/,
    },
    'it speaks plain HTTP': {
      start: () => ScriptedServer.start(ok, undefined),
      scheme: 'https:',
      code: 'NotAnApiServer',
      says: /does not speak TLS/,
      hint: /scheme and port/,
    },
    'it is a web server, whose 404 must not pass for a missing object': {
      start: () => ScriptedServer.start(html, serving),
      code: 'NotAnApiServer',
      says: /HTTP 404, text\/html: nginx: not found/,
      hint: /host, port and path/,
    },
    'it answers a page with 200': {
      start: () => ScriptedServer.start(answerWith(200, '<h1>Router</h1>', { 'content-type': 'text/html' }), serving),
      code: 'NotAnApiServer',
      says: /Router/,
      hint: /server URL/,
    },
    'it answers JSON that is no Kubernetes object, which is not quoted': {
      start: () => ScriptedServer.start(answerWith(200, '{"password":"hunter2"}'), serving),
      code: 'NotAnApiServer',
      says: /^(?!.*hunter2)/,
      hint: /server URL/,
    },
    'it is gone': {
      start: async () => {
        const server = await ScriptedServer.start(ok, serving);
        await server[Symbol.asyncDispose]();
        return server;
      },
      code: 'ApiUnreachable',
      says: /get nodes a at https:\/\/127.0.0.1:\d+: nothing accepts connections/,
      hint: /firewalls/,
    },
  };
  for (const [sentence, { start, scheme, code, says, hint }] of Object.entries(cases)) {
    it(sentence, async () => {
      await using server = await start();
      const url = scheme ? server.url.replace(/^http:/, scheme) : server.url;
      await using client = await clientOf(url);
      const error = await rejection(client.get(nodes, { name: 'a' }, never));
      assert.equal(error.code, code, error.stack ?? '');
      assert.match(error.message, says ?? /./);
      assert.match(error.hint ?? '', hint);
    });
  }

  it('its name does not resolve', async () => {
    await using client = await clientOf('https://no-such-host.invalid:6443');
    assert.equal((await rejection(client.get(nodes, { name: 'a' }, never))).code, 'ApiNameUnknown');
  });

  it('tls-server-name makes another name right', async () => {
    await using server = await ScriptedServer.start(ok, pki.serving(['example.test']));
    await using client = await clientOf(server.url, { cluster: { 'tls-server-name': 'example.test' } });
    assert.equal((await client.get(nodes, { name: 'a' }, never)).kind, 'Node');
  });
});

describe('requests', () => {
  it('carry path, query, types and bodies as the API expects them', async () => {
    const seen: unknown[] = [];
    const listener: RequestListener = async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const { method, url, headers } = request;
      seen.push({
        method,
        url,
        type: headers['content-type'],
        agent: headers['user-agent'],
        auth: headers.authorization,
        body,
      });
      response
        .writeHead(200, json)
        .end(
          '{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"c"},"items":[{"metadata":{"name":"web"}}]}',
        );
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(`${server.url}/prefix/`, { user: { token: 'tok' }, userAgent: 'keelson/9' });
    const query = { namespace: 'default', fieldSelector: 'spec.nodeName=a', limit: 500 };
    const list = await client.list(pods, query, never);
    assert.deepEqual(list, {
      resourceVersion: '7',
      continue: 'c',
      items: [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web' } }],
    });
    await client.patch(pods, pod.metadata, { type: 'strategic', subresource: 'status', body: { status: {} } }, never);
    await client.delete(pods, pod.metadata, { gracePeriodSeconds: 0, uid: 'u' }, never);
    const token = { spec: { audiences: ['api'] } };
    await client.createSubresource(serviceAccounts, { namespace: 'default', name: 'sa' }, 'token', token, never);
    const common = { agent: 'keelson/9', auth: 'Bearer tok' };
    assert.deepEqual(seen, [
      {
        ...common,
        method: 'GET',
        url: '/prefix/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3Da&limit=500',
        type: undefined,
        body: '',
      },
      {
        ...common,
        method: 'PATCH',
        url: '/prefix/api/v1/namespaces/default/pods/web/status',
        type: 'application/strategic-merge-patch+json',
        body: '{"status":{}}',
      },
      {
        ...common,
        method: 'DELETE',
        url: '/prefix/api/v1/namespaces/default/pods/web',
        type: 'application/json',
        body: '{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{"uid":"u"}}',
      },
      {
        ...common,
        method: 'POST',
        url: '/prefix/api/v1/namespaces/default/serviceaccounts/sa/token',
        type: 'application/json',
        body: '{"spec":{"audiences":["api"]}}',
      },
    ]);
  });

  it('wait as long as Retry-After says and go again, a create too', async () => {
    let count = 0;
    const listener: RequestListener = (request, response) => {
      request.resume();
      count++;
      if (count === 1)
        response.writeHead(429, { 'retry-after': '3', 'content-type': 'text/plain' }).end('Too many requests');
      else if (count === 2)
        response.writeHead(503, { 'retry-after': '1', ...json }).end('{"kind":"Status","code":503}');
      else response.writeHead(201, json).end(podJson);
    };
    await using server = await ScriptedServer.start(listener, serving);
    const clock = sleeplessClock();
    await using client = await clientOf(server.url, { clock });
    await client.create(pods, { ...pod, spec: { containers: [] } }, never);
    assert.deepEqual(clock.slept, [3000, 1000]);
  });

  it('give up on a server that keeps saying Retry-After', async () => {
    let count = 0;
    const listener: RequestListener = (_request, response) => {
      count++;
      response.writeHead(429, { 'retry-after': '1', 'content-type': 'text/plain' }).end('Too many requests');
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url, { clock: sleeplessClock() });
    const error = await rejection(client.get(pods, pod.metadata, never));
    assert.ok(error instanceof ApiError && error.status === 429 && error.retryAfterMs === 1000);
    assert.equal(count, 11);
  });

  const resets: Record<string, { create: boolean; attempts: number }> = {
    'are repeated on a broken connection when they may be done twice': { create: false, attempts: 3 },
    'are not repeated on a broken connection when they create something': { create: true, attempts: 1 },
  };
  for (const [sentence, { create, attempts }] of Object.entries(resets)) {
    it(sentence, async () => {
      let count = 0;
      const listener: RequestListener = (request) => {
        count++;
        request.socket.destroy();
      };
      await using server = await ScriptedServer.start(listener, serving);
      await using client = await clientOf(server.url, { clock: sleeplessClock() });
      const call = create
        ? client.create(pods, { ...pod, spec: { containers: [] } }, never)
        : client.get(pods, pod.metadata, never);
      assert.equal((await rejection(call)).code, 'ApiConnectionLost');
      assert.equal(count, attempts);
    });
  }

  it('end with the reason of their signal', async () => {
    const arrived = Promise.withResolvers<void>();
    await using server = await ScriptedServer.start(() => arrived.resolve(), serving);
    await using client = await clientOf(server.url);
    const controller = new AbortController();
    const call = client.get(pods, pod.metadata, controller.signal);
    await arrived.promise;
    controller.abort();
    await assert.rejects(call, { name: 'AbortError' });
  });

  it('keep to the rate', async () => {
    const clock = new FakeClock(Date.now());
    await using server = await ScriptedServer.start(answerWith(200, podJson), serving);
    await using client = await clientOf(server.url, { clock, qps: 1, burst: 2 });
    let done = 0;
    const calls = [1, 2, 3].map(() => client.get(pods, pod.metadata, never).then(() => done++));
    await Promise.all(calls.slice(0, 2));
    assert.equal(done, 2);
    await clock.advance(1000);
    await calls[2];
  });
});

describe('a server that falls silent', () => {
  it('is given up after the deadline, and no connection to it is used again, watches included', async () => {
    const clock = new FakeClock(Date.now());
    const arrived = Promise.withResolvers<void>();
    let mute = false;
    const listener: RequestListener = (request, response) => {
      if (request.url?.includes('watch')) {
        response.writeHead(200, json);
        response.write('{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5"}}}\n');
      } else if (mute) arrived.resolve();
      else response.writeHead(200, json).end(podJson);
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url, { clock, requestTimeoutMs: 10_000 });
    const watch = client.watch(pods, { allowWatchBookmarks: true }, never)[Symbol.asyncIterator]();
    assert.equal((await watch.next()).value.type, 'BOOKMARK');
    const watching = assert.rejects(watch.next(), { code: 'ApiConnectionLost' });
    await client.get(pods, pod.metadata, never);
    await clock.advance(1);
    mute = true;
    const call = client.get(pods, pod.metadata, never);
    await arrived.promise;
    await Promise.all([assert.rejects(call, { code: 'ApiTimeout', retryable: true }), clock.advance(10_000)]);
    await watching;
    mute = false;
    const before = server.sockets.length;
    await client.get(pods, pod.metadata, never);
    assert.equal(server.sockets.length, before + 1, 'a new connection was made');
  });

  it('is given up in the middle of an answer', async () => {
    const clock = new FakeClock(Date.now());
    const sent = Promise.withResolvers<void>();
    const listener: RequestListener = (_request, response) => {
      response.writeHead(200, json);
      response.write('{"kind":', () => sent.resolve());
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url, { clock });
    const call = rejection(client.get(pods, pod.metadata, never));
    await sent.promise;
    // The head may still be on its way; the deadline counts from the last byte, so twice its length is enough.
    await clock.advance(10_000);
    await clock.advance(10_000);
    assert.equal((await call).code, 'ApiTimeout');
  });

  it('that had promised bookmarks ends its watch', async () => {
    const clock = new FakeClock(Date.now());
    const listener: RequestListener = (_request, response) => {
      response.writeHead(200, json);
      response.write('{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5"}}}\n');
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url, { clock });
    const watch = client.watch(pods, { allowWatchBookmarks: true }, never)[Symbol.asyncIterator]();
    await watch.next();
    const next = rejection(watch.next() as Promise<unknown>);
    await clock.advance(180_000);
    assert.equal((await next).code, 'ApiTimeout');
  });
});

describe('watch', () => {
  const collect = async (events: AsyncIterable<WatchEvent<Pod>>): Promise<WatchEvent<Pod>[]> => {
    const all: WatchEvent<Pod>[] = [];
    for await (const event of events) all.push(event);
    return all;
  };

  it('reads a recorded stream, wherever it is cut into chunks', async () => {
    const recording = await readRecording('watch-pods');
    const listener: RequestListener = async (_request, response) => {
      response.writeHead(200, recording.headers);
      for (let at = 0; at < recording.body.length; at += 997) {
        if (!response.write(recording.body.slice(at, at + 997))) await once(response, 'drain');
      }
      response.end();
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url);
    const events = await collect(client.watch(pods, { allowWatchBookmarks: true }, never));
    const lines = recording.body.trim().split('\n');
    assert.deepEqual(
      events,
      lines.map((line) => JSON.parse(line)),
    );
    assert.equal(events.at(-1)?.type, 'BOOKMARK');
  });

  it('turns an ERROR event into an ApiError', async () => {
    const recording = await readRecording('watch-expired');
    await using server = await ScriptedServer.start(answerWith(200, recording.body, recording.headers), serving);
    await using client = await clientOf(server.url);
    const error = await rejection(collect(client.watch(pods, { resourceVersion: '1' }, never)));
    assert.ok(isExpired(error));
    assert.equal(error.reason, 'Expired');
  });

  it('turns a refusal of the request into an ApiError', async () => {
    const recording = await readRecording('error-401-anonymous-403');
    await using server = await ScriptedServer.start(answerWith(403, recording.body, recording.headers), serving);
    await using client = await clientOf(server.url);
    const error = await rejection(collect(client.watch(pods, {}, never)));
    assert.ok(error instanceof ApiError && error.status === 403);
  });

  it('takes an event that is cut in two for a lost connection, which is followed from where it was', async () => {
    const cut = '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5"}}}\n{"type":"ADDED","obj';
    await using server = await ScriptedServer.start(answerWith(200, cut, json), serving);
    await using client = await clientOf(server.url);
    const error = await rejection(collect(client.watch(pods, {}, never)));
    assert.equal(error.code, 'ApiConnectionLost');
  });

  it('says so when the stream breaks', async () => {
    const listener: RequestListener = (_request, response) => {
      response.writeHead(200, json);
      response.write('{"type":"ADDED","object":{"metadata":{"name":"web"}}}\n{"type":', () =>
        response.socket?.destroy(),
      );
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url);
    assert.equal((await rejection(collect(client.watch(pods, {}, never)))).code, 'ApiConnectionLost');
  });

  it('closes its connection when the reader leaves the loop', async () => {
    const closed = Promise.withResolvers<void>();
    const listener: RequestListener = (request, response) => {
      request.socket.on('close', () => closed.resolve());
      response.writeHead(200, json);
      response.write('{"type":"ADDED","object":{"metadata":{"name":"web"}}}\n');
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url);
    for await (const event of client.watch(pods, {}, never)) {
      assert.equal(event.type, 'ADDED');
      break;
    }
    await closed.promise;
  });

  it('never keeps a request waiting, however many there are', async () => {
    const listener: RequestListener = (request, response) => {
      response.writeHead(200, json);
      if (request.url?.includes('watch')) response.write('{"type":"ADDED","object":{"metadata":{"name":"web"}}}\n');
      else response.end(podJson);
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url);
    const watches = Array.from({ length: 30 }, () => client.watch(pods, {}, never)[Symbol.asyncIterator]());
    await Promise.all(watches.map((watch) => watch.next()));
    assert.equal((await client.get(pods, pod.metadata, never)).kind, 'Pod');
    await Promise.all(watches.map((watch) => watch.return?.()));
  });
});

describe('identity', () => {
  it('is renewed from the token file when the server answers 401', async () => {
    await using dir = await scratchDir();
    await dir.write('token', 'old');
    const listener: RequestListener = (request, response) => {
      const good = request.headers.authorization === 'Bearer new';
      response
        .writeHead(good ? 200 : 401, json)
        .end(good ? podJson : '{"kind":"Status","code":401,"reason":"Unauthorized"}');
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url, { folder: dir.path, user: { tokenFile: 'token' } });
    assert.ok((await rejection(client.get(pods, pod.metadata, never))) instanceof ApiError);
    await dir.write('token', 'new');
    assert.equal((await client.get(pods, pod.metadata, never)).kind, 'Pod');
  });

  it('follows a rotated client certificate on new connections', async () => {
    await using dir = await scratchDir();
    const users: string[] = [];
    const listener: RequestListener = (request, response) => {
      users.push(String((request.socket as TLSSocket).getPeerCertificate().subject?.CN));
      response.writeHead(200, json).end(podJson);
    };
    await using server = await ScriptedServer.start(listener, { ...serving, ca: pki.ca, requestCert: true });
    const clock = new FakeClock(Date.now());
    const rotate = async (name: string) => {
      const { cert, key } = pki.client(name);
      await dir.write('client.pem', cert + key);
      await clock.advance(10_000);
    };
    await rotate('first');
    const user = { 'client-certificate': 'client.pem', 'client-key': 'client.pem' };
    await using client = await clientOf(server.url, { folder: dir.path, user, clock });
    await client.get(pods, pod.metadata, never);
    await rotate('second');
    await client.get(pods, pod.metadata, never);
    assert.deepEqual(users, ['first', 'second']);
  });

  it('and secrets stay out of the log and of errors', async () => {
    const log = memoryLog();
    let count = 0;
    const listener: RequestListener = (_request, response) => {
      if (count++ < 2)
        response.writeHead(429, { 'retry-after': '0', ...json }).end('{"kind":"Status","code":429,"message":"later"}');
      else response.writeHead(200, json).end(`{"kind":"Secret","data":{"p":"${base64('hunter2')}"},"broken`);
    };
    await using server = await ScriptedServer.start(listener, serving);
    await using client = await clientOf(server.url, { log, user: { token: 't0psecret' } });
    const error = await rejection(client.get(secrets, pod.metadata, never));
    assert.equal(log.lines.length, 2);
    assert.doesNotMatch(JSON.stringify(log.lines) + error.stack + error.hint, /t0psecret|hunter2|aHVudGVyMg/);
  });
});
