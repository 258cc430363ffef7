import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, ServiceSpec } from '../../api/core-v1.ts';
import type { EndpointSlice } from '../../api/discovery-v1.ts';
import { serviceNameLabel } from '../../api/discovery-v1.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import { traceIptables } from '../../testing/iptables-tracer.ts';
import type { Packet } from '../../testing/packet-tracer.ts';
import { tracePacket } from '../../testing/packet-tracer.ts';
import type { Backend } from '../backend.ts';
import { FakeNft } from '../nftables/fake-nft.ts';
import { NftBackend } from '../nftables/nft-backend.ts';
import { Proxier } from '../proxier.ts';
import { FakeIptables } from './fake-iptables.ts';
import { IptablesBackend } from './iptables-backend.ts';

/** Any sequence of changes, with failures between, ends in the rules that a fresh start makes, which mean what nft's do. */

const never = new AbortController().signal;
const clock = new FakeClock();

/** A repeatable sequence; mulberry32. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

interface Objects {
  readonly services: Map<string, Service>;
  readonly slices: Map<string, EndpointSlice>;
}

function randomService(name: string, random: (below: number) => number): Service {
  const maybe = <K extends keyof ServiceSpec>(key: K, value: ServiceSpec[K]) =>
    random(3) === 0 ? { [key]: value } : {};
  const nodePort = random(2) === 0 ? { nodePort: 30_000 + random(4) } : {};
  const ingress = Array.from({ length: random(3) }, () => ({ ip: `203.0.113.${random(4)}` }));
  return {
    metadata: { name, namespace: 'd' },
    spec: {
      clusterIP: `10.96.0.${random(6)}`,
      ports: [
        { name: 'web', port: 80, ...nodePort },
        { name: '', port: 53, protocol: 'UDP', ...nodePort },
      ],
      ...maybe('externalIPs', [`198.51.100.${random(4)}`]),
      ...maybe('externalTrafficPolicy', 'Local'),
      ...maybe('internalTrafficPolicy', 'Local'),
      ...maybe('sessionAffinity', 'ClientIP'),
      ...maybe('loadBalancerSourceRanges', [`192.0.2.${random(2)}/31`, '10.0.0.0/8']),
    },
    status: { loadBalancer: { ingress } },
  };
}

function randomSlice(name: string, random: (below: number) => number): EndpointSlice {
  const states = [{}, {}, { ready: false }, { ready: false, serving: true, terminating: true }];
  const endpoints = Array.from({ length: 8 }, (_, i) => i).filter(() => random(3) === 0);
  return {
    metadata: { name: `${name}-1`, namespace: 'd', labels: { [serviceNameLabel]: name } },
    addressType: 'IPv4',
    endpoints: endpoints.map((i) => ({
      addresses: [`10.244.0.${i}`],
      nodeName: i % 2 === 0 ? 'here' : 'there',
      conditions: states[random(states.length)] ?? {},
    })),
    ports: [
      { name: 'web', port: 8080, protocol: 'TCP' },
      { name: '', port: 5353, protocol: 'UDP' },
    ],
  };
}

const settings: Record<string, object> = {
  'one range of pods': {},
  'two ranges of pods': { clusterCidrs: ['10.244.0.0/17', '10.244.128.0/17'] },
  'pods known by a bridge': { traffic: { detectLocalMode: 'BridgeInterface', bridgeInterface: 'br0' } },
  'nobody knows the pods': { clusterCidrs: [] },
  'masquerade all': { masqueradeAll: true },
  'node ports on some addresses': { traffic: { nodePortAddresses: ['192.0.2.0/28', '127.0.0.0/8'] } },
  'node ports on loopback': { traffic: { localhostNodePorts: true } },
};

function proxierOf(backend: Backend, more: object): Proxier {
  const defaults = { masqueradeAll: false, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14, nodeName: 'here' };
  const exec = { run: async () => ({ stdout: '', stderr: '' }) };
  return new Proxier({ exec, clock, log: silentLog, backend, ...defaults, ...more });
}

const iptablesOf = (exec: FakeIptables): Backend =>
  new IptablesBackend({ exec, clock, log: silentLog, family: 'IPv4' });

function tell(proxier: Proxier, { services, slices }: Objects): void {
  for (const [key, service] of services) proxier.onServiceChange(key, service);
  for (const [key, slice] of slices) proxier.onSliceChange(key, slice);
  proxier.sourcesSynced();
}

for (const [sentence, more] of Object.entries(settings)) {
  test(`any sequence of changes ends as a fresh start does: ${sentence}`, async () => {
    for (let seed = 1; seed <= 6; seed++) await randomChanges(seed, more);
  });
}

async function randomChanges(seed: number, more: object): Promise<void> {
  const random = randomOf(seed);
  const iptables = new FakeIptables();
  const objects: Objects = { services: new Map(), slices: new Map() };
  let proxier = proxierOf(iptablesOf(iptables), more);
  proxier.sourcesSynced();
  for (let step = 0; step < 60; step++) {
    const name = `s${random(6)}`;
    if (random(2) === 0) {
      const service = random(4) > 0 ? randomService(name, random) : undefined;
      if (service) objects.services.set(`d/${name}`, service);
      else objects.services.delete(`d/${name}`);
      proxier.onServiceChange(`d/${name}`, service);
    } else {
      const slice = randomSlice(name, random);
      objects.slices.set(`d/${name}-1`, slice);
      proxier.onSliceChange(`d/${name}-1`, slice);
    }
    if (random(10) === 0) iptables.failNext('interrupted', random(4));
    if (random(3) > 0) await proxier.syncOnce('change', never).catch(() => {});
    if (random(15) > 0) continue;
    // Killed, and started again with what is there.
    proxier = proxierOf(iptablesOf(iptables), more);
    tell(proxier, objects);
  }
  await proxier.syncOnce('retry', never).catch(() => proxier.syncOnce('retry', never));

  const fresh = new FakeIptables();
  const freshProxier = proxierOf(iptablesOf(fresh), more);
  tell(freshProxier, objects);
  await freshProxier.syncOnce('change', never);
  assert.equal(iptables.dump(), fresh.dump(), `seed ${seed}`);
  // Which interface a packet comes in by is not modelled.
  if (!JSON.stringify(more).includes('bridge')) await comparePackets(iptables, objects, more, `seed ${seed}`);
}

/** Every packet that any of the objects may be about meets the same fate as with nftables. */
async function comparePackets(iptables: FakeIptables, objects: Objects, more: object, seed: string): Promise<void> {
  const nft = new FakeNft();
  const proxier = proxierOf(new NftBackend({ exec: nft, log: silentLog }), more);
  tell(proxier, objects);
  await proxier.syncOnce('change', never);
  const table = nft.table('ip', 'keelson');
  assert.ok(table);
  const sources = ['10.244.0.200', '10.244.0.0', '192.0.2.2', '198.51.100.77'];
  const hosts = (net: string, count: number) => Array.from({ length: count }, (_, i) => `${net}.${i}`);
  const addressed = [...hosts('10.96.0', 6), ...hosts('198.51.100', 4), ...hosts('203.0.113', 4)];
  const ports = [30_000, 30_001, 30_002, 30_003];
  const ends = [
    ...addressed.flatMap((ip) => [[ip, 'tcp', 80] as const, [ip, 'udp', 53] as const]),
    ...['192.0.2.1', '192.0.2.33'].flatMap((ip) => ports.map((port) => [ip, 'tcp', port] as const)),
    ...ports.map((port) => ['127.0.0.1', 'udp', port] as const),
  ];
  for (const [destination, proto, port] of ends) {
    const here = { destination, proto, port, nodeAddresses: ['192.0.2.1', '192.0.2.33', '127.0.0.1'] } as const;
    const packets: Packet[] = [
      { ...here, from: 'host', source: destination.startsWith('127.') ? destination : '192.0.2.1' },
    ];
    if (!destination.startsWith('127.')) {
      packets.push(...sources.map((source) => ({ ...here, from: 'network' as const, source })));
    }
    for (const packet of packets) {
      const fate = traceIptables((name) => iptables.table(name), packet);
      assert.deepEqual(fate, tracePacket(table, packet), `${seed} ${JSON.stringify(packet)}`);
    }
  }
}
