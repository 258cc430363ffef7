import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentError } from '../lib/errors.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { AdminServer } from './admin-server.ts';

/** A server on a socket of its own, up; its warnings are kept. */
async function start(before: (socket: string) => void | Promise<void> = () => {}) {
  const dir = mkdtempSync(join(tmpdir(), 'admin-'));
  const socket = join(dir, 'run/admin.sock');
  await before(socket);
  const warnings: string[] = [];
  const up = Promise.withResolvers<void>();
  const log: Log = {
    ...silentLog,
    debug: () => up.resolve(),
    warn: (fields) => {
      warnings.push(JSON.stringify(fields));
      up.resolve();
    },
  };
  const stop = new AbortController();
  const asked = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  const state = { big: 'x'.repeat(8 << 20) };
  const answers = {
    '/v1/pods': () => ({ items: [] }),
    '/big': () => state,
    '/said': (query: URLSearchParams) => ({ said: query.get('word') }),
    '/late': async () => ({ late: true }),
    '/question': () => {
      throw new AgentError('BadQuestion', 'that is no word', { hint: 'a word has letters' });
    },
    '/soon': async () => {
      throw new AgentError('ServicesUnknown', 'not yet');
    },
    '/never': (_query: URLSearchParams, signal: AbortSignal) => {
      asked.resolve();
      return new Promise<object>((_resolve, reject) =>
        signal.addEventListener('abort', () => {
          reject(signal.reason);
          left.resolve();
        }),
      );
    },
    '/broken': () => {
      throw new Error('it broke');
    },
  };
  const running = new AdminServer({ socket, answers, log }).run(stop.signal);
  await up.promise;
  const end = async () => {
    stop.abort();
    await running;
  };
  const dispose = async () => {
    await end();
    rmSync(dir, { recursive: true });
  };
  return { socket, warnings, asked: asked.promise, left: left.promise, end, [Symbol.asyncDispose]: dispose };
}

async function ask(socket: string, path: string, method = 'GET'): Promise<{ status: number; body: string }> {
  const asked = request({ socketPath: socket, path, method, agent: false }).end();
  const [response] = await once(asked, 'response');
  let body = '';
  for await (const part of response) body += part;
  return { status: response.statusCode, body };
}

async function open(socket: string): Promise<Socket> {
  const client = connect(socket);
  client.on('error', () => {});
  await once(client, 'connect');
  return client;
}

test('only root may ask, and gets JSON', async () => {
  await using server = await start();
  assert.equal(statSync(server.socket).mode & 0o777, 0o600);
  assert.equal(statSync(join(server.socket, '..')).mode & 0o777, 0o700);
  assert.deepEqual(await ask(server.socket, '/v1/pods'), { status: 200, body: '{"items":[]}' });
  assert.equal((await ask(server.socket, '/v1/pods?x=y')).status, 200);
});

test('what cannot be answered is said, and nothing can be changed', async () => {
  await using server = await start();
  const refused = {
    '/v2/pods': [404, '{"message":"there is no /v2/pods"}'],
    '/toString': [404, '{"message":"there is no /toString"}'],
    '/broken': [500, '{"message":"it broke"}'],
    '/question': [400, '{"message":"that is no word","hint":"a word has letters"}'],
    '/soon': [503, '{"message":"not yet"}'],
  } as const;
  for (const [path, [status, body]] of Object.entries(refused)) {
    assert.deepEqual(await ask(server.socket, path), { status, body });
  }
  assert.equal((await ask(server.socket, '/v1/pods', 'DELETE')).status, 405);
});

test('an answer is made for what was asked, and may take its time', async () => {
  await using server = await start();
  assert.deepEqual(await ask(server.socket, '/said?word=a%2Fb'), { status: 200, body: '{"said":"a/b"}' });
  assert.deepEqual(await ask(server.socket, '/late'), { status: 200, body: '{"late":true}' });
});

test('what goes on for a client that went away is ended', async () => {
  await using server = await start();
  const client = await open(server.socket);
  client.write('GET /never HTTP/1.1\r\nhost: x\r\n\r\n');
  await server.asked;
  client.destroy();
  await server.left;
});

test('the socket of a predecessor that was killed is replaced, and goes with the server', async () => {
  await using server = await start(async (socket) => {
    mkdirSync(join(socket, '..'), { recursive: true });
    const dead = createServer().listen(`${socket}.dead`);
    await once(dead, 'listening');
    renameSync(`${socket}.dead`, socket);
    dead.close();
    await once(dead, 'close');
    assert.ok(existsSync(socket));
  });
  assert.equal((await ask(server.socket, '/v1/pods')).status, 200);
  await server.end();
  assert.ok(!existsSync(server.socket));
});

test('a socket that answers, or a file that is none, is left alone, and that is said', async () => {
  await using first = await start();
  const second = new AdminServer({ socket: first.socket, answers: {}, log: warnInto(first.warnings) });
  await second.run(new AbortController().signal);
  assert.match(first.warnings.join(), /somebody else listens at .*another keelson runs here/);
  assert.equal((await ask(first.socket, '/v1/pods')).status, 200);

  await using file = await start((socket) => {
    mkdirSync(join(socket, '..'), { recursive: true });
    writeFileSync(socket, 'mine');
  });
  assert.match(file.warnings.join(), /is there and is no socket/);
  assert.ok(existsSync(file.socket));
});

const warnInto = (warnings: string[]): Log => ({
  ...silentLog,
  warn: (fields) => void warnings.push(JSON.stringify(fields)),
});

test('clients that hang hold up nobody, and are cut off at the end', async () => {
  await using server = await start();
  const silent = await open(server.socket);
  const slow = await open(server.socket);
  slow.write('GET /big HTTP/1.1\r\nhost: x\r\n\r\n');
  slow.pause();
  assert.equal((await ask(server.socket, '/v1/pods')).status, 200);
  const closed = Promise.all([once(silent, 'close'), once(slow.resume(), 'close')]);
  await server.end();
  await closed;
});

test('more connections than a few are refused, and the others go on', async () => {
  await using server = await start();
  const held = await Promise.all(Array.from({ length: 16 }, () => open(server.socket)));
  const refused = connect(server.socket);
  refused.on('error', () => {});
  await once(refused, 'close');
  held[0]?.destroy();
  await once(held[0] as Socket, 'close');
  held[1]?.write('GET /v1/pods HTTP/1.1\r\nhost: x\r\n\r\n');
  const [answer] = await once(held[1] as Socket, 'data');
  assert.match(String(answer), /^HTTP\/1.1 200/);
  for (const client of held) client.destroy();
});
