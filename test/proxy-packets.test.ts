import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { Agent } from './proxy-lab.ts';
import { bridgeIp, Lab, tcpPort, udpPort } from './proxy-lab.ts';

const vip = '10.96.0.9';
const emptyVip = '10.96.0.10';
const never = new AbortController().signal;

let lab: Lab;
let host: Agent;
let outside: Agent;
let client: Agent;
const ips = { s1: '10.244.0.11', s2: '10.244.0.12', s3: '10.244.0.13' };

before(async () => {
  lab = await Lab.create();
  host = await lab.host();
  outside = await lab.outside();
  client = await lab.pod('client', '10.244.0.10');
  for (const [name, ip] of Object.entries(ips)) pods.set(name, await lab.pod(name, ip));
});
after(() => lab?.[Symbol.asyncDispose]());

const pods = new Map<string, Agent>();
const ports = [
  { name: 'web', port: 80, protocol: 'TCP', targetPort: tcpPort },
  { name: 'dns', port: 53, protocol: 'UDP', targetPort: udpPort },
] as const;

const service = (name: string, clusterIP: string): Service => ({ metadata: { name }, spec: { clusterIP, ports } });
const slice = (...names: (keyof typeof ips)[]): EndpointSlice => ({
  metadata: { name: 'web-1', labels: { [serviceNameLabel]: 'web' } },
  addressType: 'IPv4',
  endpoints: names.map((name) => ({ addresses: [ips[name]], nodeName: 'node' })),
  ports: ports.map(({ name, protocol, targetPort }) => ({ name, protocol, port: targetPort })),
});

/** What waits for conntrack(8) to have run with an argument, or with a command that has it. */
const waiting = new Map<string, () => void>();
const conntrackRanFor = (argument: string): Promise<void> => new Promise((resolve) => waiting.set(argument, resolve));

/** The node's programs; each end of conntrack is announced. */
const announcing: Exec = {
  run: async (file, args, options) => {
    try {
      return await lab.exec.run(file, args, options);
    } finally {
      const words = `${args.join(' ')} ${options.input ?? ''}`.split(/\s+/);
      if (file === 'conntrack' || args.includes('conntrack')) for (const word of words) waiting.get(word)?.();
    }
  },
};

/** A proxier that has been told the same two Services, stepped by hand. */
function newProxier(...names: (keyof typeof ips)[]): Proxier {
  const settings = { masqueradeAll: false, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14 };
  const proxier = new Proxier({ exec: announcing, clock: systemClock, log: silentLog, nodeName: 'node', ...settings });
  proxier.onServiceChange('default/web', service('web', vip));
  proxier.onServiceChange('default/empty', service('empty', emptyVip));
  proxier.onSliceChange('default/web-1', slice(...names));
  proxier.sourcesSynced();
  return proxier;
}

let proxier: Proxier;
let stop: AbortController;
let cleaning: Promise<void>;
beforeEach(async () => {
  proxier = newProxier('s1', 's2', 's3');
  await proxier.syncOnce('change', never);
  stop = new AbortController();
  cleaning = proxier.run(stop.signal);
});
afterEach(async () => {
  stop.abort();
  await cleaning;
  await lab.node('nft flush ruleset');
});

const all = new Set(['s1', 's2', 's3']);

test('TCP and UDP from a pod, the host and outside are spread over all endpoints', async () => {
  for (const [from, agent] of Object.entries({ client, host, outside })) {
    assert.deepEqual(await agent.spread('tcp', vip, 80, 60), all, `TCP from ${from}`);
    assert.deepEqual(await agent.spread('udp', vip, 53, 60), all, `UDP from ${from}`);
  }
});

test('a pod keeps its source address; what comes from outside the cluster gets the node’s', async () => {
  assert.equal((await client.ask('tcp', vip, 80)).seen, '10.244.0.10');
  assert.equal((await outside.ask('tcp', vip, 80)).seen, bridgeIp);
  assert.equal((await host.ask('tcp', vip, 80)).seen, bridgeIp);
});

test('a Service without endpoints refuses at once, from pod, host and outside', async () => {
  for (const agent of [client, host, outside]) {
    assert.equal((await agent.ask('tcp', emptyVip, 80)).error, 'ECONNREFUSED', `TCP from ${agent.name}`);
    assert.equal((await agent.ask('udp', emptyVip, 53)).error, 'ECONNREFUSED', `UDP from ${agent.name}`);
  }
});

test('an endpoint that is removed gets no new connection, and UDP flows to it move on', async () => {
  proxier.onSliceChange('default/web-1', slice('s1'));
  await proxier.syncOnce('change', never);
  assert.equal((await client.ask('udp', vip, 53, 5353)).from, 's1');
  const cleaned = conntrackRanFor(ips.s1);
  proxier.onSliceChange('default/web-1', slice('s2', 's3'));
  await proxier.syncOnce('change', never);
  const rest = new Set(['s2', 's3']);
  assert.deepEqual(await client.spread('tcp', vip, 80, 40), rest);
  // The flow has lived in conntrack; the same source port reaches another endpoint once that entry is gone.
  await cleaned;
  const moved = await client.ask('udp', vip, 53, 5353);
  assert.ok(rest.has(moved.from ?? ''), `answered by ${moved.from}`);
});

