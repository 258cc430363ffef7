import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { notFound } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { type Log, silentLog } from '../src/lib/log.ts';
import { Complaints } from '../src/proxy/complaints.ts';
import { DualProxier } from '../src/proxy/dual-proxier.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { Agent } from './proxy-lab.ts';
import { Lab, nodeIp, tcpPort } from './proxy-lab.ts';

/** What objects hold that they should not, with the real nft: the other Services go on, and it is said once. */

const never = new AbortController().signal;
const good = '10.96.9.1';
const good6 = 'fd00:96::9:1';
const podIp = '10.244.0.11';
const otherIp = '10.244.0.12';

let lab: Lab;
let host: Agent;
let client: Agent;
before(async () => {
  lab = await Lab.create();
  host = await lab.host();
  client = await lab.pod('client', '10.244.0.10', 'fd00:10:244::10');
  await lab.pod('pod', podIp, 'fd00:10:244::11');
  await lab.pod('other', otherIp, 'fd00:10:244::12');
});
after(() => lab?.[Symbol.asyncDispose]());
afterEach(() => lab.node('nft flush ruleset'));

interface Said {
  readonly level: 'warn' | 'error';
  readonly message: string;
  readonly about?: string;
  readonly details?: string;
  readonly hint?: string;
}

/** Both families, with one Service that nothing is wrong with. */
function rig(exec: Exec = lab.exec) {
  const said: Said[] = [];
  const say = (level: Said['level']) => (fields: object, message: string) => said.push({ level, message, ...fields });
  const log: Log = { ...silentLog, warn: say('warn'), error: say('error') };
  const traffic = { localhostNodePorts: true };
  const settings = {
    ...{ exec, clock: systemClock, log, nodeName: 'node', masqueradeAll: false, complaints: new Complaints(log) },
    ...{ masqueradeBit: 20, clusterCidrs: ['10.244.0.0/16', 'fd00:10:244::/48'], traffic },
  };
  const all = [new Proxier(settings), new Proxier({ ...settings, family: 'IPv6' })];
  const proxier = new DualProxier(...all);
  /** As the wire brings it: types mean nothing. */
  const service = (key: string, object: object | undefined) =>
    proxier.onServiceChange(key, object && (JSON.parse(JSON.stringify(object)) as Service));
  const slice = (key: string, object: object) =>
    proxier.onSliceChange(key, JSON.parse(JSON.stringify(object)) as EndpointSlice);
  const sync = async () => {
    for (const one of all) await one.syncOnce('change', never);
  };
  const differences = async () => (await Promise.all(all.map((one) => one.diff(never)))).flatMap(({ lines }) => lines);
  service('d/good', plainService('good', [good, good6]));
  slice('d/good-1', plainSlice('good', podIp));
  proxier.sourcesSynced();
  return { proxier, all, said, service, slice, sync, differences };
}

const plainService = (name: string, clusterIPs: readonly unknown[], more: object = {}, createdAt = '') => ({
  metadata: { name, namespace: 'd', creationTimestamp: createdAt },
  spec: { clusterIPs, ports: [{ name: 'web', port: 80, protocol: 'TCP' }], ...more },
});
const plainSlice = (name: string, ...ips: readonly string[]) => ({
  metadata: { name: `${name}-1`, namespace: 'd', labels: { [serviceNameLabel]: name } },
  addressType: 'IPv4',
  endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: 'node' })),
  ports: [{ name: 'web', protocol: 'TCP', port: tcpPort }],
});
const whoAnswers = async (ip: string, port: number, from: Agent = client) => {
  const { from: name, error } = await from.ask('tcp', ip, port);
  return name ?? error;
};

