import assert from 'node:assert/strict';
import type { Socket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, test } from 'node:test';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import type { Target } from '../route-services.ts';
import { SocketQuota } from './socket-quota.ts';
import { openUdpRelay } from './udp-relay.ts';

const host = '127.0.0.1';
const cleanUps: (() => unknown)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp();
});

async function socket(address = host): Promise<Socket> {
  const one = createSocket('udp4');
  one.bind(0, address);
  await once(one, 'listening');
  let isOpen = true;
  one.once('close', () => {
    isOpen = false;
  });
  cleanUps.push(() => isOpen && one.close());
  return one;
}

/** Answers with its name and the port that it was asked from, which tells sessions apart. */
async function named(name: string): Promise<Target & { readonly socket: Socket }> {
  const one = await socket();
  one.on('message', (data, from) => one.send(`${name} ${data}`, from.port, from.address));
  return { ip: host, port: one.address().port, mayBeLocal: false, socket: one };
}

async function relayTo(
  targets: readonly Target[],
  { affinitySeconds, limit = 100 }: { affinitySeconds?: number; limit?: number } = {},
) {
  const clock = new FakeClock();
  const sessions = new SocketQuota({ limit, log: silentLog, what: 'sessions' });
  const relay = await openUdpRelay({ host, clock, sessions });
  const serve = (...all: Target[]) => relay.serve({ targets: all, affinitySeconds });
  serve(...targets);
  cleanUps.push(() => relay.close());
  const ask = async (client: Socket, text = 'x'): Promise<string> => {
    client.send(text, relay.port, host);
    const [data, from] = (await once(client, 'message')) as [Buffer, { port: number }];
    assert.equal(from.port, relay.port, 'the answer comes from where the question went');
    return String(data);
  };
  return { clock, sessions, serve, ask, port: relay.port };
}

test('an endpoint that there is no way to costs its datagrams, and the next endpoint serves', async () => {
  // The kernel refuses this address to a socket that has not asked for broadcasts.
  const noWay: Target = { ip: '255.255.255.255', port: 9, mayBeLocal: false };
  const { ask, port, sessions } = await relayTo([noWay, await named('b')]);
  const [lost, client] = [await socket(), await socket()];
  lost.send('x', port, host);
  assert.deepEqual([await ask(client), await ask(client, 'y')], ['b x', 'b y']);
  assert.equal(sessions.size, 1);
});

test('a client keeps its endpoint, and the next one gets the next', async () => {
  const { ask, sessions } = await relayTo([await named('a'), await named('b')]);
  const [one, other] = [await socket(), await socket()];
  const said = [await ask(one), await ask(other), await ask(one), await ask(other), await ask(one)];
  assert.deepEqual(said, ['a x', 'b x', 'a x', 'b x', 'a x']);
  assert.equal(sessions.size, 2);
});

test('with affinity it is the address that keeps the endpoint', async () => {
  const { ask } = await relayTo([await named('a'), await named('b')], { affinitySeconds: 10 });
  const [one, same, other] = [await socket(), await socket(), await socket('127.0.0.2')];
  assert.deepEqual([await ask(one), await ask(same), await ask(other)], ['a x', 'a x', 'b x']);
});

test('datagrams that come before the session’s socket is ready all arrive', async () => {
  const { ask, port } = await relayTo([await named('a')]);
  const client = await socket();
  const got: string[] = [];
  const all = Promise.withResolvers<void>();
  client.on('message', (data) => {
    got.push(String(data));
    if (got.length === 20) all.resolve();
  });
  for (let at = 0; at < 20; at++) client.send(String(at), port, host);
  await all.promise;
  assert.deepEqual(got.sort(), Array.from({ length: 20 }, (_, at) => `a ${at}`).sort());
  assert.equal(await ask(client), 'a x');
});

test('a flow to an endpoint that goes moves to another', async () => {
  const [a, b] = [await named('a'), await named('b')];
  const { ask, serve, sessions } = await relayTo([a, b]);
  const client = await socket();
  assert.equal(await ask(client), 'a x');
  serve(b);
  assert.equal(sessions.size, 0);
  assert.equal(await ask(client), 'b x');
  serve(b, a);
  assert.equal(await ask(client), 'b x');
});

test('an endpoint that refuses loses the flow', async () => {
  const [a, b] = [await named('a'), await named('b')];
  a.socket.close();
  const { ask, sessions, port } = await relayTo([a, b]);
  const client = await socket();
  client.send('lost', port, host);
  // Every datagram finds out whether the refusal has come in by now.
  const answered = once(client, 'message').then(([data]) => String(data));
  const tick = setInterval(() => client.send('x', port, host), 5);
  try {
    assert.equal(await answered, 'b x');
  } finally {
    clearInterval(tick);
  }
  assert.equal(sessions.size, 1);
  assert.match(await ask(client), /^b /);
});

test('a session at rest ends: soon after one exchange, later when it has gone to and fro', async () => {
  const { ask, sessions, clock } = await relayTo([await named('a'), await named('b')]);
  const [brief, stream] = [await socket(), await socket()];
  await ask(brief);
  await ask(stream);
  await ask(stream);
  assert.equal(sessions.size, 2);
  await clock.advance(29_000);
  assert.equal(sessions.size, 2);
  await clock.advance(1_000);
  assert.equal(sessions.size, 1, 'after 30 s');
  await clock.advance(89_000);
  assert.equal(await ask(stream), 'b x', 'kept');
  await clock.advance(119_000);
  assert.equal(sessions.size, 1);
  await clock.advance(1_000);
  assert.equal(sessions.size, 0, 'after 120 s');
  assert.equal(await ask(stream), 'a x', 'and begins anew');
});

test('for one session more than may be, the one at rest for longest goes', async () => {
  const { ask, sessions } = await relayTo([await named('a'), await named('b'), await named('c')], { limit: 2 });
  const [one, two, three] = [await socket(), await socket(), await socket()];
  assert.deepEqual([await ask(one), await ask(two), await ask(one)], ['a x', 'b x', 'a x']);
  assert.equal(await ask(three), 'c x');
  assert.equal(sessions.size, 2);
  assert.equal(await ask(one), 'a x', 'it was used after the second');
  assert.equal(await ask(two), 'a x', 'the second had to begin anew');
});