test('a UDP client that sent before the Service had endpoints is answered once it has', async () => {
  assert.equal((await client.ask('udp', '10.96.0.20', 53, 5454, 200)).error, 'TIMEOUT');
  const cleaned = conntrackRanFor('10.96.0.20');
  proxier.onServiceChange('default/late', service('late', '10.96.0.20'));
  proxier.onSliceChange('default/late-1', {
    ...slice('s1'),
    metadata: { name: 'late-1', labels: { [serviceNameLabel]: 'late' } },
  });
  await proxier.syncOnce('change', never);
  await cleaned;
  assert.equal((await client.ask('udp', '10.96.0.20', 53, 5454)).from, 's1');
});

test('an endpoint reaches itself through its own Service', async () => {
  proxier.onSliceChange('default/web-1', slice('s1'));
  await proxier.syncOnce('change', never);
  const self = pods.get('s1');
  assert.ok(self);
  assert.equal((await self.ask('tcp', vip, 80)).from, 's1');
  assert.equal((await self.ask('udp', vip, 53)).from, 's1');
});

test('with bridged frames unfiltered, an endpoint still reaches itself', async () => {
  await lab.node('sysctl -q -w net.bridge.bridge-nf-call-iptables=0');
  try {
    proxier.onSliceChange('default/web-1', slice('s1'));
    await proxier.syncOnce('change', never);
    assert.equal((await pods.get('s1')?.ask('tcp', vip, 80))?.from, 's1');
  } finally {
    await lab.node('sysctl -q -w net.bridge.bridge-nf-call-iptables=1');
  }
});

test('a restart writes nothing and loses no connection, and one with a change loses none either', async () => {
  const before = await lab.node('nft -a list table ip keelson');
  const stream = keepAsking(client);
  const second = newProxier('s1', 's2', 's3');
  await second.syncOnce('change', never);
  assert.equal(await lab.node('nft -a list table ip keelson'), before, 'handles are the same: nothing was rewritten');
  for (let i = 0; i < 10; i++) {
    const next = newProxier(...(i % 2 ? (['s1', 's2', 's3'] as const) : (['s1', 's3'] as const)));
    await next.syncOnce('change', never);
  }
  const { failed, answered } = await stream.end();
  assert.ok(answered > 20, `only ${answered} answers`);
  assert.deepEqual(failed, []);
});

for (const damage of [
  'nft flush ruleset',
  'nft delete table ip keelson',
  'nft flush chain ip keelson prerouting',
  'nft flush map ip keelson frontends',
  `nft delete element ip keelson endpoints-tcp { ${vip} . 80 . 1 }`,
  `nft add element ip keelson hairpins { 10.1.1.1 . 10.2.2.2 }`,
  'nft add rule ip keelson output drop',
]) {
  test(`repaired at the next check: ${damage}`, async () => {
    const listed = await lab.node('nft list table ip keelson');
    await lab.node(damage);
    await proxier.syncOnce('periodic', never);
    assert.deepEqual(await client.spread('tcp', vip, 80, 40), all);
    assert.deepEqual(linesOf(await lab.node('nft list table ip keelson')), linesOf(listed));
  });
}

test('2,000 Services are loaded, and the last answers', async () => {
  for (let i = 0; i < 2_000; i++) {
    const name = `many-${i}`;
    proxier.onServiceChange(`default/${name}`, service(name, `10.97.${i >> 8}.${i & 255}`));
    proxier.onSliceChange(`default/${name}-1`, {
      ...slice('s1', 's2', 's3'),
      metadata: { name: `${name}-1`, labels: { [serviceNameLabel]: name } },
    });
  }
  await proxier.syncOnce('change', never);
  assert.deepEqual(await client.spread('tcp', `10.97.${1_999 >> 8}.${1_999 & 255}`, 80, 40), all);
  for (let i = 0; i < 2_000; i++) proxier.onServiceChange(`default/many-${i}`, undefined);
  await proxier.syncOnce('change', never);
  assert.equal((await lab.node('nft list map ip keelson frontends')).includes('10.97.'), false);
});

/** Order within a listing is the kernel's hash order. */
const linesOf = (listing: string): readonly string[] =>
  listing
    .split(/[\n,]/)
    .map((line) => line.trim().replace(/^elements = \{ | \}$/g, ''))
    .filter((line) => line !== '')
    .sort();

function keepAsking(agent: Agent): { end(): Promise<{ answered: number; failed: readonly string[] }> } {
  let going = true;
  const failed: string[] = [];
  let answered = 0;
  const loop = (async () => {
    while (going || answered < 30) {
      const answer = await agent.ask('tcp', vip, 80);
      if (answer.error) failed.push(answer.error);
      answered += 1;
    }
  })();
  return {
    end: async () => {
      going = false;
      await loop;
      return { answered, failed };
    },
  };
}
