import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { PacketTrace } from '../src/api/service-views.ts';
import { FakeClock } from '../src/lib/fake-clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { Backend } from '../src/proxy/backend.ts';
import { DualProxier } from '../src/proxy/dual-proxier.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import { parseClient, parseProtocol, parseTarget } from '../src/proxy/trace-question.ts';
import type { PacketCase, World } from './proxy-cases.ts';
import { addresses, nodeName, worldOf, zone } from './proxy-cases.ts';
import { worldsOfSettings } from './proxy-cases-settings.ts';

/** What `keelson svc trace` says of every case that the backends are tried with real packets on. */

/** It carries everything, nowhere. */
const backend: Backend = {
  mode: 'nftables',
  sync: async () => ({ isFull: true, writes: 0 }),
  run: async () => {},
  plan: () => '',
  diff: async () => [],
  explain: () => [],
};

/** Both families are told everything, as on a node. */
async function start(worlds: readonly World[]): Promise<DualProxier> {
  const exec = { run: async () => ({ stdout: '', stderr: '' }) };
  const options = { exec, clock: new FakeClock(), log: silentLog, nodeName, masqueradeBit: 14, backend };
  const proxiers = worlds.map(({ family, settings }) => new Proxier({ ...options, ...settings, family }));
  const both = new DualProxier(...proxiers);
  both.onNodeChange({
    metadata: { name: nodeName, labels: { 'topology.kubernetes.io/zone': zone } },
    status: { addresses: worlds.map(({ node }) => ({ type: 'InternalIP', address: node })) },
  });
  for (const { services, slices } of worlds) {
    for (const service of services) both.onServiceChange(`d/${service.metadata.name}`, service);
    for (const slice of slices) both.onSliceChange(`d/${slice.metadata.name}`, slice);
  }
  both.sourcesSynced();
  await Promise.all(proxiers.map((one) => one.syncOnce('change', new AbortController().signal)));
  return both;
}

function trace(proxier: DualProxier, worlds: readonly World[], world: World, one: PacketCase): PacketTrace {
  const { family, pods } = world;
  const { from, to, port, protocol } = one;
  const client = from === 'host' ? 'host' : pods[from] ? `d/${from}` : addresses[family].outside;
  const asked = family === 'IPv6' ? `[${to}]:${port}` : `${to}:${port}`;
  const slices = worlds.flatMap((each) => each.slices);
  const question = {
    ...{ client: parseClient(client, (_, name) => [pods[name] ?? '']), target: parseTarget(asked), asked },
    protocol: parseProtocol(protocol),
  };
  const [found, another] = proxier.trace(question, {
    services: () => worlds.flatMap((each) => each.services),
    slicesOf: (key) => slices.filter(({ metadata }) => `d/${metadata.labels?.[serviceNameLabel]}` === key),
    hostAddresses: () => ['127.0.0.1', '::1', ...worlds.flatMap((each) => [addresses[each.family].bridge, each.node])],
  });
  assert.ok(found && !another);
  return found;
}

function check(world: World, found: PacketTrace, { from, expect, seen }: PacketCase): void {
  const said = JSON.stringify(found.steps, undefined, 1);
  // What is no Service's gets to nobody, and the network says how.
  if (found.verdict === 'untouched') assert.ok(expect === 'REJECT' || expect === 'DROP', said);
  else if (expect === 'REJECT' || expect === 'DROP') assert.equal(found.verdict, expect.toLowerCase(), said);
  else {
    const names = new Map(Object.entries({ ...world.pods, node: world.node }).map(([name, ip]) => [ip, name]));
    assert.deepEqual(found.endpoints.map(({ ip }) => names.get(ip)).sort(), [...expect].sort(), said);
    const own = from === 'host' ? undefined : (world.pods[from] ?? addresses[world.family].outside);
    if (seen !== undefined && own !== undefined) {
      const masqueraded = found.endpoints.map((endpoint) => endpoint.masqueraded);
      assert.deepEqual([...new Set(masqueraded)], [seen !== own], said);
    }
  }
}

const all = { usual: [worldOf('IPv4'), worldOf('IPv6')], ...worldsOfSettings() };
for (const [title, worlds] of Object.entries(all)) {
  describe(title, async () => {
    const proxier = await start(worlds);
    for (const world of worlds) {
      for (const [sentence, one] of Object.entries(world.cases)) {
        test(sentence, () => check(world, trace(proxier, worlds, world, one), one));
      }
    }
  });
}
