import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type { Service } from '../../api/core-v1.ts';
import type { EndpointSlice } from '../../api/discovery-v1.ts';
import { serviceNameLabel } from '../../api/discovery-v1.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import type { Log } from '../../lib/log.ts';
import { silentLog } from '../../lib/log.ts';
import type { TrafficRules, Wish } from '../backend.ts';
import { EndpointSliceTracker } from '../endpointslice-tracker.ts';
import { readService } from '../read-service.ts';
import { readSlice } from '../read-slice.ts';
import type { Route } from '../route-services.ts';
import { frontendKey, routeService } from '../route-services.ts';
import { RouteTable } from '../route-table.ts';
import { FakeIpvs } from './fake-ipvs.ts';
import type { IpvsSettings } from './ipvs-backend.ts';
import { IpvsBackend } from './ipvs-backend.ts';
import { IpvsKernel } from './ipvs-kernel.ts';

const never = new AbortController().signal;
const plain: IpvsSettings = {
  ...{ scheduler: 'rr', excludeCIDRs: [], strictARP: false },
  ...{ tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 0 },
};
const rules: TrafficRules = {
  ...{ family: 'IPv4', masqueradeAll: false, masqueradeBit: 14, local: { cidrs: ['10.244.0.0/16'] } },
  ...{ nodePortAddresses: [], localhostNodePorts: false },
};

