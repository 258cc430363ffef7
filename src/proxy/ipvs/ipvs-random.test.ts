import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, ServiceSpec } from '../../api/core-v1.ts';
import type { EndpointSlice } from '../../api/discovery-v1.ts';
import { serviceNameLabel } from '../../api/discovery-v1.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import { Proxier } from '../proxier.ts';
import { FakeIpvs } from './fake-ipvs.ts';
import type { IpvsSettings } from './ipvs-backend.ts';
import { IpvsBackend } from './ipvs-backend.ts';

/** Any sequence of changes of any field, with failures and restarts between, ends as a fresh start does. */

const never = new AbortController().signal;
const settings: IpvsSettings = {
  ...{ scheduler: 'rr', excludeCIDRs: [], strictARP: true },
  ...{ tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 250_000 },
};

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
  // 192.0.2.1 is the node's own; with its port 30000 it is asked for as a node port too.
  const external = ['192.0.2.1', '198.51.100.1', '198.51.100.2'][random(3)] as string;
  return {
    metadata: { name, namespace: 'd' },
    spec: {
      clusterIP: `10.96.0.${random(6)}`,
      ports: [
        { name: 'web', port: random(3) === 0 ? 30_000 : 80, ...nodePort },
        { name: 'dns', port: 53, protocol: 'UDP', ...nodePort },
      ],
      ...maybe('externalIPs', [external]),
      ...maybe('externalTrafficPolicy', 'Local'),
      ...maybe('internalTrafficPolicy', 'Local'),
      ...maybe('sessionAffinity', 'ClientIP'),
      ...maybe('sessionAffinityConfig', { clientIP: { timeoutSeconds: 1 + random(3) } }),
      ...maybe('loadBalancerSourceRanges', [`192.0.2.${random(2)}/32`, '10.1.0.0/8', '0.0.0.0/0'].slice(random(3))),
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
    })),
    ports: [
      { name: 'web', port: 8080, protocol: 'TCP' },
      { name: 'dns', port: 5353, protocol: 'UDP' },
    ],
  };
}

function start(kernel: FakeIpvs, clock: FakeClock, { services, slices }: Objects): Proxier {
  const backend = new IpvsBackend({ exec: kernel, log: silentLog, clock, family: 'IPv4', settings });
  const options = { clock, log: silentLog, nodeName: 'here', masqueradeAll: false, masqueradeBit: 14 };
  const proxier = new Proxier({ ...options, exec: kernel, backend, clusterCidrs: ['10.244.0.0/16'] });
  for (const [key, service] of services) proxier.onServiceChange(key, service);
  for (const [key, slice] of slices) proxier.onSliceChange(key, slice);
  proxier.sourcesSynced();
  return proxier;
}

async function fresh(objects: Objects): Promise<FakeIpvs> {
  const kernel = new FakeIpvs();
  await start(kernel, new FakeClock(), objects).syncOnce('change', never);
  return kernel;
}

/** Who has which mark depends on what was before; each mark stands for where it leads. */
function comparable(kernel: FakeIpvs): readonly string[] {
  const lines = kernel.dump();
  const marks = new Map<string, string[]>();
  for (const line of lines) {
    const [, name = '', rest = ''] = /^-[Aa] -f (\d+) (.*)/.exec(line) ?? [];
    if (name !== '') marks.set(name, [...(marks.get(name) ?? []), rest]);
  }
  return lines
    .filter((line) => !/^-[Aa] -f /.test(line))
    .map((line) =>
      line.replace(/skbmark (0x[0-9a-f]+)/, (_, mark: string) => {
        return `to ${JSON.stringify(marks.get(String(Number(mark)))?.sort())}`;
      }),
    )
    .concat(`${marks.size} marks`)
    .sort();
}

for (let seed = 1; seed <= 25; seed++) {
  test(`sequence ${seed} ends as a fresh start does`, async () => {
    const random = randomOf(seed);
    const objects: Objects = { services: new Map(), slices: new Map() };
    const kernel = new FakeIpvs();
    const clock = new FakeClock();
    let proxier = start(kernel, clock, objects);
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
      if (random(10) === 0) kernel.failNext('interrupted', random(2) === 0, random(4));
      if (random(3) > 0) await proxier.syncOnce('change', never).catch(() => {});
      if (random(5) === 0) await clock.advance(10_000);
      // Killed, and started again with what is there.
      if (random(15) === 0) proxier = start(kernel, clock, objects);
    }
    await proxier.syncOnce('retry', never).catch(() => proxier.syncOnce('retry', never));
    await clock.advance(20_000);
    await proxier.syncOnce('retry', never).catch(() => proxier.syncOnce('retry', never));
    const [has, wants] = [comparable(kernel), comparable(await fresh(objects))];
    const differs = {
      tooMuch: has.filter((line) => !wants.includes(line)),
      missing: wants.filter((line) => !has.includes(line)),
    };
    assert.deepEqual(differs, { tooMuch: [], missing: [] });

    const before = kernel.written.length;
    await start(kernel, clock, objects).syncOnce('change', never);
    assert.deepEqual(kernel.written.slice(before), [], 'a restart with nothing to change writes nothing');
  });
}
