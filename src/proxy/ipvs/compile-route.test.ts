import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Route } from '../route-services.ts';
import type { Place } from './compile-route.ts';
import { compileRoute } from './compile-route.ts';

const place: Place = {
  family: 'IPv4',
  scheduler: 'rr',
  nodePortAddresses: ['10.244.0.1', '192.0.2.1'],
  hostAddresses: new Set(['10.244.0.1', '192.0.2.1', '127.0.0.1']),
};
const here = { ip: '10.244.0.5', port: 8080, mayBeLocal: true };
const there = { ip: '10.244.1.5', port: 8080, mayBeLocal: false };
const base: Route = {
  ...{ frontend: { ip: '10.96.0.9', protocol: 'TCP', port: 80 }, verdict: 'forward', targets: [here, there] },
  ...{ masquerade: 'outsiders', outside: undefined, affinitySeconds: undefined, sources: undefined },
  origin: { namespace: 'd', name: 's', portName: '', kind: 'clusterIP' },
};
const balancer: Partial<Route> = {
  ...{ frontend: { ip: '203.0.113.9', protocol: 'TCP', port: 80 }, masquerade: 'everybody' },
  origin: { ...base.origin, kind: 'loadBalancer' },
};
const nodePort: Partial<Route> = {
  ...{ frontend: { ip: '*', protocol: 'UDP', port: 30_053 }, masquerade: 'everybody' },
  origin: { ...base.origin, kind: 'nodePort' },
};
const toOwn: Partial<Route> = { masquerade: 'host', outside: { verdict: 'forward', targets: [here] } };

/** One line for each server with its endpoints, address and member. */
function compiled(route: Partial<Route>, where: Partial<Place> = {}, mark?: number): readonly string[] {
  const { servers, addresses, members } = compileRoute({ ...base, ...route }, { ...place, ...where }, mark);
  return [
    ...servers.map((one) => `${one.key} ${one.options} → ${one.endpoints.join(' ') || 'nobody'}`),
    ...addresses,
    ...members.map(({ set, element, extension }) => `${set} ${element}${extension && ` ${extension}`}`),
  ];
}