const service: Service = {
  metadata: { name: 's', namespace: 'd' },
  spec: {
    clusterIP: '10.96.0.7',
    ports: [
      { name: 'web', port: 80, nodePort: 30_080 },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  },
};

const slice = (...hosts: readonly number[]): EndpointSlice => ({
  metadata: { name: 's-1', namespace: 'd', labels: { [serviceNameLabel]: 's' } },
  addressType: 'IPv4',
  endpoints: hosts.map((host) => ({ addresses: [`10.244.0.${host}`], nodeName: 'here' })),
  ports: [
    { name: 'web', port: 8080, protocol: 'TCP' },
    { name: 'dns', port: 5353, protocol: 'UDP' },
  ],
});

let kernel: FakeIpvs;
let clock: FakeClock;
let table: RouteTable;
let warnings: string[];
const log: Log = {
  ...silentLog,
  warn: (_fields: unknown, message?: string) => void warnings.push(message ?? ''),
} as Log;
const newBackend = (settings: Partial<IpvsSettings> = {}) =>
  new IpvsBackend({ exec: kernel, log, clock, family: 'IPv4', settings: { ...plain, ...settings } });

/** What is wanted once a Service has these endpoints; undefined: the Service is gone. */
function wish(hosts: readonly number[] | undefined, more: Partial<TrafficRules> = {}, object = service): Wish {
  const read = hosts && readService(object, 'IPv4').service;
  const slices = new EndpointSliceTracker('here');
  slices.update('d/s-1', readSlice(slice(...(hosts ?? [])), 'IPv4').slice);
  const routes = read ? routeService(read, slices.endpointsOf('d/s'), { nodeName: 'here', zone: undefined }) : [];
  const { changed } = table.update('d/s', '', routes);
  return {
    routes: table,
    rules: { ...rules, ...more },
    changed: { frontends: new Set(changed.map(({ frontend }) => frontend)), services: new Set(['d/s']) },
    changedTargets: new Set(),
  };
}

const weights = (key: string) =>
  [...(kernel.servers.get(key)?.endpoints ?? [])].map(([endpoint, { weight }]) => `${endpoint} ${weight}`);
const change = { cause: 'change', signal: never } as const;
const periodic = { cause: 'periodic', signal: never } as const;

beforeEach(() => {
  kernel = new FakeIpvs();
  clock = new FakeClock();
  table = new RouteTable();
  warnings = [];
});

describe('writing', () => {
  test('one changed endpoint takes one run of each program that it concerns', async () => {
    const backend = newBackend();
    await backend.sync(wish([1, 2]), change);
    kernel.written.length = 0;
    assert.equal((await backend.sync(wish([1, 3]), change)).isFull, false);
    assert.deepEqual(kernel.written, ['ipset -exist restore', 'ipvsadm -R', 'ipset -exist restore']);
  });

  test('the address comes last, when everything behind it is there', async () => {
    await newBackend().sync(wish([1]), change);
    assert.deepEqual(kernel.written, [
      'sysctl -q -w net.ipv4.vs.conntrack=1 net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1 net.ipv4.ip_forward=1',
      'ip -batch -',
      'ipset -exist restore',
      'iptables-restore -w 5 --noflush',
      'ipvsadm -R',
      'ip -force -batch -',
    ]);
  });

  test('node ports are served on the node’s addresses, and on new ones after the next periodic sync', async () => {
    const backend = newBackend();
    await backend.sync(wish([1]), change);
    kernel.links.get('eth0')?.addresses.add('192.0.2.9');
    kernel.links.get('eth0')?.addresses.delete('192.0.2.1');
    await backend.sync(wish([1]), periodic);
    const ports = [...kernel.servers.keys()].filter((key) => key.endsWith(':30080'));
    assert.deepEqual(ports, ['-t 192.0.2.9:30080']);
    assert.deepEqual(warnings, []);
  });

  test('an address of the node goes before a node port, when it comes and for as long as it is there', async () => {
    const backend = newBackend();
    await backend.sync(wish([1]), change);
    // Those that leave stay for their connections, with no weight.
    const serving = () => weights('-t 192.0.2.1:30080').filter((one) => one.endsWith(' 1'));
    assert.deepEqual(serving(), ['10.244.0.1:8080 1']);
    const another = table.get('10.96.0.7 TCP 80');
    assert.ok(another);
    const route: Route = {
      ...another,
      frontend: { ip: '192.0.2.1', protocol: 'TCP', port: 30_080 },
      targets: [{ ip: '10.244.0.7', port: 80, mayBeLocal: false }],
    };
    const bring = async (...routes: readonly Route[]) => {
      const { changed } = table.update('d/other', '', routes);
      const frontends = new Set(changed.map(({ frontend }) => frontend));
      const told = { ...wish([1]), changed: { frontends, services: new Set(['d/other']) } };
      assert.equal((await backend.sync(told, change)).isFull, false);
    };
    await bring(route);
    assert.deepEqual(serving(), ['10.244.0.7:80 1']);
    await bring();
    assert.deepEqual(serving(), ['10.244.0.1:8080 1']);
    assert.deepEqual(await backend.diff(wish([1]), never), []);
    await bring(route);
    kernel = new FakeIpvs();
    await newBackend().sync(wish([1]), change);
    assert.deepEqual(serving(), ['10.244.0.7:80 1'], 'a start knows no order');
  });

  test('with very many Services a periodic sync looks at addresses, and at all else now and then', async () => {
    const backend = newBackend();
    const many = Array.from({ length: 1_100 }, (_, i) => `10.97.${i >> 8}.${i & 255}`);
    const routes = [...wish([1]).routes.frontends()].flatMap((frontend) => table.get(frontend) ?? []);
    const all = many.flatMap((ip) => routes.map((route) => ({ ...route, frontend: { ...route.frontend, ip } })));
    table.update('d/many', '', all);
    await backend.sync(wish([1]), change);
    kernel.servers.delete('-t 10.97.0.5:80');
    const fulls: boolean[] = [];
    for (let i = 0; i < 10; i++) fulls.push((await backend.sync(wish([1]), periodic)).isFull);
    assert.deepEqual(fulls, [...Array.from({ length: 9 }, () => false), true]);
    assert.ok(kernel.servers.has('-t 10.97.0.5:80'));
    kernel.links.get('eth0')?.addresses.add('192.0.2.9');
    await backend.sync(wish([1]), periodic);
    assert.ok(kernel.servers.has('-t 192.0.2.9:30080'));
  });

  test('node ports are served in the wanted ranges only', async () => {
    await newBackend().sync(wish([1], { nodePortAddresses: ['198.51.100.0/24'] }), change);
    assert.deepEqual([...kernel.servers.keys()], ['-t 10.96.0.7:80', '-u 10.96.0.7:53']);
  });

  test('timeouts and strict ARP are set once', async () => {
    const settings = { strictARP: true, udpTimeoutMs: 10_500 };
    await newBackend(settings).sync(wish([1]), change);
    assert.deepEqual(kernel.timeouts, [900, 120, 11]);
    assert.equal(kernel.sysctls.get('net.ipv4.conf.all.arp_announce'), '2');
    kernel.written.length = 0;
    await newBackend(settings).sync(wish([1]), change);
    assert.deepEqual(kernel.written, []);
  });

  test('a host whose sysctls cannot be written is warned of once, and served', async () => {
    kernel.failNext('sysctl: permission denied on key', false);
    await newBackend().sync(wish([1]), change);
    assert.deepEqual(warnings, ['sysctls or timeouts of IPVS cannot be set']);
    assert.deepEqual(weights('-t 10.96.0.7:80'), ['10.244.0.1:8080 1']);
  });
});

const refusals: Readonly<Record<string, readonly [skip: number, stderr: string, code: string, hint: RegExp]>> = {
  'another program holds the lock of iptables': [
    3,
    'Another app is currently holding the xtables lock; still 1s 0us time ahead to have a chance to grab the lock...',
    'IpvsLocked',
    /xtables.lock/,
  ],
  'iptables cannot look into sets': [3, "iptables-restore v1.8.9: Couldn't load match `set'", 'IpvsNoSets', /xt_set/],
  'the kernel may not be changed': [4, 'Operation not permitted (you must be root)', 'IpvsDenied', /NET_ADMIN/],
};
describe('what is refused is said with its remedy, the rest is written, and the next sync makes up for it:', () => {
  for (const [sentence, [skip, stderr, code, hint]] of Object.entries(refusals)) {
    test(sentence, async () => {
      const whole = new FakeIpvs();
      await new IpvsBackend({ exec: whole, log, clock, family: 'IPv4', settings: plain }).sync(wish([1]), change);
      kernel.failNext(stderr, false, skip);
      const backend = newBackend();
      await assert.rejects(backend.sync(wish([1]), change), (error: { code?: string; hint?: string }) => {
        assert.equal(error.code, code);
        assert.match(error.hint ?? '', hint);
        return true;
      });
      assert.ok(kernel.links.get('kube-ipvs0')?.addresses.has('10.96.0.7'));
      await backend.sync(wish([1]), { cause: 'retry', signal: never });
      assert.deepEqual(kernel.dump().toSorted(), whole.dump().toSorted());
    });
  }
});

describe('endpoints that leave', () => {
  test('finish their connections, take nobody new, and go when the last one has ended', async () => {
    const backend = newBackend();
    await backend.sync(wish([1, 2]), change);
    const leaving = kernel.servers.get('-t 10.96.0.7:80')?.endpoints.get('10.244.0.2:8080');
    assert.ok(leaving);
    leaving.connections = 1;
    await backend.sync(wish([1]), change);
    assert.deepEqual(weights('-t 10.96.0.7:80'), ['10.244.0.1:8080 1', '10.244.0.2:8080 0']);
    assert.deepEqual(weights('-u 10.96.0.7:53'), ['10.244.0.1:5353 1'], 'a UDP flow has no end to wait for');

    const stop = new AbortController();
    let asked = 0;
    const running = backend.run(stop.signal, () => {
      asked += 1;
    });
    await clock.advance(10_000);
    assert.equal(asked, 1);
    await backend.sync(wish([1]), change);
    assert.equal(weights('-t 10.96.0.7:80').length, 2);
    leaving.connections = 0;
    await clock.advance(10_000);
    await backend.sync(wish([1]), change);
    assert.deepEqual(weights('-t 10.96.0.7:80'), ['10.244.0.1:8080 1']);
    await clock.advance(60_000);
    assert.equal(asked, 2, 'nothing is left to ask for');
    stop.abort();
    await running;
  });

  test('go with their connections after a quarter of an hour', async () => {
    const backend = newBackend();
    await backend.sync(wish([1, 2]), change);
    const leaving = kernel.servers.get('-t 10.96.0.7:80')?.endpoints.get('10.244.0.2:8080');
    assert.ok(leaving);
    leaving.connections = 1;
    await backend.sync(wish([1]), change);
    await clock.advance(15 * 60_000);
    await backend.sync(wish([1]), change);
    assert.deepEqual(weights('-t 10.96.0.7:80'), ['10.244.0.1:8080 1']);
  });

  test('that come back before that take new connections again', async () => {
    const backend = newBackend();
    await backend.sync(wish([1, 2]), change);
    await backend.sync(wish([1]), change);
    await backend.sync(wish([1, 2]), change);
    await clock.advance(60_000);
    await backend.sync(wish([1, 2]), change);
    assert.deepEqual(weights('-t 10.96.0.7:80'), ['10.244.0.1:8080 1', '10.244.0.2:8080 1']);
  });
});

describe('what is not ours', () => {
  test('virtual servers of an operator stay, with endpoints that take nobody', async () => {
    const operators = { options: '-s wlc', endpoints: new Map([['192.0.2.77:80', { weight: 0, connections: 0 }]]) };
    kernel.servers.set('-t 192.0.2.1:8443', operators);
    kernel.servers.set('-f 7', operators);
    const backend = newBackend();
    await backend.sync(wish([1]), change);
    await clock.advance(10_000);
    await backend.sync(wish(undefined), change);
    await newBackend().sync(wish(undefined), change);
    assert.deepEqual([...kernel.servers.keys()], ['-t 192.0.2.1:8443', '-f 7']);
    assert.equal(operators.endpoints.size, 1);
  });

  test('what lies in an excluded range stays, whoever has made it', async () => {
    await newBackend().sync(wish([1]), change);
    await newBackend({ excludeCIDRs: ['10.96.0.0/16'] }).sync(wish(undefined), change);
    assert.deepEqual([...kernel.servers.keys()], ['-t 10.96.0.7:80', '-u 10.96.0.7:53']);
    assert.ok(kernel.links.get('kube-ipvs0')?.addresses.has('10.96.0.7'));
  });

  test('a device without our mark is kube-proxy’s, and nothing is touched', async () => {
    kernel.links.set('kube-ipvs0', { alias: undefined, addresses: new Set(['10.96.0.1']) });
    const before = kernel.dump();
    await assert.rejects(newBackend().sync(wish([1]), change), { code: 'IpvsForeignDevice' });
    assert.deepEqual(kernel.dump(), before);
  });

  test('a node’s own address that is asked for as a virtual one is neither bound nor unbound', async () => {
    kernel.links.get('eth0')?.addresses.add('10.96.0.7');
    const backend = newBackend();
    await backend.sync(wish([1]), change);
    assert.deepEqual(weights('-t 10.96.0.7:80'), ['10.244.0.1:8080 1']);
    assert.equal(kernel.sets.get('KUBE-IPVS-IPS')?.elements.size, 0, 'else nobody could reach the node any more');
    await backend.sync(wish(undefined), change);
    assert.deepEqual([...kernel.servers.keys()], []);
    assert.ok(kernel.links.get('eth0')?.addresses.has('10.96.0.7'));
  });

  test('an idle IPv6 has nothing written for it', async () => {
    const settings = { exec: kernel, log, clock, settings: plain };
    const backend = new IpvsBackend({ ...settings, family: 'IPv6' });
    const idle = { ...wish(undefined), rules: { ...rules, family: 'IPv6' as const, local: undefined } };
    assert.deepEqual(await backend.sync(idle, change), { isFull: true, writes: 0 });
    assert.deepEqual(await backend.sync(idle, change), { isFull: false, writes: 0 });
    assert.deepEqual(kernel.written, []);
  });
});

describe('what another program has done', () => {
  const harm: Readonly<Record<string, () => void>> = {
    'a virtual server less': () => kernel.servers.delete('-t 10.96.0.7:80'),
    'all virtual servers cleared': () => kernel.servers.clear(),
    'another scheduler': () => {
      const server = kernel.servers.get('-t 10.96.0.7:80');
      if (server) server.options = '-s wlc -p 9';
    },
    'an endpoint more': () =>
      kernel.servers.get('-u 10.96.0.7:53')?.endpoints.set('10.9.9.9:1', { weight: 1, connections: 0 }),
    'an endpoint that takes nobody': () =>
      kernel.servers.get('-t 10.96.0.7:80')?.endpoints.set('10.244.0.1:8080', { weight: 0, connections: 0 }),
    'the device removed': () => kernel.links.delete('kube-ipvs0'),
    'a set emptied': () => kernel.sets.get('KUBE-CLUSTER-IP')?.elements.clear(),
    'the packet rules flushed': () => kernel.rules.IPv4.flush(),
  };
  for (const [what, act] of Object.entries(harm)) {
    test(`is repaired at the next periodic sync, and said: ${what}`, async () => {
      const backend = newBackend();
      await backend.sync(wish([1]), change);
      const before = kernel.dump().toSorted();
      act();
      assert.notDeepEqual(kernel.dump().toSorted(), before);
      assert.notDeepEqual(await backend.diff(wish([1]), never), []);
      await backend.sync(wish([1]), periodic);
      assert.deepEqual(kernel.dump().toSorted(), before);
      assert.deepEqual(warnings, ['another program changed IPVS or its rules; repaired']);
    });
  }

  test('nothing done means nothing written', async () => {
    const backend = newBackend();
    await backend.sync(wish([1]), change);
    kernel.written.length = 0;
    assert.deepEqual(await backend.sync(wish([1]), periodic), { isFull: true, writes: 0 });
    assert.deepEqual(kernel.written, []);
  });
});

test('a Service is explained by what leads to it', async () => {
  const backend = newBackend();
  const key = frontendKey({ ip: '10.96.0.7', protocol: 'TCP', port: 80 });
  assert.deepEqual(backend.explain(key, wish([1, 2])), [
    'add KUBE-IPVS-IPS 10.96.0.7',
    'add KUBE-CLUSTER-IP 10.96.0.7,tcp:80',
    'add KUBE-LOOP-BACK 10.244.0.1,tcp:8080,10.244.0.1',
    'add KUBE-LOOP-BACK 10.244.0.2,tcp:8080,10.244.0.2',
    '-A -t 10.96.0.7:80 -s rr',
    '-a -t 10.96.0.7:80 -r 10.244.0.1:8080 -m -w 1',
    '-a -t 10.96.0.7:80 -r 10.244.0.2:8080 -m -w 1',
    'addr add 10.96.0.7/32 dev kube-ipvs0',
  ]);
  assert.deepEqual(backend.explain('10.96.0.8 TCP 80', wish([1, 2])), []);
});

test('a Service with other endpoints for clients from outside is explained with the mark that the kernel has', async () => {
  const object: Service = {
    metadata: { name: 's', namespace: 'd' },
    spec: { ...service.spec, type: 'NodePort', externalIPs: ['198.51.100.7'], externalTrafficPolicy: 'Local' },
  };
  const backend = newBackend();
  const wished = wish([1], {}, object);
  await backend.sync(wished, change);
  const key = frontendKey({ ip: '*', protocol: 'TCP', port: 30_080 });
  const [, mark] = /-A (-f \d+)/.exec(backend.explain(key, wished).join('\n')) ?? [];
  const element = '192.0.2.1,tcp:30080';
  const hex = kernel.sets
    .get('KEELSON-OUTSIDE')
    ?.elements.get(element)
    ?.replace(/^.*skbmark /, '');
  assert.equal(mark, `-f ${Number(hex)}`);
});

test('answers of endpoints are let through where the host forwards nothing', async () => {
  await newBackend().sync(wish([1]), change);
  const rules = kernel.rules.IPv4.save();
  assert.match(rules, /-A FORWARD .*-j KEELSON-IPVS-FORWARD/);
  assert.match(rules, /-A KEELSON-IPVS-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED .*-j ACCEPT/);
});

test('a plan is what an empty kernel would be given, and touches nothing', () => {
  const plan = newBackend().plan(wish([1]));
  assert.deepEqual(kernel.written, []);
  const parts = [
    'link add name kube-ipvs0 type dummy',
    '-a -t 10.96.0.7:80 -r 10.244.0.1:8080 -m -w 1',
    'addr add 10.96.0.7/32',
    '*nat',
    'create KUBE-CLUSTER-IP',
  ];
  for (const part of parts) assert.ok(plan.includes(part), part);
});

test('two families that make the device at the same time leave one', async () => {
  const both = new FakeIpvs();
  const { signal } = new AbortController();
  await Promise.all((['IPv4', 'IPv6'] as const).map((family) => new IpvsKernel(both, family).makeDevice(signal)));
  assert.deepEqual([...both.links.keys()], ['lo', 'eth0', 'kube-ipvs0']);
});

test('a device that is gone is a difference, and an IPv6 that nobody needs is none', async () => {
  const backend = newBackend();
  await backend.sync(wish([1]), change);
  assert.deepEqual(await backend.diff(wish([1]), never), []);
  kernel.links.delete('kube-ipvs0');
  assert.equal((await backend.diff(wish([1]), never))[0], '+ link add name kube-ipvs0 type dummy');
  const ipv6 = new IpvsBackend({ exec: kernel, log, clock, family: 'IPv6', settings: plain });
  assert.deepEqual(await ipv6.diff({ ...wish(undefined), rules: { ...rules, family: 'IPv6' } }, never), []);
});