test('addresses that mean something else on every host lead nobody away', async () => {
  const { proxier, said, service, slice, sync, differences } = rig();
  const addresses = [
    ...['0.0.0.0', '127.0.0.1', '127.0.0.53', '224.0.0.1', '255.255.255.255', '169.254.169.254'],
    ...[
      '::',
      '::1',
      'fe80::1',
      'ff02::1',
      '::ffff:10.96.9.9',
      '::ffff:127.0.0.1',
      '010.96.9.1',
      '10.96.9.1/24',
      'abc',
      '',
    ],
  ];
  // The port at which the agent of the host answers itself.
  const ports = [{ name: 'web', port: tcpPort, protocol: 'TCP' }];
  for (const [i, ip] of addresses.entries()) {
    service(`d/vip-${i}`, plainService(`vip-${i}`, [ip], { ports }));
    service(`d/ext-${i}`, plainService(`ext-${i}`, [`10.96.10.${i}`], { ports, externalIPs: [ip] }));
    const status = { loadBalancer: { ingress: [{ ip }] } };
    service(`d/lb-${i}`, { ...plainService(`lb-${i}`, [`10.96.11.${i}`], { ports }), status });
    for (const name of [`vip-${i}`, `ext-${i}`, `lb-${i}`]) slice(`d/${name}-1`, plainSlice(name, podIp));
  }
  await sync();
  assert.equal(await whoAnswers(good, 80), 'pod');
  for (const ip of ['127.0.0.1', '127.0.0.53', '::1']) assert.equal(await whoAnswers(ip, tcpPort, host), 'node', ip);
  assert.equal(await whoAnswers('10.96.10.1', tcpPort), 'pod', 'the rest of such a Service is served');
  assert.equal(await whoAnswers('10.96.11.1', tcpPort), 'pod');
  assert.deepEqual(await differences(), []);
  const about = (name: string) => said.filter((one) => one.about === `Service d/${name}`).map((one) => one.details);
  assert.deepEqual(about('ext-1'), ['spec.externalIPs "127.0.0.1" is a loopback address']);
  assert.deepEqual(about('lb-4'), ['status.loadBalancer.ingress "255.255.255.255" is the broadcast address']);
  assert.deepEqual(about('vip-12'), ['spec.clusterIP "010.96.9.1" is not an IP address']);
  const before = said.length;
  service('d/ext-1', { ...plainService('ext-1', ['10.96.10.1'], { ports, externalIPs: ['127.0.0.1'] }) });
  assert.equal(said.length, before, 'once');
  assert.equal(proxier.isLocalEndpoint(podIp), true);
});

test('an address outside all ranges, and the node’s own, are addresses like others at their port', async () => {
  const { said, service, slice, sync } = rig();
  service('d/far', plainService('far', ['203.0.113.77']));
  service('d/own', plainService('own', ['10.96.9.2'], { externalIPs: [nodeIp] }));
  for (const name of ['far', 'own']) slice(`d/${name}-1`, plainSlice(name, otherIp));
  await sync();
  assert.equal(await whoAnswers('203.0.113.77', 80), 'other');
  assert.equal(await whoAnswers(nodeIp, 80), 'other');
  assert.equal(await whoAnswers(nodeIp, tcpPort), 'node', 'other ports are the node’s');
  assert.deepEqual(said, []);
});

test('of Services that claim the same address or node port the oldest has it, and the next one when that goes', async () => {
  const { said, service, slice, sync, differences } = rig();
  const [shared, nodePort] = ['10.96.9.3', 30_777];
  const ports = [{ name: 'web', port: 80, protocol: 'TCP', nodePort }];
  const claim = (name: string, createdAt: string) => {
    service(`d/${name}`, plainService(name, [shared], { type: 'NodePort', ports }, createdAt));
    slice(`d/${name}-1`, plainSlice(name, name === 'old' ? podIp : otherIp));
  };
  claim('young', '2026-02-01T00:00:00Z');
  await sync();
  assert.equal(await whoAnswers(shared, 80), 'other');
  claim('old', '2026-01-01T00:00:00Z');
  await sync();
  claim('young', '2026-02-01T00:00:00Z');
  await sync();
  for (const [ip, port] of [
    [shared, 80],
    [nodeIp, nodePort],
  ] as const)
    assert.equal(await whoAnswers(ip, port), 'pod', ip);
  assert.deepEqual(
    said.map(({ about, details }) => [about, details]),
    [['Service d/young', `${shared} TCP 80: d/old has it, not d/young; * TCP ${nodePort}: d/old has it, not d/young`]],
  );
  service('d/old', undefined);
  await sync();
  for (const [ip, port] of [
    [shared, 80],
    [nodeIp, nodePort],
  ] as const)
    assert.equal(await whoAnswers(ip, port), 'other', ip);
  assert.deepEqual(await differences(), []);
});

