import type { Service, ServiceSpec } from '../src/api/core-v1.ts';
import type { Endpoint, EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { TrafficConfig } from '../src/proxy/node-facts.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { policiesOf } from './proxy-cases-policies.ts';
import { shapesOf } from './proxy-cases-shapes.ts';
import { bridgeIp, bridgeIp6, nodeIp, nodeIp6, outsideIp, outsideIp6, tcpPort, udpPort } from './proxy-lab.ts';

/** What every backend has to do alike: who sends where, and who answers, as plain data. Runs on the Lab's hosts. */

export type Sender = 'client' | 's1' | 'host' | 'outside';

export interface PacketCase {
  readonly from: Sender;
  readonly to: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  /** Names of the pods that answer, each at least once, nobody else; or what becomes of the packet. */
  readonly expect: readonly string[] | 'REJECT' | 'DROP';
  /** The address that the endpoint takes for the client's. */
  readonly seen?: string;
}

/** How the proxier is configured. Both families of a world have the same. */
export interface WorldSettings {
  readonly masqueradeAll: boolean;
  readonly clusterCidrs: readonly string[];
  readonly traffic: Partial<TrafficConfig>;
}

export interface World {
  readonly family: IpFamily;
  readonly settings: WorldSettings;
  /** Where the pods of the family are, whether the proxier is told or not. */
  readonly clusterCidr: string;
  readonly pods: Readonly<Record<string, string>>;
  readonly node: string;
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  readonly cases: Readonly<Record<string, PacketCase>>;
}

export const addresses = {
  IPv4: {
    ...{ cidr: '10.244.0.0/16', pod: '10.244.0.', vip: '10.96.0.', external: '198.51.100.', balancer: '203.0.113.' },
    ...{ bridge: bridgeIp, node: nodeIp, outside: outsideIp, only: '/32', elsewhere: '192.168.0.0/16' },
  },
  IPv6: {
    ...{ cidr: 'fd00:10:244::/48', pod: 'fd00:10:244::', vip: 'fd00:96::', external: 'fd00:e::', balancer: 'fd00:b::' },
    ...{ bridge: bridgeIp6, node: nodeIp6, outside: outsideIp6, only: '/128', elsewhere: 'fd00:77::/64' },
  },
} as const;
export type CaseAddresses = Readonly<Record<keyof (typeof addresses)['IPv4'], string>>;

/** The name of the node, and the zone that it is in. */
export const nodeName = 'node';
export const zone = 'a';

const usualSettings: WorldSettings = {
  masqueradeAll: false,
  clusterCidrs: [addresses.IPv4.cidr, addresses.IPv6.cidr],
  traffic: { localhostNodePorts: true },
};

const ports = (nodePort?: number) => [
  { name: 'web', port: 80, protocol: 'TCP', targetPort: tcpPort, ...(nodePort ? { nodePort } : {}) } as const,
  { name: 'dns', port: 53, protocol: 'UDP', targetPort: udpPort, ...(nodePort ? { nodePort } : {}) } as const,
];

/** Each Service by a number that its addresses and node port end in. */
const numbers = {
  ...{ all: 31, empty: 32, local: 33, away: 34, inner: 35, innerAway: 36, leaving: 37, unready: 38 },
  ...{ ranged: 39, closed: 40, zoned: 41, near: 42, single: 43, untold: 44, other: 45, proxied: 46 },
} as const;
type Name = keyof typeof numbers;

export function worldOf(family: IpFamily): World {
  const a = addresses[family];
  const pods = { client: `${a.pod}10`, s1: `${a.pod}11`, s2: `${a.pod}12`, s3: `${a.pod}13` };
  const services: Service[] = [];
  const slices: EndpointSlice[] = [];

  /** s1 and s2 are pods of this node, s3 is one of another. */
  const endpoint = (pod: 's1' | 's2' | 's3', more: Partial<Endpoint> = {}): Endpoint => ({
    addresses: [pods[pod]],
    nodeName: pod === 's3' ? 'other' : nodeName,
    ...more,
  });
  const add = (name: Name, endpoints: readonly Endpoint[], spec: Partial<ServiceSpec> = {}, extra: object = {}) => {
    const number = numbers[name];
    const serviceName = `${name}-${family}`;
    services.push({
      metadata: { name: serviceName, namespace: 'd', ...extra },
      spec: {
        type: 'LoadBalancer',
        clusterIPs: [a.vip + number],
        ports: ports(30_000 + number),
        externalIPs: [a.external + number],
        ...spec,
      },
      status: {
        loadBalancer: {
          ingress: [{ ip: a.balancer + number, ipMode: name === 'proxied' ? 'Proxy' : 'VIP' }],
        },
      },
    });
    slices.push({
      metadata: { name: `${serviceName}-1`, namespace: 'd', labels: { [serviceNameLabel]: serviceName } },
      addressType: family,
      endpoints,
      ports: ports().map(({ name, protocol, targetPort }) => ({ name, protocol, port: targetPort })),
    });
  };
  const forZones = (name: string) => ({ hints: { forZones: [{ name }] } });
  const hints = (zoneName: string, node: string) => ({
    hints: { forZones: [{ name: zoneName }], forNodes: [{ name: node }] },
  });
  add('all', [endpoint('s1'), endpoint('s2'), endpoint('s3')]);
  add('empty', []);
  add('local', [endpoint('s1'), endpoint('s3')], { externalTrafficPolicy: 'Local' });
  add('away', [endpoint('s3')], { externalTrafficPolicy: 'Local' });
  add('inner', [endpoint('s1'), endpoint('s3')], { internalTrafficPolicy: 'Local' });
  add('innerAway', [endpoint('s3')], { internalTrafficPolicy: 'Local' });
  const leaving = { conditions: { ready: false, serving: true, terminating: true } };
  add('leaving', [endpoint('s1', leaving), endpoint('s2', { conditions: { ready: false, serving: false } })]);
  add('unready', [endpoint('s1', { conditions: { ready: false, serving: false } })]);
  add('ranged', [endpoint('s1')], { loadBalancerSourceRanges: [a.outside + a.only] });
  add('closed', [endpoint('s1')], { loadBalancerSourceRanges: [a.elsewhere] });
  add('zoned', [endpoint('s1', forZones(zone)), endpoint('s2', forZones('b'))]);
  add('near', [endpoint('s1', hints(zone, 'other')), endpoint('s2', hints(zone, nodeName))]);
  add('single', [endpoint('s1')]);
  add('untold', [endpoint('s1', forZones(zone)), endpoint('s2')]);
  const label = { labels: { 'service.kubernetes.io/service-proxy-name': 'another' } };
  add('other', [endpoint('s1')], {}, label);
  add('proxied', [endpoint('s1')]);

  const everybody = ['s1', 's2', 's3'];
  const cases: Record<string, PacketCase> = {};
  const kinds = {
    'virtual address': (name: Name) => ({ to: a.vip + numbers[name], port: 0 }),
    'external address': (name: Name) => ({ to: a.external + numbers[name], port: 0 }),
    'balancer’s address': (name: Name) => ({ to: a.balancer + numbers[name], port: 0 }),
    'node port': (name: Name) => ({ to: a.node as string, port: 30_000 + numbers[name] }),
  };
  type Kind = keyof typeof kinds;
  const inward: readonly Kind[] = ['external address', 'balancer’s address', 'node port'];
  /** By TCP and by UDP. */
  const expect = (
    sentence: string,
    from: Sender,
    kind: Kind,
    name: Name,
    outcome: PacketCase['expect'],
    seen?: string,
  ) => {
    for (const protocol of ['tcp', 'udp'] as const) {
      const { to, port } = kinds[kind](name);
      const key = `${family} ${protocol}: ${from} → ${kind} of ${name}: ${sentence}`;
      const at = port || (protocol === 'tcp' ? 80 : 53);
      cases[key] = { from, to, port: at, protocol, expect: outcome, ...(seen === undefined ? {} : { seen }) };
    }
  };

  expect('any endpoint, own source', 'client', 'virtual address', 'all', everybody, pods.client);
  expect('any endpoint, masqueraded', 'host', 'virtual address', 'all', everybody, a.bridge);
  expect('any endpoint, masqueraded', 'outside', 'virtual address', 'all', everybody, a.bridge);
  expect('itself, masqueraded', 's1', 'virtual address', 'single', ['s1'], a.bridge);
  for (const kind of inward) {
    for (const from of ['client', 'host', 'outside'] as const) {
      expect('any endpoint, masqueraded', from, kind, 'all', everybody, a.bridge);
    }
    expect('itself, masqueraded', 's1', kind, 'single', ['s1'], a.bridge);
    expect('local endpoints, own source', 'outside', kind, 'local', ['s1'], a.outside);
    expect('any endpoint, masqueraded', 'host', kind, 'local', ['s1', 's3'], a.bridge);
    expect('dropped, as only another node serves it', 'outside', kind, 'away', 'DROP');
    expect('the other node’s endpoint all the same', 'client', kind, 'away', ['s3'], pods.client);
    expect('the other node’s endpoint all the same', 'host', kind, 'away', ['s3'], a.bridge);
    expect('any endpoint, own source', 'client', kind, 'local', ['s1', 's3'], pods.client);
    expect('internal traffic policy says nothing here', 'outside', kind, 'innerAway', ['s3'], a.bridge);
  }
  for (const kind of Object.keys(kinds) as Kind[]) {
    for (const from of ['client', 'host', 'outside'] as const) {
      expect('refused', from, kind, 'empty', 'REJECT');
    }
    expect('refused, as nobody is ready', 'client', kind, 'unready', 'REJECT');
    expect('the one that still serves', 'client', kind, 'leaving', ['s1']);
  }
  expect('external traffic policy says nothing here', 'client', 'virtual address', 'local', ['s1', 's3'], pods.client);
  expect('local endpoints', 'client', 'virtual address', 'inner', ['s1'], pods.client);
  expect('local endpoints', 'host', 'virtual address', 'inner', ['s1'], a.bridge);
  expect('dropped, as only another node serves it', 'client', 'virtual address', 'innerAway', 'DROP');
  expect('in its range', 'outside', 'balancer’s address', 'ranged', ['s1'], a.bridge);
  expect('out of range', 'client', 'balancer’s address', 'ranged', 'DROP');
  expect('out of range', 'host', 'balancer’s address', 'closed', 'DROP');
  expect('out of range', 'outside', 'balancer’s address', 'closed', 'DROP');
  expect('ranges say nothing here', 'outside', 'external address', 'closed', ['s1'], a.bridge);
  expect('ranges say nothing here', 'outside', 'node port', 'closed', ['s1'], a.bridge);
  expect('ranges say nothing here', 'client', 'virtual address', 'closed', ['s1'], pods.client);
  expect('those of the zone', 'client', 'virtual address', 'zoned', ['s1']);
  expect('those of the node', 'client', 'virtual address', 'near', ['s2']);
  expect('all, as one has no hint', 'client', 'virtual address', 'untold', ['s1', 's2']);
  expect('another proxy’s', 'client', 'virtual address', 'other', 'DROP');
  expect('the balancer’s own', 'client', 'balancer’s address', 'proxied', 'DROP');
  if (family === 'IPv4') {
    for (const protocol of ['tcp', 'udp'] as const) {
      const at = { from: 'host', to: '127.0.0.1', port: 30_031, protocol } as const;
      cases[`IPv4 ${protocol}: host → node port of all on 127.0.0.1`] = { ...at, expect: everybody, seen: a.bridge };
    }
  }
  const shapes = shapesOf(family, addresses);
  const policies = policiesOf(family, addresses);
  return {
    ...{ family, settings: usualSettings, clusterCidr: a.cidr, pods, node: a.node },
    services: [...services, ...shapes.services, ...policies.services],
    slices: [...slices, ...shapes.slices, ...policies.slices],
    cases: { ...cases, ...shapes.cases, ...policies.cases },
  };
}
