import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import type { Service, ServiceSpec } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { DualProxier } from '../src/proxy/dual-proxier.ts';
import { maxAffinities } from '../src/proxy/nftables/keep-chain.ts';
import type { TrafficConfig } from '../src/proxy/node-facts.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { Agent } from './proxy-lab.ts';
import { bridgeIp, bridgeIp6, Lab, nodeIp, nodeIp6, outsideIp, tcpPort, udpPort } from './proxy-lab.ts';

/** What happens to clients while Services, endpoints and settings change; with real connections. */

const never = new AbortController().signal;
const ips = { s1: '10.244.0.11', s2: '10.244.0.12', s3: '10.244.0.13' };
const ips6 = { s1: 'fd00:10:244::11', s2: 'fd00:10:244::12', s3: 'fd00:10:244::13' };
const pods = new Map<string, Agent>();
const vip = '10.96.0.50';
const vip6 = 'fd00:96::50';
const nodePort = 30_050;

let lab: Lab;
let host: Agent;
let outside: Agent;
let client: Agent;
before(async () => {
  lab = await Lab.create();
  host = await lab.host();
  outside = await lab.outside();
  client = await lab.pod('client', '10.244.0.10', 'fd00:10:244::10');
  for (const name of ['s1', 's2', 's3'] as const) pods.set(name, await lab.pod(name, ips[name], ips6[name]));
});
after(() => lab?.[Symbol.asyncDispose]());
afterEach(() => lab.node('nft flush ruleset'));

const ports = [{ name: 'web', port: 80, protocol: 'TCP', targetPort: tcpPort, nodePort }] as const;
const service = (spec: Partial<ServiceSpec> = {}): Service => ({
  metadata: { name: 'web', namespace: 'd' },
  spec: { type: 'NodePort', clusterIPs: [vip, vip6], ports, ...spec },
});
type PodName = keyof typeof ips;
const slice = (addresses: Record<PodName, string>, ...names: PodName[]): EndpointSlice => ({
  metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } },
  addressType: addresses === ips ? 'IPv4' : 'IPv6',
  endpoints: names.map((name) => ({ addresses: [addresses[name]], nodeName: 'node' })),
  ports: [{ name: 'web', protocol: 'TCP', port: tcpPort }],
});

interface Rig {
  readonly proxier: DualProxier;
  endpoints(...names: PodName[]): Promise<void>;
  sync(): Promise<void>;
}

async function rig(spec: Partial<ServiceSpec>, names: PodName[], traffic: Partial<TrafficConfig> = {}): Promise<Rig> {
  const settings = {
    ...{ exec: lab.exec, clock: systemClock, log: silentLog, nodeName: 'node', masqueradeAll: false },
    ...{ masqueradeBit: 20, clusterCidrs: ['10.244.0.0/16', 'fd00:10:244::/48'], traffic },
  };
  const all = [new Proxier(settings), new Proxier({ ...settings, family: 'IPv6' })];
  const proxier = new DualProxier(...all);
  const sync = async () => {
    for (const one of all) await one.syncOnce('change', never);
  };
  const tell = (...told: PodName[]) => {
    proxier.onSliceChange('d/web-4', slice(ips, ...told));
    proxier.onSliceChange('d/web-6', slice(ips6, ...told));
  };
  proxier.onServiceChange('d/web', service(spec));
  tell(...names);
  proxier.sourcesSynced();
  await sync();
  const endpoints = (...told: PodName[]) => {
    tell(...told);
    return sync();
  };
  return { proxier, endpoints, sync };
}

const seen = async (agent: Agent, ip: string, port: number) => (await agent.ask('tcp', ip, port)).seen;
const sticky = { sessionAffinity: 'ClientIP' } as const;

/** Asks one after the other, since the kernel notes an endpoint with the first connection. */
async function inTurn(agent: Agent, ip: string, port: number, count = 20): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (let i = 0; i < count; i++) {
    const answer = await agent.ask('tcp', ip, port);
    names.add(answer.from ?? answer.error ?? '');
  }
  return names;
}

for (const [what, ip, port] of [
  ['virtual address', vip, 80],
  ['virtual address by IPv6', vip6, 80],
  ['node port', nodeIp, nodePort],
  ['node port by IPv6', nodeIp6, nodePort],
] as const) {
  test(`with session affinity a client keeps its endpoint at the ${what}, until that goes`, async () => {
    const { endpoints } = await rig(sticky, ['s1', 's2']);
    const [first, ...others] = await inTurn(outside, ip, port);
    assert.deepEqual(others, []);
    await endpoints('s1', 's2', 's3');
    assert.deepEqual([...(await inTurn(outside, ip, port))], [first], 'more endpoints change nothing');
    const rest = (['s1', 's2', 's3'] as const).filter((name) => name !== first);
    await endpoints(...rest);
    const [second, ...more] = await inTurn(outside, ip, port);
    assert.ok(rest.some((name) => name === second) && more.length === 0, `${second}, ${more}`);
    await endpoints('s1', 's2', 's3');
    assert.deepEqual([...(await inTurn(outside, ip, port))], [second], 'what was forgotten does not come back');
  });
}

