import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { afterEach, test } from 'node:test';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import type { Target } from '../route-services.ts';
import type { Relay } from './relay.ts';
import { SocketQuota } from './socket-quota.ts';
import { openTcpRelay } from './tcp-relay.ts';

const host = '127.0.0.1';
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A server on loopback; its connections end with the test. */
async function endpoint(onConnection: (socket: Socket) => void): Promise<Target> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    cleanUps.push(() => socket.destroy());
    onConnection(socket);
  });
  server.listen(0, host);
  await once(server, 'listening');
  cleanUps.push(() => server.close());
  return targetOf(server);
}

const targetOf = (server: Server): Target => ({
  ...{ ip: host, port: (server.address() as AddressInfo).port, mayBeLocal: false },
});

/** Says its name, and ends. */
const named = (name: string) => endpoint((socket) => socket.end(name));

/** An address where nobody listens. */
async function nobody(): Promise<Target> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const target = targetOf(server);
  server.close();
  await once(server, 'close');
  return target;
}

async function relayTo(
  targets: readonly Target[],
  {
    affinitySeconds,
    limit = 100,
    clock = new FakeClock(),
  }: { affinitySeconds?: number; limit?: number; clock?: FakeClock } = {},
): Promise<Relay & { readonly connections: SocketQuota; serveAll(...all: Target[]): void }> {
  const connections = new SocketQuota({ limit, log: silentLog, what: 'connections' });
  const relay = await openTcpRelay({ host, clock, connections });
  relay.serve({ targets, affinitySeconds });
  cleanUps.push(() => {
    relay.close();
    connections.endAll();
  });
  return { ...relay, connections, serveAll: (...all) => relay.serve({ targets: all, affinitySeconds }) };
}

function open({ port }: { readonly port: number }, localAddress = host): Socket {
  const socket = connect({ port, host, localAddress, allowHalfOpen: true });
  socket.on('error', () => {});
  cleanUps.push(() => socket.destroy());
  return socket;
}

/** All that is said until the end, or the code of the error. */
async function answer(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('utf8');
  socket.on('data', (data: string) => {
    text += data;
  });
  return new Promise((resolve) => {
    socket.once('end', () => resolve(text));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  });
}

async function ask(relay: { readonly port: number }, localAddress?: string): Promise<string> {
  const socket = open(relay, localAddress);
  const said = await answer(socket);
  socket.end();
  return said;
}

test('endpoints are taken in turn', async () => {
  const relay = await relayTo([await named('a'), await named('b'), await named('c')]);
  const said: string[] = [];
  for (let at = 0; at < 6; at++) said.push(await ask(relay));
  assert.deepEqual(said, ['a', 'b', 'c', 'a', 'b', 'c']);
});

test('a client with affinity keeps its endpoint until it was away for the time, or the endpoint goes', async () => {
  const clock = new FakeClock();
  const [a, b] = [await named('a'), await named('b')];
  const relay = await relayTo([a, b], { affinitySeconds: 10, clock });
  assert.deepEqual([await ask(relay), await ask(relay, '127.0.0.2')], ['a', 'b']);
  clock.stall(9_000);
  assert.equal(await ask(relay), 'a', 'its time begins anew with each connection');
  clock.stall(9_000);
  assert.deepEqual([await ask(relay), await ask(relay, '127.0.0.2')], ['a', 'a'], 'the other was away too long');
  relay.serveAll(b);
  assert.equal(await ask(relay), 'b');
  relay.serveAll(a, b);
  assert.equal(await ask(relay), 'b', 'and not back to one that has been away itself');
});

test('a client that has sent all still gets its answer', async () => {
  const relay = await relayTo([
    await endpoint((socket) => {
      let text = '';
      socket.on('data', (data) => {
        text += data;
      });
      socket.on('end', () => socket.end(`${text} to you`));
    }),
  ]);
  const socket = open(relay);
  socket.end('hello');
  assert.equal(await answer(socket), 'hello to you');
});

test('an endpoint that has said all still hears its client', async () => {
  const heard = Promise.withResolvers<string>();
  const relay = await relayTo([
    await endpoint((socket) => {
      socket.end('tell me');
      void answer(socket).then(heard.resolve);
    }),
  ]);
  const socket = open(relay);
  assert.equal(await answer(socket), 'tell me');
  socket.end('much');
  assert.equal(await heard.promise, 'much');
});

