import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import type { PacketCase, Sender, World, WorldSettings } from './proxy-cases.ts';
import { addresses, nodeName } from './proxy-cases.ts';
import { tcpPort, udpPort } from './proxy-lab.ts';

/** A few Services under settings that change what becomes of packets, a world for each. */

const families = ['IPv4', 'IPv6'] as const;

/** Only the node's first address serves node ports, pods are known by their bridge, everybody is masqueraded. */
const narrow: WorldSettings = {
  masqueradeAll: true,
  clusterCidrs: [],
  traffic: {
    ...{ detectLocalMode: 'BridgeInterface', bridgeInterface: 'br0', localhostNodePorts: true },
    nodePortAddresses: families.map((family) => addresses[family].node + addresses[family].only),
  },
};

/** Nobody says where pods are, and loopback has no node ports. */
const untold: WorldSettings = { masqueradeAll: false, clusterCidrs: [], traffic: { localhostNodePorts: false } };

/** Node ports for processes of the node alone; pods are known by the interface that their packets come in by. */
const inward: WorldSettings = {
  masqueradeAll: false,
  clusterCidrs: [],
  traffic: {
    ...{ detectLocalMode: 'InterfaceNamePrefix', interfaceNamePrefix: 'br', localhostNodePorts: true },
    nodePortAddresses: ['localhost'],
  },
};

export const worldsOfSettings = (): Readonly<Record<string, readonly World[]>> => ({
  'node ports on one address, everybody masqueraded': families.map((family) => narrowWorld(family)),
  'node ports on loopback, pods known by their interface': families.map((family) => inwardWorld(family)),
  'nobody known to be a pod': families.map((family) => untoldWorld(family)),
});

/** Nobody’s cases yet. */
function emptyWorld(family: IpFamily, settings: WorldSettings): World & { readonly cases: Record<string, PacketCase> } {
  const a = addresses[family];
  const pods = { client: `${a.pod}10`, s1: `${a.pod}11`, s2: `${a.pod}12`, s3: `${a.pod}13` };
  const ports = { all: 30_031, local: 30_033, away: 30_034 } as const;
  const services = Object.entries(ports).map(
    ([name, nodePort]): Service => ({
      metadata: { name: `${name}-${family}`, namespace: 'd' },
      spec: {
        type: 'NodePort',
        clusterIPs: [`${a.vip}${nodePort - 30_000}`],
        externalIPs: [`${a.external}${nodePort - 30_000}`],
        externalTrafficPolicy: name === 'all' ? 'Cluster' : 'Local',
        ports: [
          { name: 'web', port: 80, protocol: 'TCP', targetPort: tcpPort, nodePort },
          { name: 'dns', port: 53, protocol: 'UDP', targetPort: udpPort, nodePort },
        ],
      },
    }),
  );
  const endpoints = { all: ['s1', 's3'], local: ['s1', 's3'], away: ['s3'] } as const;
  const slices = Object.entries(endpoints).map(
    ([name, served]): EndpointSlice => ({
      metadata: { name: `${name}-${family}-1`, namespace: 'd', labels: { [serviceNameLabel]: `${name}-${family}` } },
      addressType: family,
      endpoints: served.map((pod) => ({ addresses: [pods[pod]], nodeName: pod === 's1' ? nodeName : 'other' })),
      ports: [
        { name: 'web', protocol: 'TCP', port: tcpPort },
        { name: 'dns', protocol: 'UDP', port: udpPort },
      ],
    }),
  );
  return { family, settings, clusterCidr: a.cidr, pods, node: a.node, services, slices, cases: {} };
}

/** Writes cases into a world: by TCP and by UDP, to a node port, or, where there is none given, to the usual ports. */
function expecting({ cases, family }: ReturnType<typeof emptyWorld>) {
  return (
    sentence: string,
    from: Sender,
    to: string,
    nodePort: number | undefined,
    outcome: PacketCase['expect'],
    seen?: string,
  ) => {
    for (const protocol of ['tcp', 'udp'] as const) {
      const port = nodePort ?? (protocol === 'tcp' ? 80 : 53);
      const key = `${family} ${protocol}: ${from} → ${to} port ${port}: ${sentence}`;
      cases[key] = { from, to, port, protocol, expect: outcome, ...(seen === undefined ? {} : { seen }) };
    }
  };
}

