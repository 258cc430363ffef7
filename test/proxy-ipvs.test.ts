import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../src/lib/fake-clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { FakeIpvs } from '../src/proxy/ipvs/fake-ipvs.ts';
import { IpvsBackend } from '../src/proxy/ipvs/ipvs-backend.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpvsPacket } from '../src/testing/ipvs-tracer.ts';
import { traceIpvs } from '../src/testing/ipvs-tracer.ts';
import type { PacketCase, World } from './proxy-cases.ts';
import { addresses, nodeName, worldOf, zone } from './proxy-cases.ts';
import { describeIpvsContract, ipvsSettings as settings } from './proxy-cases-ipvs.ts';
import { worldsOfSettings } from './proxy-cases-settings.ts';

const fake = new FakeIpvs();
describeIpvsContract('the fake IPVS', () => fake);

const never = new AbortController().signal;

/** A kernel that has all of a world; as on a node, the other family's objects are told too. */
async function kernelOf(world: World, told: readonly World[]): Promise<FakeIpvs> {
  const { bridge, node } = addresses[world.family];
  const kernel = new FakeIpvs([bridge, node]);
  const common = { exec: kernel, clock: new FakeClock(), log: silentLog, family: world.family };
  const backend = new IpvsBackend({ ...common, settings });
  const proxier = new Proxier({ ...common, ...world.settings, backend, nodeName, masqueradeBit: 14 });
  proxier.onNodeChange({ metadata: { name: nodeName, labels: { 'topology.kubernetes.io/zone': zone } } });
  for (const { services, slices } of told) {
    for (const one of services) proxier.onServiceChange(`d/${one.metadata.name}`, one);
    for (const one of slices) proxier.onSliceChange(`d/${one.metadata.name}`, one);
  }
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  return kernel;
}

function packetOf({ from, to, port, protocol }: PacketCase, { family, pods }: World): IpvsPacket {
  const { node, outside } = addresses[family];
  const common = { destination: to, proto: protocol, port };
  if (from === 'host') return { ...common, source: node, interface: undefined };
  if (from === 'outside') return { ...common, source: outside, interface: 'up0' };
  return { ...common, source: pods[from] ?? '', interface: 'br0' };
}

/** In the words of the table. An address that nobody leads anywhere has no answer; the node has, but nothing listens. */
function outcome(kernel: FakeIpvs, packet: IpvsPacket, { family, pods, node }: World) {
  const fate = traceIpvs(kernel, packet);
  const isRefused =
    fate.verdict === 'untouched' && [node, addresses[family].bridge, '127.0.0.1'].includes(packet.destination);
  if (fate.verdict === 'reject' || isRefused) return { expect: 'REJECT', seen: [] };
  if (fate.verdict !== 'forward') return { expect: 'DROP', seen: [] };
  const names = new Map([...Object.entries(pods).map(([name, ip]) => [ip, name] as const), [node, 'node']]);
  const ways = fate.endpoints.map((endpoint) => /^(\S+) \. \d+( masqueraded)?$/.exec(endpoint) ?? []);
  return {
    expect: ways.map(([, ip = '']) => names.get(ip)).sort(),
    seen: [...new Set(ways.map(([, , masqueraded]) => (masqueraded ? addresses[family].bridge : packet.source)))],
  };
}

const worlds = { IPVS: [worldOf('IPv4'), worldOf('IPv6')], ...worldsOfSettings() };
for (const [title, families] of Object.entries(worlds)) {
  describe(`every packet, traced: ${title}`, () => {
    for (const world of families) {
      let kernel: Promise<FakeIpvs> | undefined;
      for (const [sentence, one] of Object.entries(world.cases)) {
        // As in the virtual machine: IPVS leads what has a loopback address for its source to no endpoint elsewhere.
        if (sentence.endsWith(' on 127.0.0.1')) continue;
        test(sentence, async () => {
          kernel ??= kernelOf(world, families);
          const { expect, seen } = outcome(await kernel, packetOf(one, world), world);
          const wished = typeof one.expect === 'string' ? one.expect : [...one.expect].sort();
          assert.deepEqual(expect, wished);
          if (one.seen !== undefined) assert.deepEqual(seen, [one.seen]);
        });
      }
    }
  });
}