const cases: Readonly<Record<string, readonly [actual: () => readonly string[], expected: readonly string[]]>> = {
  'a virtual address': [
    () => compiled({}),
    [
      '-t 10.96.0.9:80 -s rr → 10.244.0.5:8080 10.244.1.5:8080',
      '10.96.0.9',
      'KUBE-CLUSTER-IP 10.96.0.9,tcp:80',
      'KUBE-IPVS-IPS 10.96.0.9',
      'KUBE-LOOP-BACK 10.244.0.5,tcp:8080,10.244.0.5',
    ],
  ],
  'nobody serves it: a server that refuses': [
    () => compiled({ verdict: 'reject', targets: [] }),
    ['-t 10.96.0.9:80 -s rr → nobody', '10.96.0.9', 'KUBE-CLUSTER-IP 10.96.0.9,tcp:80', 'KUBE-IPVS-IPS 10.96.0.9'],
  ],
  'dropped: no server, as that could only refuse': [
    () => compiled({ verdict: 'drop', targets: [] }),
    ['10.96.0.9', 'KEELSON-DROP 10.96.0.9,tcp:80', 'KUBE-CLUSTER-IP 10.96.0.9,tcp:80', 'KUBE-IPVS-IPS 10.96.0.9'],
  ],
  affinity: [
    () => compiled({ affinitySeconds: 60, targets: [there] }).slice(0, 1),
    ['-t 10.96.0.9:80 -s rr -p 60 → 10.244.1.5:8080'],
  ],
  'a scheduler that hashes clients finds another endpoint for one that leaves': [
    () => compiled({ targets: [there] }, { scheduler: 'sh' }).slice(0, 1),
    ['-t 10.96.0.9:80 -s sh -b sh-fallback → 10.244.1.5:8080'],
  ],
  'another server, by mark, for clients from outside': [
    () => compiled({ ...balancer, ...toOwn }, {}, 0x4b000007),
    [
      '-t 203.0.113.9:80 -s rr → 10.244.0.5:8080 10.244.1.5:8080',
      '-f 1258291207 -s rr → 10.244.0.5:8080',
      '203.0.113.9',
      'KEELSON-OUTSIDE 203.0.113.9,tcp:80 skbmark 0x4b000007',
      'KUBE-LOAD-BALANCER-LOCAL 203.0.113.9,tcp:80',
      'KUBE-IPVS-IPS 203.0.113.9',
      'KUBE-LOOP-BACK 10.244.0.5,tcp:8080,10.244.0.5',
    ],
  ],
  'affinity of clients from outside by hash, as persistence by mark knows no ports': [
    () => compiled({ ...balancer, ...toOwn, affinitySeconds: 60 }, {}, 0x4b000007).slice(0, 2),
    [
      '-t 203.0.113.9:80 -s rr -p 60 → 10.244.0.5:8080 10.244.1.5:8080',
      '-f 1258291207 -s sh -b sh-fallback → 10.244.0.5:8080',
    ],
  ],
  'nothing for clients from outside': [
    () => compiled({ ...balancer, targets: [there], masquerade: 'host', outside: { verdict: 'drop', targets: [] } }),
    [
      '-t 203.0.113.9:80 -s rr → 10.244.1.5:8080',
      '203.0.113.9',
      'KEELSON-OUTSIDE-DROP 203.0.113.9,tcp:80',
      'KUBE-LOAD-BALANCER-LOCAL 203.0.113.9,tcp:80',
      'KUBE-IPVS-IPS 203.0.113.9',
    ],
  ],
  'a node port, on each address, none of which is bound': [
    () => compiled({ ...nodePort, targets: [there] }),
    [
      '-u 10.244.0.1:30053 -s rr → 10.244.1.5:8080',
      '-u 192.0.2.1:30053 -s rr → 10.244.1.5:8080',
      'KUBE-NODE-PORT-UDP 30053',
    ],
  ],
  'health checks of balancers get in': [
    () => compiled({ ...base, targets: [there], healthPort: 31_000 }).filter((line) => line.includes('HEALTH')),
    ['KUBE-HEALTH-CHECK-NODE-PORT 31000'],
  ],
  'source ranges: whole addresses, all addresses, and what has bits of a host': [
    () => compiled({ ...balancer, targets: [there], sources: ['192.0.2.77/32', '0.0.0.0/0', '10.9.9.9/12'] }).slice(3),
    [
      'KUBE-LOAD-BALANCER-FW 203.0.113.9,tcp:80',
      'KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,192.0.2.77',
      'KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,0.0.0.0/1',
      'KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,128.0.0.0/1',
      'KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,10.0.0.0/12',
      // The host itself, whose packets to a virtual address come from there.
      'KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,203.0.113.9',
      'KUBE-IPVS-IPS 203.0.113.9',
    ],
  ],
  'source ranges that the host is not in': [
    () => compiled({ ...balancer, targets: [there], sources: ['198.18.0.0/15', '203.0.113.9'] }).slice(3, -1),
    ['KUBE-LOAD-BALANCER-FW 203.0.113.9,tcp:80', 'KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,198.18.0.0/15'],
  ],
  IPv6: [
    () =>
      compiled(
        {
          ...toOwn,
          frontend: { ip: 'fd00:96::9', protocol: 'SCTP', port: 9 },
          targets: [{ ip: 'fd00::5', port: 99, mayBeLocal: true }],
          outside: { verdict: 'reject', targets: [] },
        },
        { family: 'IPv6' },
        0x4b000007,
      ),
    [
      '--sctp-service [fd00:96::9]:9 -s rr → [fd00::5]:99',
      '-f 1258291207 -6 -s rr → nobody',
      'fd00:96::9',
      'KEELSON-OUTSIDE fd00:96::9,sctp:9 skbmark 0x4b000007',
      'KUBE-CLUSTER-IP fd00:96::9,sctp:9',
      'KUBE-IPVS-IPS fd00:96::9',
      'KUBE-LOOP-BACK fd00::5,sctp:99,fd00::5',
    ],
  ],
};

describe('a route in IPVS’s terms', () => {
  for (const [sentence, [actual, expected]] of Object.entries(cases)) {
    test(sentence, () => assert.deepEqual(actual(), expected));
  }
  for (const ip of ['0.0.0.0', '127.0.0.9', '224.0.0.1', '255.255.255.255', '::1', 'ff02::1', 'fe80::1']) {
    test(`an address that no host can have disturbs nobody: ${ip}`, () => {
      const route = { frontend: { ip, protocol: 'TCP', port: 80 }, targets: [there] } as const;
      assert.deepEqual(compiled(route, { family: ip.includes(':') ? 'IPv6' : 'IPv4' }), []);
    });
  }
});