for (const [family, cluster, node, own, table] of [
  ['IPv4', vip, nodeIp, '10.244.0.10', 'ip'],
  ['IPv6', vip6, nodeIp6, 'fd00:10:244::10', 'ip6'],
] as const) {
  const notes = () => lab.node(`nft -j list set ${table} keelson affinity-tcp`);

  test(`affinity by ${family} is each client’s own, at every address of the port, and survives a restart`, async () => {
    const { endpoints } = await rig(sticky, ['s1', 's2', 's3']);
    const [kept] = await inTurn(client, cluster, 80);
    assert.deepEqual([...(await inTurn(client, node, nodePort))], [kept]);
    await rig(sticky, ['s1', 's2', 's3']);
    assert.deepEqual([...(await inTurn(client, cluster, 80))], [kept]);
    assert.match(await notes(), new RegExp(`"${own}"`));
    await endpoints('s1', 's2', 's3');
    assert.deepEqual([...(await inTurn(client, cluster, 80))], [kept]);
    await rig({}, ['s1', 's2', 's3']);
    assert.doesNotMatch(await notes(), new RegExp(`"${own}"`));
    assert.deepEqual(await client.spread('tcp', cluster, 80, 40), new Set(['s1', 's2', 's3']));
  });

  test(`affinity by ${family} lasts as long as the Service says`, async () => {
    await rig({ ...sticky, sessionAffinityConfig: { clientIP: { timeoutSeconds: 77 } } }, ['s1', 's2', 's3']);
    await inTurn(client, cluster, 80, 1);
    assert.match(await notes(), /"timeout": 77\b/);
  });

  test(`affinity by ${family}: who finds no room for a note is spread over all`, async () => {
    await rig(sticky, ['s1', 's2', 's3']);
    const others = Array.from({ length: maxAffinities }, (_, n) => {
      const [left, right] = [n >> 8, n & 255];
      const ip =
        table === 'ip'
          ? `172.${16 + (left >> 8)}.${left & 255}.${right}`
          : `fd00:16::${left.toString(16)}:${right.toString(16)}`;
      return `${ip} . 1 timeout 1h`;
    });
    const input = `add element ${table} keelson affinity-tcp { ${others.join(', ')} }`;
    await lab.exec.run('nft', ['-f', '-'], { input, signal: never, timeoutMs: 60_000 });
    assert.deepEqual(await client.spread('tcp', cluster, 80, 40), new Set(['s1', 's2', 's3']));
  });
}

test('a pod that is withdrawn here gets no connection, and when it is the last one clients are refused', async () => {
  const { proxier, sync } = await rig({}, ['s1', 's2']);
  proxier.onWithdrawn(new Map([[ips.s1, 'unready']]));
  await sync();
  assert.deepEqual(await client.spread('tcp', vip, 80, 30), new Set(['s2']));
  assert.deepEqual(
    await client.spread('tcp', vip6, 80, 30),
    new Set(['s1', 's2']),
    'the other family is another address',
  );
  proxier.onWithdrawn(
    new Map([
      [ips.s1, 'unready'],
      [ips.s2, 'unready'],
    ]),
  );
  await sync();
  assert.equal((await client.ask('tcp', vip, 80)).error, 'ECONNREFUSED');
  proxier.onWithdrawn(new Map([[ips.s2, 'terminating']]));
  await sync();
  assert.deepEqual(await client.spread('tcp', vip, 80, 30), new Set(['s1']));
});

test('a restart with every field in use writes nothing, by IPv4 and IPv6', async () => {
  const spec: Partial<ServiceSpec> = {
    ...sticky,
    externalIPs: ['198.51.100.9', 'fd00:e::9'],
    externalTrafficPolicy: 'Local',
  };
  const list = async () => [
    await lab.node('nft -a list table ip keelson'),
    await lab.node('nft -a list table ip6 keelson'),
  ];
  await rig(spec, ['s1', 's2', 's3']);
  const before = await list();
  await rig(spec, ['s1', 's2', 's3']);
  assert.deepEqual(await list(), before, 'handles are the same');
});