test('objects of any shape cost only themselves', async () => {
  const { said, service, slice, sync, differences } = rig();
  const metadata = { name: 'odd', namespace: 'd' };
  const odd: Record<string, unknown> = {
    ...{ 'no-spec': { metadata }, 'null-spec': { metadata, spec: null }, 'no-metadata': { spec: { clusterIP: good } } },
    ...{ empty: {}, 'list-spec': { metadata, spec: [] }, 'text-status': { metadata, spec: {}, status: 'x' } },
    'all-wrong': plainService('all-wrong', ['10.96.9.4'], {
      ...{ type: 7, ports: [{ port: 0 }, { port: 65_536 }, { port: -1 }, { port: 1.5 }, { port: '80' }, null, 'x'] },
      ...{ externalIPs: 'x', loadBalancerSourceRanges: [1], sessionAffinity: 'Foo', externalTrafficPolicy: 'Bogus' },
      ...{ internalTrafficPolicy: [], healthCheckNodePort: '1', publishNotReadyAddresses: 'yes' },
    }),
    affinity: plainService('affinity', ['10.96.9.5'], {
      ...{ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 1e9 } } },
    }),
    unknown: plainService('unknown', ['10.96.9.6'], {
      ports: [
        { name: 'q', port: 443, protocol: 'QUIC' },
        { name: 'web', port: 80, nodePort: 99_999 },
      ],
    }),
    many: plainService('many', ['10.96.9.7'], {
      ports: Array.from({ length: 900 }, (_, i) => ({ name: i === 79 ? 'web' : `p${i}`, port: i + 1 })),
    }),
  };
  for (const [name, object] of Object.entries(odd)) {
    service(`d/${name}`, object as object);
    slice(`d/${name}-1`, plainSlice(name, otherIp));
  }
  const plain = plainSlice('good', podIp);
  const slices: Record<string, unknown> = {
    ...{ s0: {}, s1: { metadata: null }, s2: { ...plain, endpoints: null, ports: null } },
    ...{ s3: { ...plain, endpoints: [null, 7, {}, { addresses: [] }, { addresses: [null] }, { addresses: 'x' }] } },
    ...{ s4: { ...plain, ports: [null, {}, { port: '80' }, { port: 0 }, { port: 80, protocol: 'QUIC' }] } },
    s5: {
      ...plain,
      endpoints: [
        '',
        'abc',
        '10.0.0.1/8',
        '::ffff:1.2.3.4',
        '010.1.1.1',
        '127.0.0.1',
        '169.254.1.1',
        '0.0.0.0',
        '::1',
      ].map((ip) => ({
        addresses: [ip],
        nodeName: 5,
        conditions: { ready: 'yes' },
        hints: { forZones: 'x', forPlanets: [] },
      })),
    },
    ...{ s6: { ...plain, addressType: 'IPv5' }, s7: { ...plain, endpoints: 'x', ports: 9 } },
  };
  for (const [name, object] of Object.entries(slices)) slice(`d/${name}`, object as object);
  await sync();
  for (const [ip, who] of [
    [good, 'pod'],
    ['10.96.9.5', 'other'],
    ['10.96.9.6', 'other'],
    ['10.96.9.7', 'other'],
  ] as const) {
    assert.equal(await whoAnswers(ip, 80), who, ip);
  }
  assert.equal(await whoAnswers('10.96.9.7', 900), 'ECONNREFUSED', 'a port that no slice names has no endpoint');
  assert.deepEqual(await differences(), []);
  const details = (about: string) => said.filter((one) => one.about === about).map((one) => one.details);
  assert.deepEqual(details('Service d/unknown'), [
    'spec.ports[0].protocol "QUIC" is none of TCP, UDP, SCTP; spec.ports[1].nodePort 99999 is not a port number',
  ]);
  assert.match(details('EndpointSlice d/s5')[0] ?? '', /^endpoints\[0\]\.addresses\[0\] "" is not an IP address; /);
  assert.equal(new Set(said.map(({ about }) => about)).size, said.length, 'each object is named once');
});