test('a client waits for an endpoint that does not read, and loses nothing', async () => {
  const accepted = Promise.withResolvers<Socket>();
  const slow = await endpoint((socket) => accepted.resolve(socket.pause()));
  const relay = await relayTo([slow]);
  const socket = open(relay);
  const size = 64 * 1024 * 1024;
  socket.end(Buffer.alloc(size, 'x'));
  const server = await accepted.promise;
  relay.serveAll(await named('other'));
  for (let at = 0; at < 50; at++) assert.equal(await ask(relay), 'other');
  assert.ok(socket.writableLength > size / 4, 'the relay takes no more than it can pass on');
  let got = 0;
  server.on('data', (data) => {
    got += data.length;
  });
  server.resume();
  await once(server, 'end');
  assert.equal(got, size);
});

test('an endpoint that refuses is passed over, also by a client with affinity', async () => {
  for (const affinitySeconds of [0, 10]) {
    const more = affinitySeconds ? { affinitySeconds } : {};
    const relay = await relayTo([await nobody(), await nobody(), await named('a')], more);
    for (let at = 0; at < 3; at++) assert.equal(await ask(relay), 'a');
  }
});

test('a client is reset when every endpoint refuses, and when there is none', async () => {
  const relay = await relayTo([await nobody(), await nobody()]);
  assert.equal(await ask(relay), 'ECONNRESET');
  relay.serveAll();
  assert.equal(await ask(relay), 'ECONNRESET');
  relay.serveAll(await named('a'));
  assert.equal(await ask(relay), 'a');
});

test('a broken answer does not look like a whole one, and costs only its connection', async () => {
  const accepted: Socket[] = [];
  const relay = await relayTo([
    await endpoint((socket) => {
      accepted.push(socket);
      socket.write('half of');
    }),
  ]);
  const broken = open(relay);
  await once(broken, 'data');
  const whole = open(relay);
  await once(whole, 'data');
  const said = answer(broken);
  accepted[0]?.resetAndDestroy();
  assert.equal(await said, 'ECONNRESET');
  accepted[1]?.end(' it');
  assert.equal(await answer(whole), ' it');
});

test('an endpoint hears when its client breaks off', async () => {
  const ended = Promise.withResolvers<string>();
  const relay = await relayTo([
    await endpoint((socket) => {
      socket.write('x');
      void answer(socket).then(ended.resolve);
    }),
  ]);
  const socket = open(relay);
  await once(socket, 'data');
  socket.resetAndDestroy();
  assert.equal(await ended.promise, 'ECONNRESET');
});

test('one connection more than may be is reset; when one has ended there is room again', async () => {
  const relay = await relayTo([await endpoint((socket) => socket.write('x'))], { limit: 2 });
  const [first, second] = [open(relay), open(relay)];
  await Promise.all([once(first, 'data'), once(second, 'data')]);
  assert.equal(await ask(relay), 'ECONNRESET');
  assert.equal(relay.connections.size, 2);
  first.resetAndDestroy();
  await once(first, 'close');
  // Whether the relay has heard of it already shows by whether it takes another.
  for (;;) {
    const next = open(relay);
    const isServed = await new Promise((resolve) => {
      next.once('data', () => resolve(true));
      next.once('close', () => resolve(false));
    });
    if (isServed) break;
  }
  assert.equal(relay.connections.size, 2);
});

test('a closed relay takes nobody, and those it has go on until all are ended', async () => {
  const relay = await relayTo([await endpoint((socket) => socket.pipe(socket))]);
  const socket = open(relay);
  socket.write('one');
  assert.equal(String((await once(socket, 'data'))[0]), 'one');
  relay.close();
  assert.equal(await ask(relay), 'ECONNREFUSED');
  socket.write('two');
  assert.equal(String((await once(socket, 'data'))[0]), 'two');
  const said = answer(socket);
  relay.connections.endAll();
  assert.equal(await said, 'ECONNRESET');
  assert.equal(relay.connections.size, 0);
});
