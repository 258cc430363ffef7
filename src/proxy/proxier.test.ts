import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { Exec } from '../host/exec.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import type { Fate, Packet } from '../testing/packet-tracer.ts';
import { tracePacket } from '../testing/packet-tracer.ts';
import { randomOf } from '../testing/random.ts';
import { FakeNft } from './nftables/fake-nft.ts';
import { Proxier } from './proxier.ts';

const never = new AbortController().signal;

const service = (name: string, ip: string, createdAt = ''): Service => ({
  metadata: { name, namespace: 'd', creationTimestamp: createdAt },
  spec: {
    clusterIP: ip,
    ports: [
      { name: 'web', port: 80 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  },
});
const slice = (name: string, ips: readonly string[], nodeName = 'here'): EndpointSlice => ({
  metadata: { name: `${name}-1`, namespace: 'd', labels: { [serviceNameLabel]: name } },
  addressType: 'IPv4',
  endpoints: ips.map((ip) => ({ addresses: [ip], nodeName })),
  ports: [
    { name: 'web', port: 8080, protocol: 'TCP' },
    { name: 'dns', port: 5353, protocol: 'UDP' },
  ],
});

function newProxier(exec: FakeNft, log: Log = silentLog, settings = {}): Proxier {
  const clock = new FakeClock();
  const defaults = { masqueradeAll: false, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14 };
  return new Proxier({ exec, clock, log, nodeName: 'here', ...defaults, ...settings });
}

/** A table made from Services by name and address, and endpoints by Service name. */
async function programmed(
  services: Record<string, string>,
  endpoints: Record<string, readonly string[]>,
  settings = {},
): Promise<{ nft: FakeNft; proxier: Proxier }> {
  const nft = new FakeNft();
  const proxier = newProxier(nft, silentLog, settings);
  for (const [name, ip] of Object.entries(services)) proxier.onServiceChange(`d/${name}`, service(name, ip));
  for (const [name, ips] of Object.entries(endpoints)) proxier.onSliceChange(`d/${name}-1`, slice(name, ips));
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  return { nft, proxier };
}

function trace(nft: FakeNft, packet: Partial<Packet> = {}): Fate {
  const table = nft.table('ip', 'keelson');
  assert.ok(table);
  const from = { from: 'network', source: '10.244.0.9', destination: '10.96.0.1', proto: 'tcp', port: 80 } as const;
  return tracePacket(table, { ...from, ...packet });
}

const routed = { web: '10.96.0.1', none: '10.96.0.2' };
const two = { web: ['10.244.0.5', '10.244.1.5'] };
const both = ['10.244.0.5 . 8080', '10.244.1.5 . 8080'];

const traces: Record<string, { packet: Partial<Packet>; settings?: object; fate: Fate }> = {
  'pod → virtual address: any endpoint, own source': { packet: {}, fate: { verdict: 'forward', endpoints: both } },
  'pod → virtual address by UDP: the UDP port': {
    packet: { proto: 'udp', port: 53 },
    fate: { verdict: 'forward', endpoints: ['10.244.0.5 . 5353', '10.244.1.5 . 5353'] },
  },
  'host → virtual address: any endpoint, masqueraded': {
    packet: { from: 'host', source: '192.0.2.1' },
    fate: { verdict: 'forward', endpoints: both.map((one) => `${one} masqueraded`) },
  },
  'outside → virtual address: masqueraded': {
    packet: { source: '198.51.100.1' },
    fate: { verdict: 'forward', endpoints: both.map((one) => `${one} masqueraded`) },
  },
  'outside → virtual address with no cluster CIDR known: own source': {
    packet: { source: '198.51.100.1' },
    settings: { clusterCidrs: [] },
    fate: { verdict: 'forward', endpoints: both },
  },
  'pod → virtual address with masqueradeAll: masqueraded': {
    packet: {},
    settings: { masqueradeAll: true, clusterCidrs: [] },
    fate: { verdict: 'forward', endpoints: both.map((one) => `${one} masqueraded`) },
  },
  'endpoint → itself: masqueraded, and only that way': {
    packet: { source: '10.244.0.5' },
    fate: { verdict: 'forward', endpoints: ['10.244.0.5 . 8080 masqueraded', '10.244.1.5 . 8080'] },
  },
  'no endpoints: REJECT': { packet: { destination: '10.96.0.2' }, fate: { verdict: 'reject' } },
  'no endpoints, from the host: REJECT': {
    packet: { destination: '10.96.0.2', from: 'host', source: '192.0.2.1' },
    fate: { verdict: 'reject' },
  },
  'another port of a virtual address: nobody’s': { packet: { port: 81 }, fate: { verdict: 'untouched' } },
  'another address: nobody’s': { packet: { destination: '10.244.0.5', port: 8080 }, fate: { verdict: 'untouched' } },
};

for (const [sentence, { packet, settings, fate }] of Object.entries(traces)) {
  test(sentence, async () => {
    const { nft } = await programmed(routed, two, settings);
    assert.deepEqual(trace(nft, packet), fate);
  });
}

test('nothing is written before both sources have been told once', async () => {
  const nft = new FakeNft();
  const proxier = newProxier(nft);
  proxier.onServiceChange('d/web', service('web', '10.96.0.1'));
  await proxier.syncOnce('change', never);
  assert.equal(nft.scripts.length, 0);
});

test('a restart with nothing to change writes nothing', async () => {
  const { nft } = await programmed(routed, two);
  const dump = nft.dump();
  const written = nft.scripts.length;
  const again = newProxier(nft);
  again.onSliceChange('d/web-1', slice('web', two.web));
  for (const [name, ip] of Object.entries(routed)) again.onServiceChange(`d/${name}`, service(name, ip));
  again.sourcesSynced();
  await again.syncOnce('change', never);
  assert.equal(nft.scripts.length, written);
  assert.equal(nft.dump(), dump);
});

test('a restart with other settings rewrites the rules they are in and leaves the elements', async () => {
  const { nft } = await programmed(routed, two);
  const again = newProxier(nft, silentLog, { clusterCidrs: [] });
  again.onSliceChange('d/web-1', slice('web', two.web));
  for (const [name, ip] of Object.entries(routed)) again.onServiceChange(`d/${name}`, service(name, ip));
  again.sourcesSynced();
  await again.syncOnce('change', never);
  assert.doesNotMatch(nft.scripts.at(-1) ?? '', /element/);
  assert.deepEqual(trace(nft, { source: '198.51.100.1' }), { verdict: 'forward', endpoints: both });
});

test('a table of another layout is replaced in one transaction', async () => {
  const nft = new FakeNft();
  const script = 'add table ip keelson\nadd chain ip keelson layout-0\n';
  await nft.run('nft', ['-f', '-'], { signal: never, timeoutMs: 1, input: script });
  const proxier = newProxier(nft);
  proxier.onServiceChange('d/web', service('web', '10.96.0.1'));
  proxier.onSliceChange('d/web-1', slice('web', two.web));
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  assert.equal(nft.scripts.length, 2);
  assert.equal(nft.dump(), (await programmed({ web: '10.96.0.1' }, two)).nft.dump());
});

for (const applied of [false, true]) {
  test(`a transaction that fails ${applied ? 'after' : 'before'} it took effect is made good by reading back`, async () => {
    const { nft, proxier } = await programmed(routed, two);
    nft.failNext('Error: netlink: interrupted', applied);
    proxier.onSliceChange('d/web-1', slice('web', ['10.244.0.5', '10.244.1.7']));
    await assert.rejects(proxier.syncOnce('change', never), { code: 'NftFailed' });
    await proxier.syncOnce('retry', never);
    const fresh = await programmed(routed, { web: ['10.244.0.5', '10.244.1.7'] });
    assert.equal(nft.dump(), fresh.nft.dump());
  });
}

test('what nft cannot do is said once in one sentence, and its end too', async () => {
  const { nft, proxier } = await programmed(routed, two);
  const said: string[] = [];
  const log: Log = {
    ...silentLog,
    error: (fields) => void said.push((fields as { code: string }).code),
    info: (_, message) => void said.push(message),
  };
  const logging = newProxier(nft, log);
  logging.sourcesSynced();
  for (let i = 0; i < 3; i++) {
    nft.failNext('Error: Could not process rule: Operation not permitted');
    await assert.rejects(logging.syncOnce('retry', never), { code: 'NftDenied' });
  }
  await logging.syncOnce('retry', never);
  assert.deepEqual(said, ['NftDenied', 'Services are programmed again']);
  assert.ok(proxier);
});

test('of two Services with one address the older has it, the other when that goes', async () => {
  const { nft, proxier } = await programmed({}, { old: ['10.244.0.1'], young: ['10.244.0.2'] });
  proxier.onServiceChange('d/young', service('young', '10.96.0.1', '2026-02-01T00:00:00Z'));
  await proxier.syncOnce('change', never);
  proxier.onServiceChange('d/old', service('old', '10.96.0.1', '2026-01-01T00:00:00Z'));
  await proxier.syncOnce('change', never);
  assert.deepEqual(trace(nft), { verdict: 'forward', endpoints: ['10.244.0.1 . 8080'] });
  proxier.onServiceChange('d/old', undefined);
  await proxier.syncOnce('change', never);
  assert.deepEqual(trace(nft), { verdict: 'forward', endpoints: ['10.244.0.2 . 8080'] });
});

test('any sequence of changes, with failures between, ends as a fresh start does', async () => {
  for (let seed = 1; seed <= 20; seed++) await randomChanges(seed);
});

async function randomChanges(seed: number): Promise<void> {
  const random = randomOf(seed);
  const { nft, proxier } = await programmed({}, {});
  const services: Record<string, string> = {};
  const endpoints: Record<string, readonly string[]> = {};
  for (let step = 0; step < 60; step++) {
    const name = `s${random(6)}`;
    if (random(4) === 0) {
      if (random(2) === 0) services[name] = `10.96.0.${random(6)}`;
      else delete services[name];
      const ip = services[name];
      proxier.onServiceChange(`d/${name}`, ip === undefined ? undefined : service(name, ip));
    } else {
      endpoints[name] = Array.from({ length: 8 }, (_, i) => `10.244.0.${i}`).filter(() => random(3) === 0);
      proxier.onSliceChange(`d/${name}-1`, slice(name, endpoints[name], random(2) === 0 ? 'here' : 'there'));
      proxier.onSliceChange(`d/${name}-1`, slice(name, endpoints[name]));
    }
    if (random(10) === 0) nft.failNext('Error: interrupted', random(2) === 0);
    if (random(3) > 0) await proxier.syncOnce('change', never).catch(() => {});
  }
  await proxier.syncOnce('retry', never).catch(() => proxier.syncOnce('retry', never));
  const fresh = await programmed(services, endpoints);
  for (const ip of Object.values(services)) {
    for (const protocol of [{ proto: 'tcp', port: 80 } as const, { proto: 'udp', port: 53 } as const]) {
      const packet = { destination: ip, ...protocol };
      assert.deepEqual(trace(nft, packet), trace(fresh.nft, packet), `seed ${seed}`);
    }
  }
  const withoutSlots = (dump: string) =>
    dump
      .replaceAll(/^( {4}\S+ \. \d+ \. )\d+ : (.*)$/gm, '$1* : $2')
      .split('\n')
      .sort();
  assert.deepEqual(withoutSlots(nft.dump()), withoutSlots(fresh.nft.dump()), `seed ${seed}`);
}

test('a new Service and its endpoints, told one after the other, are one sync', async () => {
  const nft = new FakeNft();
  const clock = new FakeClock();
  const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14 };
  const proxier = new Proxier({ exec: nft, clock, log: silentLog, nodeName: 'here', ...settings });
  const end = new AbortController();
  proxier.sourcesSynced();
  const done = proxier.run(end.signal);
  await proxier.synced;
  await clock.advance(10);
  nft.scripts.length = 0;
  proxier.onServiceChange('d/a', service('a', '10.96.0.1'));
  await clock.advance(1);
  assert.equal(nft.scripts.length, 0);
  proxier.onSliceChange('d/a-1', slice('a', ['10.244.0.5']));
  await clock.advance(0);
  assert.equal(nft.scripts.length, 1);
  assert.match(nft.scripts.join(), /10\.244\.0\.5 \. 8080/);
  await clock.advance(20);
  assert.equal(nft.scripts.length, 1);
  proxier.onServiceChange('d/b', service('b', '10.96.0.2'));
  await clock.advance(20);
  assert.match(nft.scripts.join(), /no-endpoints \{ 10\.96\.0\.2 \. tcp \. 80 : /);
  end.abort();
  await done;
});

test('packets to loopback addresses are let in only behind the rule that keeps strangers off', async () => {
  const nft = new FakeNft();
  const ran: string[] = [];
  const exec: Exec = {
    run: async (file, args, options) => {
      if (file === 'nft') return nft.run(file, args, options);
      ran.push(`${[file, ...args].join(' ')}, ${nft.table('ip', 'keelson') ? 'guarded' : 'open'}`);
      return { stdout: '0\n', stderr: '' };
    },
  };
  const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14, traffic: { localhostNodePorts: true } };
  const proxier = new Proxier({ exec, clock: new FakeClock(), log: silentLog, nodeName: 'here', ...settings });
  const spec = {
    ...service('web', '10.96.0.1').spec,
    type: 'NodePort',
    ports: [{ port: 80, nodePort: 30080 }],
  } as const;
  proxier.onServiceChange('d/web', { ...service('web', '10.96.0.1'), spec });
  proxier.sourcesSynced();
  nft.failNext('Error: interrupted');
  await assert.rejects(proxier.syncOnce('change', never));
  await proxier.syncOnce('retry', never);
  const sysctls = ran.filter((one) => one.startsWith('sysctl'));
  assert.deepEqual(sysctls, [
    'sysctl -n net.ipv4.conf.all.route_localnet, guarded',
    'sysctl -q -w net.ipv4.conf.all.route_localnet=1, guarded',
  ]);
});

test('a start does not wait for the flows that there are, and removes those that are stale by then', async () => {
  const nft = new FakeNft();
  const listing = Promise.withResolvers<string>();
  const asked = Promise.withResolvers<void>();
  const removed = Promise.withResolvers<string>();
  const exec: Exec = {
    run: async (file, args, options) => {
      if (file === 'nft') return nft.run(file, args, options);
      if (args[0] === '-L') asked.resolve();
      if (args[0] === '-D') removed.resolve(args.join(' '));
      if (args.includes('-R')) removed.resolve(options.input ?? '');
      return { stdout: args[0] === '-L' ? await listing.promise : '', stderr: '' };
    },
  };
  const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14 };
  const proxier = new Proxier({ exec, clock: new FakeClock(), log: silentLog, nodeName: 'here', ...settings });
  proxier.onServiceChange('d/web', service('web', '10.96.0.1'));
  proxier.onSliceChange('d/web-1', slice('web', two.web));
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  assert.deepEqual(trace(nft), { verdict: 'forward', endpoints: both });
  const end = new AbortController();
  const done = proxier.run(end.signal);
  await asked.promise;
  proxier.onSliceChange('d/web-1', slice('web', ['10.244.0.5', '10.244.0.7']));
  await proxier.syncOnce('change', never);
  const flow = (to: string) =>
    `udp 17 9 src=1.2.3.4 dst=10.96.0.1 sport=9 dport=53 src=${to} dst=1.2.3.4 sport=5353 dport=9\n`;
  listing.resolve(['10.244.0.5', '10.244.0.7', '10.244.0.99'].map(flow).join(''));
  assert.equal(
    (await removed.promise).trim(),
    '-D -f ipv4 -p udp --orig-dst 10.96.0.1 --orig-port-dst 53 --reply-src 10.244.0.99 --reply-port-src 5353',
  );
  end.abort();
  await done;
});