test('a Service with 5,000 endpoints is one among others', async () => {
  const { said, service, slice, sync, differences } = rig();
  service('d/huge', plainService('huge', ['10.96.9.8']));
  const ips = Array.from({ length: 5_000 }, (_, i) => `10.245.${i >> 8}.${i & 255}`);
  for (let i = 0; i < 50; i++) slice(`d/huge-${i}`, plainSlice('huge', ...ips.slice(i * 100, (i + 1) * 100)));
  await sync();
  assert.equal(await whoAnswers(good, 80), 'pod');
  assert.deepEqual(await differences(), []);
  // One of them is left, and it answers.
  for (let i = 0; i < 50; i++) slice(`d/huge-${i}`, plainSlice('huge', ...(i === 7 ? [otherIp] : [])));
  await sync();
  assert.equal(await whoAnswers('10.96.9.8', 80), 'other');
  assert.deepEqual(await differences(), []);
  assert.deepEqual(said, []);
});

const inside = (wrap: readonly string[], ...programs: readonly string[]): Exec => ({
  run: (file, args, options) =>
    programs.includes(file)
      ? lab.exec.run(wrap[0] ?? '', [...wrap.slice(1), file, ...args], options)
      : lab.exec.run(file, args, options),
});

const broken: Record<string, { readonly exec: () => Exec; readonly hint: RegExp }> = {
  'nft is not there': {
    exec: () => ({
      run: (file, args, options) =>
        file === 'nft' ? Promise.reject(notFound(file)) : lab.exec.run(file, args, options),
    }),
    hint: /install it/,
  },
  'nft is not permitted': {
    exec: () => inside(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'], 'nft'),
    hint: /root|NET_ADMIN/,
  },
};
for (const [sentence, { exec, hint }] of Object.entries(broken)) {
  test(`${sentence}: one error with its remedy, and all is well when that is done`, async () => {
    let current = exec();
    const { all, said } = rig({ run: (...args) => current.run(...args) });
    for (let i = 0; i < 3; i++) for (const one of all) await assert.rejects(one.syncOnce('retry', never));
    assert.deepEqual(
      said.map(({ level, message }) => [level, message]),
      [['error', 'Services are not in step with the kernel; trying again']],
    );
    assert.match(said[0]?.hint ?? '', hint);
    current = lab.exec;
    for (const one of all) await one.syncOnce('retry', never);
    assert.equal(await whoAnswers(good, 80), 'pod');
  });
}

test('where /proc/sys is read-only, node ports on localhost are missing, which is said once with its remedy', async () => {
  await lab.node('sysctl -q -w net.ipv4.conf.all.route_localnet=0');
  const script = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"';
  const readOnly = inside(['unshare', '--mount', 'sh', '-c', script, 'sh'], 'sysctl');
  const { said, service, slice, sync } = rig(readOnly);
  const ports = [{ name: 'web', port: 80, protocol: 'TCP', nodePort: 30_778 }];
  service('d/np', plainService('np', ['10.96.9.9'], { type: 'NodePort', ports }));
  slice('d/np-1', plainSlice('np', otherIp));
  await sync();
  slice('d/np-1', plainSlice('np', podIp));
  await sync();
  assert.equal(await whoAnswers(nodeIp, 30_778), 'pod');
  assert.equal(await whoAnswers(good, 80), 'pod');
  assert.deepEqual(
    said.map(({ level, message }) => [level, message]),
    [['warn', 'node ports do not answer on 127.0.0.1: route_localnet cannot be set']],
  );
  assert.match(said[0]?.hint ?? '', /sysctl -w net\.ipv4\.conf\.all\.route_localnet=1/);
});
