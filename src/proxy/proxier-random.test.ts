import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Service, ServiceSpec } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { FakeNft } from './nftables/fake-nft.ts';
import { Proxier } from './proxier.ts';
import type { Withdrawn } from './withdraw.ts';

/** Any sequence of changes of any field, with failures between, ends in the table that a fresh start makes. */

const never = new AbortController().signal;

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
  withdrawn: Withdrawn;
}

function randomService(name: string, random: (below: number) => number): Service {
  const maybe = <K extends keyof ServiceSpec>(key: K, value: ServiceSpec[K]) =>
    random(3) === 0 ? { [key]: value } : {};
  const nodePort = random(2) === 0 ? { nodePort: 30_000 + random(4) } : {};
  return {
    metadata: { name, namespace: 'd' },
    spec: {
      clusterIP: `10.96.0.${random(6)}`,
      ports: [
        { name: 'web', port: 80, ...nodePort },
        { name: 'dns', port: 53, protocol: 'UDP', ...nodePort },
      ],
      ...maybe('externalIPs', [`198.51.100.${random(4)}`]),
      ...maybe('externalTrafficPolicy', 'Local'),
      ...maybe('internalTrafficPolicy', 'Local'),
      ...maybe('sessionAffinity', 'ClientIP'),
      ...maybe('sessionAffinityConfig', { clientIP: { timeoutSeconds: 1 + random(3) } }),
      ...maybe('loadBalancerSourceRanges', [`192.0.2.${random(2)}/32`, '10.0.0.0/8']),
      ...maybe('publishNotReadyAddresses', true),
    },
    status: { loadBalancer: { ingress: random(2) === 0 ? [{ ip: `203.0.113.${random(4)}` }] : [] } },
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
      ...(random(2) === 0 ? { hints: { forZones: [{ name: `zone-${random(2)}` }] } } : {}),
    })),
    ports: [
      { name: 'web', port: 8080, protocol: 'TCP' },
      { name: 'dns', port: 5353, protocol: 'UDP' },
    ],
  };
}

function newProxier(nft: FakeNft): Proxier {
  const settings = { clock: new FakeClock(), log: silentLog, nodeName: 'here', masqueradeAll: false };
  return new Proxier({ ...settings, exec: nft, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14 });
}

const nodeIn = (zone: number) => ({
  metadata: { name: 'here', labels: { 'topology.kubernetes.io/zone': `zone-${zone}` } },
});

async function fresh({ services, slices, withdrawn }: Objects, zone: number): Promise<string> {
  const nft = new FakeNft();
  const proxier = newProxier(nft);
  proxier.onNodeChange(nodeIn(zone));
  proxier.onWithdrawn(withdrawn);
  for (const [key, service] of services) proxier.onServiceChange(key, service);
  for (const [key, slice] of slices) proxier.onSliceChange(key, slice);
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  return comparable(nft);
}

/** Which endpoint has which slot depends on what was before. */
const comparable = (nft: FakeNft): string =>
  nft
    .dump()
    .replaceAll(/^( {4}(?:\S+ \. )?\d+ \. )\d+ : (\S+ \. \d+)$/gm, '$1* : $2')
    .split('\n')
    .sort()
    .join('\n');

for (let seed = 1; seed <= 25; seed++) {
  test(`sequence ${seed} ends as a fresh start does`, async () => {
    const random = randomOf(seed);
    const objects: Objects = { services: new Map(), slices: new Map(), withdrawn: new Map() };
    const nft = new FakeNft();
    let proxier = newProxier(nft);
    proxier.sourcesSynced();
    let zone = 0;
    for (let step = 0; step < 60; step++) {
      const name = `s${random(6)}`;
      const what = random(10);
      if (what < 4) {
        const service = random(4) > 0 ? randomService(name, random) : undefined;
        if (service) objects.services.set(`d/${name}`, service);
        else objects.services.delete(`d/${name}`);
        proxier.onServiceChange(`d/${name}`, service);
      } else if (what < 8) {
        const slice = randomSlice(name, random);
        objects.slices.set(`d/${name}-1`, slice);
        proxier.onSliceChange(`d/${name}-1`, slice);
      } else if (what < 9) {
        objects.withdrawn = new Map([[`10.244.0.${random(8)}`, random(2) === 0 ? 'unready' : 'terminating']]);
        proxier.onWithdrawn(objects.withdrawn);
      } else {
        zone = random(2);
        proxier.onNodeChange(nodeIn(zone));
      }
      if (random(10) === 0) nft.failNext('Error: interrupted', random(2) === 0);
      if (random(3) > 0) await proxier.syncOnce('change', never).catch(() => {});
      if (random(15) > 0) continue;
      // Killed, and started again with what is there.
      proxier = newProxier(nft);
      proxier.onNodeChange(nodeIn(zone));
      proxier.onWithdrawn(objects.withdrawn);
      for (const [key, service] of objects.services) proxier.onServiceChange(key, service);
      for (const [key, slice] of objects.slices) proxier.onSliceChange(key, slice);
      proxier.sourcesSynced();
    }
    await proxier.syncOnce('retry', never).catch(() => proxier.syncOnce('retry', never));
    assert.equal(comparable(nft), await fresh(objects, zone));
  });
}

test('10,000 changes leak nothing: no chain, set or element, and no memory', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const heap = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const random = randomOf(4_711);
  const objects: Objects = { services: new Map(), slices: new Map(), withdrawn: new Map() };
  const nft = new FakeNft();
  const proxier = newProxier(nft);
  proxier.onNodeChange(nodeIn(0));
  proxier.sourcesSynced();
  let early = 0;
  for (let step = 1; step <= 10_000; step++) {
    // A name in seven is new, as in a cluster where Services come and go.
    const name = random(7) === 0 ? `new-${step}` : `s${random(6)}`;
    if (random(2) === 0) {
      const service = randomService(name, random);
      objects.services.set(`d/${name}`, service);
      proxier.onServiceChange(`d/${name}`, service);
    } else {
      const slice = randomSlice(name, random);
      objects.slices.set(`d/${name}-1`, slice);
      proxier.onSliceChange(`d/${name}-1`, slice);
    }
    if (random(5) === 0) await proxier.syncOnce('change', never);
    for (const key of objects.services.size > 8 ? [...objects.services.keys()].slice(0, 4) : []) {
      objects.services.delete(key);
      proxier.onServiceChange(key, undefined);
    }
    for (const key of objects.slices.size > 8 ? [...objects.slices.keys()].slice(0, 4) : []) {
      objects.slices.delete(key);
      proxier.onSliceChange(key, undefined);
    }
    nft.scripts.length = 0;
    if (step === 2_000) early = heap();
  }
  await proxier.syncOnce('change', never);
  const grown = heap() - early;
  assert.equal(comparable(nft), await fresh(objects, 0));
  assert.ok(grown < 1_000_000, `the heap has grown by ${grown} bytes in 8,000 changes`);
});