function narrowWorld(family: IpFamily): World {
  const a = addresses[family];
  const world = emptyWorld(family, narrow);
  const expect = expecting(world);
  const both = ['s1', 's3'];
  for (const from of ['client', 'host', 'outside'] as const) {
    expect('masqueraded', from, `${a.vip}31`, undefined, both, a.bridge);
    expect('the address that has node ports', from, a.node, 30_031, both, a.bridge);
    expect('an address that has none', from, a.bridge, 30_031, 'REJECT');
  }
  if (family === 'IPv4') expect('loopback has none either', 'host', '127.0.0.1', 30_031, 'REJECT');
  expect('local endpoints, own source', 'outside', a.node, 30_033, ['s1'], a.outside);
  expect('of the bridge, so any endpoint, own source', 'client', a.node, 30_033, both, world.pods.client);
  expect('local endpoints, own source', 'outside', `${a.external}33`, undefined, ['s1'], a.outside);
  expect('any endpoint, own source', 'client', `${a.external}33`, undefined, both, world.pods.client);
  expect('any endpoint, itself among them', 's1', `${a.external}33`, undefined, both);
  expect('dropped, as only another node serves it', 'outside', a.node, 30_034, 'DROP');
  expect('not even dropped', 'outside', a.bridge, 30_034, 'REJECT');
  expect('the other node’s endpoint', 'client', a.node, 30_034, ['s3']);
  return world;
}

function inwardWorld(family: IpFamily): World {
  const a = addresses[family];
  const world = emptyWorld(family, inward);
  const expect = expecting(world);
  const both = ['s1', 's3'];
  for (const from of ['client', 'host', 'outside'] as const) {
    for (const port of [30_031, 30_033, 30_034]) expect('no address of the network', from, a.node, port, 'REJECT');
  }
  if (family === 'IPv4') {
    expect('served on 127.0.0.1', 'host', '127.0.0.1', 30_031, both, a.bridge);
    expect('local policy, on 127.0.0.1', 'host', '127.0.0.1', 30_033, both, a.bridge);
    expect('the other node’s endpoint, on 127.0.0.1', 'host', '127.0.0.1', 30_034, ['s3'], a.bridge);
  }
  expect('own source', 'client', `${a.vip}31`, undefined, both, world.pods.client);
  expect('masqueraded', 'outside', `${a.vip}31`, undefined, both, a.bridge);
  expect('masqueraded', 'host', `${a.vip}31`, undefined, both, a.bridge);
  expect('any endpoint, own source', 'client', `${a.external}33`, undefined, both, world.pods.client);
  expect('local endpoints, own source', 'outside', `${a.external}33`, undefined, ['s1'], a.outside);
  expect('the other node’s endpoint', 'client', `${a.external}34`, undefined, ['s3'], world.pods.client);
  expect('dropped, as only another node serves it', 'outside', `${a.external}34`, undefined, 'DROP');
  return world;
}

function untoldWorld(family: IpFamily): World {
  const a = addresses[family];
  const world = emptyWorld(family, untold);
  const expect = expecting(world);
  const both = ['s1', 's3'];
  expect('own source', 'client', `${a.vip}31`, undefined, both, world.pods.client);
  expect('own source, as nobody is known to be outside', 'outside', `${a.vip}31`, undefined, both, a.outside);
  for (const from of ['client', 'host', 'outside'] as const) {
    for (const to of [a.node, a.bridge]) expect('masqueraded', from, to, 30_031, both, a.bridge);
    expect('masqueraded', from, `${a.external}31`, undefined, both, a.bridge);
  }
  if (family === 'IPv4') expect('loopback has no node ports', 'host', '127.0.0.1', 30_031, 'REJECT');
  expect('local endpoints, own source', 'outside', a.node, 30_033, ['s1'], a.outside);
  expect('any endpoint', 'host', a.node, 30_033, both);
  expect('dropped, as only another node serves it', 'outside', a.node, 30_034, 'DROP');
  expect('the other node’s endpoint', 'host', a.node, 30_034, ['s3']);
  return world;
}