const nodePortOnPrimary = { traffic: { nodePortAddresses: ['primary'] } };
const nodeAt = (address: string) => ({
  metadata: { name: 'here' },
  status: { addresses: [{ type: 'InternalIP', address }] },
});

/** A proxier for node ports on the primary address that has been told of a Service, and not of its node. */
function untoldOfNode(nft: FakeNft, clock: FakeClock, settings: object = {}): Proxier {
  const proxier = newProxier(nft, silentLog, { ...nodePortOnPrimary, clock, ...settings });
  const spec = {
    ...service('web', '10.96.0.1').spec,
    type: 'NodePort',
    ports: [{ port: 80, nodePort: 30_080 }],
  } as const;
  proxier.onServiceChange('d/web', { ...service('web', '10.96.0.1'), spec });
  proxier.onSliceChange('d/web-1', {
    ...slice('web', two.web),
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  });
  proxier.sourcesSynced();
  return proxier;
}

const toNodePort = (nft: FakeNft, destination: string): string => {
  const nodeAddresses = ['192.0.2.1', '192.0.2.7'];
  return trace(nft, { destination, port: 30_080, nodeAddresses }).verdict;
};

test('node ports on the primary address: the first rules wait for the node, and are right at once', async () => {
  const nft = new FakeNft();
  const proxier = untoldOfNode(nft, new FakeClock());
  const stop = new AbortController();
  const done = proxier.run(stop.signal);
  await proxier.syncOnce('change', never);
  assert.equal(nft.scripts.length, 0);
  proxier.onNodeChange({ metadata: { name: 'here' } });
  await proxier.syncOnce('change', never);
  assert.equal(nft.scripts.length, 0);
  proxier.onNodeChange(nodeAt('192.0.2.1'));
  await proxier.synced;
  assert.deepEqual([toNodePort(nft, '192.0.2.1'), toNodePort(nft, '192.0.2.7')], ['forward', 'untouched']);
  stop.abort();
  await done;
});