test('pods are known by their bridge where the configuration says so', async () => {
  const traffic = { detectLocalMode: 'BridgeInterface', bridgeInterface: 'br0' } as const;
  await rig({}, ['s1'], traffic);
  assert.equal(await seen(client, vip, 80), '10.244.0.10');
  assert.equal(await seen(outside, vip, 80), bridgeIp);
  assert.equal(await seen(host, vip, 80), bridgeIp);
  assert.equal(await seen(outside, vip6, 80), bridgeIp6);
});

test('pods are known by the names of their interfaces', async () => {
  await rig({}, ['s1'], { detectLocalMode: 'InterfaceNamePrefix', interfaceNamePrefix: 'br' });
  assert.equal(await seen(client, vip, 80), '10.244.0.10');
  assert.equal(await seen(outside, vip, 80), bridgeIp);
});

test('without a range to know pods by, all keep their address, and Local still leaves outsiders theirs', async () => {
  await rig({ externalTrafficPolicy: 'Local' }, ['s1'], { detectLocalMode: 'NodeCIDR' });
  assert.equal(await seen(client, vip, 80), '10.244.0.10');
  assert.equal(await seen(outside, vip, 80), outsideIp);
  assert.equal(await seen(outside, nodeIp, nodePort), outsideIp);
  assert.equal(await seen(host, nodeIp, nodePort), bridgeIp);
});

test('node ports answer on the addresses that are wanted, and on loopback only if that is wanted', async () => {
  await rig({}, ['s1'], { nodePortAddresses: ['192.0.2.0/24'] });
  assert.equal((await outside.ask('tcp', nodeIp, nodePort)).from, 's1');
  assert.equal((await client.ask('tcp', bridgeIp, nodePort)).error, 'ECONNREFUSED');
  await rig({}, ['s1']);
  assert.equal((await client.ask('tcp', bridgeIp, nodePort)).from, 's1');
  assert.equal((await host.ask('tcp', '127.0.0.1', nodePort)).error, 'ECONNREFUSED');
  await rig({}, ['s1'], { localhostNodePorts: true });
  assert.equal((await host.ask('tcp', '127.0.0.1', nodePort)).from, 's1');
});

for (const [what, ip, addresses] of [
  ['IPv4', nodeIp, ips],
  ['IPv6', nodeIp6, ips6],
] as const) {
  test(`a UDP flow to a node port moves on when its endpoint goes, by ${what}`, async () => {
    const cleaned = Promise.withResolvers<void>();
    const exec: Exec = {
      run: async (file, args, options) => {
        const result = lab.exec.run(file, args, options);
        const words = `${args.join(' ')} ${options.input ?? ''}`.split(/\s+/);
        const isOurs =
          (file === 'conntrack' || args.includes('conntrack')) && words.includes(ip) && words.includes(addresses.s1);
        if (isOurs) await result.finally(() => cleaned.resolve());
        return result;
      },
    };
    const settings = { clock: systemClock, log: silentLog, nodeName: 'node', masqueradeAll: false, masqueradeBit: 14 };
    const proxier = new Proxier({ ...settings, exec, family: what, clusterCidrs: [] });
    const dns = [{ name: 'dns', port: 53, protocol: 'UDP', nodePort: 30_053 }] as const;
    const of = (name: PodName): EndpointSlice => ({
      ...slice(addresses, name),
      addressType: what,
      ports: [{ name: 'dns', protocol: 'UDP', port: udpPort }],
    });
    proxier.onServiceChange('d/web', service({ ports: dns, externalTrafficPolicy: 'Local' }));
    proxier.onSliceChange('d/web-1', of('s1'));
    proxier.sourcesSynced();
    await proxier.syncOnce('change', never);
    assert.equal((await outside.ask('udp', ip, 30_053, 5_353)).from, 's1');
    // The same port of another host is none of ours, whoever answers for it.
    const elsewhere = what === 'IPv4' ? '198.51.100.9' : 'fd00:d::9';
    const theirs = `-s ${elsewhere}1 -d ${elsewhere} --sport 999 --dport 30053 -r ${addresses.s1} -q ${elsewhere}1`;
    const ends = `--reply-port-src ${udpPort} --reply-port-dst 999 -t 100`;
    await lab.node(`conntrack -I -p udp ${theirs} ${ends}`);
    const stop = new AbortController();
    const running = proxier.run(stop.signal);
    proxier.onSliceChange('d/web-1', of('s2'));
    await cleaned.promise;
    assert.match(await lab.node(`conntrack -L -f ${what.toLowerCase()} -p udp`), new RegExp(`dst=${elsewhere} `));
    assert.equal((await outside.ask('udp', ip, 30_053, 5_353)).from, 's2');
    stop.abort();
    await running;
  });
}
