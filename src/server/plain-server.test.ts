import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { HttpError } from './endpoint.ts';
import { PlainServer, type PlainServerOptions } from './plain-server.ts';

interface Said {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly text: string;
}

function ask(port: number, method: string, path: string): Promise<Said> {
  return new Promise((resolve, reject) => {
    const asked = request({ port, method, path, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode, type: response.headers['content-type'], text }));
    });
    asked.on('error', reject).end();
  });
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function setUp(port: number, answer: PlainServerOptions['answer'], heard: (message: string, fields: object) => void) {
  const tell = (fields: object, message: string) => heard(message, fields);
  const log: Log = { ...silentLog, debug: tell, error: tell };
  const clock = new FakeClock();
  const place = { address: '127.0.0.1', port, keys: 'healthzBindAddress', kind: 'KubeProxyConfiguration', what: 'x' };
  return { clock, server: new PlainServer({ ...place, answer, clock, log }) };
}

test('answers, and what is no answer', async () => {
  const port = await freePort();
  const served = Promise.withResolvers<void>();
  const answer: PlainServerOptions['answer'] = (path, query) => {
    if (path === '/echo') return { status: 200, text: query.get('word') ?? '' };
    if (path === '/busy') throw new HttpError(409, 'another one\n');
    if (path === '/broken') throw new Error('it is broken');
    return path === '/json' ? { status: 503, text: '{}', contentType: 'application/json' } : undefined;
  };
  const { server } = setUp(port, answer, () => served.resolve());
  const life = new AbortController();
  const over = server.run(life.signal);
  await served.promise;
  const plain = 'text/plain; charset=utf-8';
  assert.deepEqual(await ask(port, 'GET', '/json?q'), { status: 503, type: 'application/json', text: '{}' });
  assert.equal((await ask(port, 'GET', '/echo?word=a%20b')).text, 'a b');
  assert.deepEqual(await ask(port, 'HEAD', '/json'), { status: 503, type: 'application/json', text: '' });
  assert.deepEqual(await ask(port, 'POST', '/json'), { status: 405, type: plain, text: 'Method Not Allowed\n' });
  assert.deepEqual(await ask(port, 'GET', '/'), { status: 404, type: plain, text: '404 page not found\n' });
  assert.deepEqual(await ask(port, 'GET', '/broken'), { status: 500, type: plain, text: 'it is broken\n' });
  assert.deepEqual(await ask(port, 'GET', '/busy'), { status: 409, type: plain, text: 'another one\n' });
  life.abort();
  await over;
  await assert.rejects(ask(port, 'GET', '/json'), /ECONNREFUSED/);
});

test('a port that is taken is told of once, with who has it, and had as soon as it is free', async () => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
  const { port } = holder.address() as AddressInfo;
  const said: string[] = [];
  const [taken, served] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { server, clock } = setUp(
    port,
    () => ({ status: 200, text: 'ok' }),
    (message, fields) => {
      said.push(`${message}: ${(fields as { hint?: string }).hint ?? ''}`);
      if (message === 'a port is not served') taken.resolve();
      if (message === 'a port is served') served.resolve();
    },
  );
  const life = new AbortController();
  const over = server.run(life.signal);
  await taken.promise;
  await new Promise((resolve) => holder.close(resolve));
  await clock.advance(60_000);
  await served.promise;
  assert.equal((await ask(port, 'GET', '/')).text, 'ok');
  assert.equal(said.length, 2);
  assert.match(said[0] ?? '', /set healthzBindAddress of the KubeProxyConfiguration;/);
  life.abort();
  await over;
});

test('a port that is taken ends it where that is asked for', async () => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
  const { port } = holder.address() as AddressInfo;
  const place = { address: '127.0.0.1', port, keys: 'healthzBindAddress', kind: 'KubeProxyConfiguration', what: 'x' };
  const common = { clock: new FakeClock(), log: silentLog, failsHard: true };
  const server = new PlainServer({ ...place, ...common, answer: () => undefined });
  await assert.rejects(server.run(new AbortController().signal), { code: 'PortTaken' });
  await new Promise((resolve) => holder.close(resolve));
});