test('node ports on the primary address: after a while all else is served, and they are once the node is known', async () => {
  const nft = new FakeNft();
  const clock = new FakeClock();
  const proxier = untoldOfNode(nft, clock);
  const stop = new AbortController();
  const done = proxier.run(stop.signal);
  await clock.advance(10_000);
  await proxier.synced;
  assert.equal(trace(nft).verdict, 'forward');
  assert.deepEqual([toNodePort(nft, '192.0.2.1'), toNodePort(nft, '192.0.2.7')], ['untouched', 'untouched']);
  proxier.onNodeChange(nodeAt('192.0.2.1'));
  await proxier.syncOnce('change', never);
  assert.deepEqual([toNodePort(nft, '192.0.2.1'), toNodePort(nft, '192.0.2.7')], ['forward', 'untouched']);
  stop.abort();
  await done;
});

test('node ports on the primary address: a node without one of the family is not waited for', async () => {
  const nft = new FakeNft();
  const proxier = untoldOfNode(nft, new FakeClock());
  const stop = new AbortController();
  const done = proxier.run(stop.signal);
  proxier.onNodeChange(nodeAt('2001:db8::1'));
  await proxier.synced;
  assert.deepEqual([trace(nft).verdict, toNodePort(nft, '192.0.2.1')], ['forward', 'untouched']);
  stop.abort();
  await done;
});
