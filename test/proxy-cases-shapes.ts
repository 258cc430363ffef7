import type { ServicePort } from '../src/api/core-v1.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { caseMaker, dns, web } from './proxy-case-maker.ts';
import type { CaseAddresses, Sender, World } from './proxy-cases.ts';
import { tcpPort, udpPort } from './proxy-lab.ts';

/** Services of odd shapes: ports, slices, families and claims in every combination that objects may have. */

const other = { IPv4: 'IPv6', IPv6: 'IPv4' } as const;

export function shapesOf(
  family: IpFamily,
  addresses: Readonly<Record<IpFamily, CaseAddresses>>,
): Pick<World, 'services' | 'slices' | 'cases'> {
  const a = addresses[family];
  const { add, endpoint, expect, nodePorts, table } = caseMaker(family, addresses);
  const usual = { tcp: 80, udp: 53 };
  const on = (number: number) => ({ tcp: 30_000 + number, udp: 30_000 + number });
  const everybody: readonly Sender[] = ['client', 'host', 'outside'];

  const dnsByTcp = { name: 'dns-tcp', port: 53, protocol: 'TCP', targetPort: tcpPort } as const;
  const alternative = { name: 'alternative', port: 81, protocol: 'TCP', targetPort: tcpPort } as const;
  add('ports', {
    number: 61,
    spec: { ports: [web, alternative, dnsByTcp, dns] },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  expect('the first of several ports', 'client', `${a.vip}61`, { tcp: 80 }, ['s1']);
  expect('another of several ports', 'client', `${a.vip}61`, { tcp: 81 }, ['s1']);
  expect('one number, two protocols', 'client', `${a.vip}61`, { tcp: 53, udp: 53 }, ['s1']);
  const split = [
    { endpoints: [endpoint('s1')], ports: [{ name: 'web', protocol: 'TCP', port: tcpPort }] },
    { endpoints: [endpoint('s2')], ports: [{ name: 'dns', protocol: 'UDP', port: udpPort }] },
  ] as const;
  add('split', { number: 62, slices: split });
  expect('the slice that has this port', 'client', `${a.vip}62`, { tcp: 80 }, ['s1']);
  expect('the slice that has this port', 'client', `${a.vip}62`, { udp: 53 }, ['s2']);
  const unnamed: readonly ServicePort[] = [{ port: 80, protocol: 'TCP', targetPort: tcpPort }];
  add('unnamed', { number: 63, spec: { ports: unnamed }, slices: [{ endpoints: [endpoint('s1')] }] });
  expect('a port without a name', 'client', `${a.vip}63`, { tcp: 80 }, ['s1']);
  add('half', {
    number: 64,
    slices: [{ endpoints: [endpoint('s1')], ports: [{ name: 'web', protocol: 'TCP', port: tcpPort }] }],
  });
  expect('the port that has endpoints', 'client', `${a.vip}64`, { tcp: 80 }, ['s1']);
  expect('the port that has none', 'client', `${a.vip}64`, { udp: 53 }, 'REJECT');

  const unready = { conditions: { ready: false, serving: false } };
  add('slices', {
    number: 65,
    slices: [
      { endpoints: [endpoint('s1'), endpoint('s2', unready)] },
      { endpoints: [endpoint('s2'), endpoint('s1', unready)] },
      { endpoints: [endpoint('s3'), endpoint('s1')] },
    ],
  });
  expect('all slices together, each endpoint as its best copy says', 'client', `${a.vip}65`, usual, ['s1', 's2', 's3']);
  add('none', { number: 66, slices: [] });
  for (const from of everybody) expect('no slice at all', from, `${a.vip}66`, usual, 'REJECT');

  // One Service of both families, told by one world: what the slices of each family say differs.
  if (family === 'IPv4') {
    const of = (type: IpFamily, pod: 's1' | 's2') => ({ addressType: type, endpoints: [endpoint(pod, {}, type)] });
    const clusterIPs = [`${addresses.IPv4.vip}67`, `${addresses.IPv6.vip}67`];
    add('dual', { number: 67, spec: { clusterIPs }, slices: [of('IPv4', 's1'), of('IPv6', 's2')] });
  }
  expect('the slices of the family', 'client', `${a.vip}67`, usual, [family === 'IPv4' ? 's1' : 's2']);
  add('foreign', {
    number: 68,
    slices: [{ addressType: other[family], endpoints: [endpoint('s1', {}, other[family])] }],
  });
  expect('slices of the other family alone', 'client', `${a.vip}68`, usual, 'REJECT');

  add('headless', {
    number: 69,
    spec: { clusterIPs: ['None'], externalIPs: [`${a.external}69`] },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  expect('a headless Service is nobody’s business', 'client', `${a.external}69`, usual, 'DROP');
  add('named', {
    number: 70,
    spec: { type: 'ExternalName', clusterIPs: [], externalIPs: [`${a.external}70`] },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  expect('an ExternalName is nobody’s business', 'client', `${a.external}70`, usual, 'DROP');

  const shared = (ports: readonly ServicePort[]) => ({ ports, externalIPs: [`${a.external}71`] });
  add('sharing', { number: 71, spec: shared([web]), slices: [{ endpoints: [endpoint('s1')] }] });
  add('sharingToo', { number: 72, spec: shared([alternative, dns]), slices: [{ endpoints: [endpoint('s2')] }] });
  for (const from of everybody) {
    expect('one address, one Service', from, `${a.external}71`, { tcp: 80 }, ['s1']);
    expect('one address, another Service', from, `${a.external}71`, { tcp: 81, udp: 53 }, ['s2']);
  }
  const claim = { externalIPs: [`${a.external}73`] };
  const at = (year: number) => ({ createdAt: `${year}-01-01T00:00:00Z` });
  add('younger', { number: 73, spec: claim, ...at(2025), slices: [{ endpoints: [endpoint('s2')] }] });
  add('older', { number: 74, spec: claim, ...at(2024), slices: [{ endpoints: [endpoint('s1')] }] });
  for (const from of everybody) expect('of two that claim it the older has it', from, `${a.external}73`, usual, ['s1']);
  expect('what nobody else claims it keeps', 'client', `${a.vip}73`, usual, ['s2']);

  // The API server allocates no node port then; what it stores is all that a proxy has to know.
  const forTheApiServer = { allocateLoadBalancerNodePorts: false };
  add('plain', {
    number: 75,
    spec: { type: 'LoadBalancer', ...forTheApiServer },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  for (const from of everybody)
    expect('a balancer without node ports', from, `${a.balancer}75`, usual, ['s1'], a.bridge);
  for (const from of everybody) expect('no such node port', from, a.node, on(75), 'REJECT');
  add('published', {
    number: 76,
    spec: { publishNotReadyAddresses: true },
    slices: [{ endpoints: [endpoint('s1', { conditions: { ready: true, serving: false } })] }],
  });
  expect('ready by word of its slice, though it does not serve', 'client', `${a.vip}76`, usual, ['s1']);
  const leaving = { conditions: { ready: false, serving: true, terminating: true } };
  add('leavingHere', {
    number: 77,
    spec: { type: 'NodePort', ports: nodePorts(77), externalTrafficPolicy: 'Local' },
    slices: [{ endpoints: [endpoint('s1', leaving), endpoint('s3')] }],
  });
  expect('the last of this node, although it leaves', 'outside', a.node, on(77), ['s1'], a.outside);
  expect('the ready one, wherever', 'client', a.node, on(77), ['s3']);

  add('host', {
    number: 78,
    spec: { type: 'NodePort', ports: nodePorts(78) },
    slices: [{ endpoints: [{ addresses: [a.node], nodeName: 'node' }] }],
  });
  // By TCP alone: a datagram's answer leaves by whatever address the route to the client has.
  for (const from of everybody) {
    expect('a pod that is the node’s own process', from, `${a.vip}78`, { tcp: 80 }, ['node']);
    expect('a pod that is the node’s own process', from, a.node, { tcp: 30_078 }, ['node']);
  }
  add('onNode', {
    number: 79,
    spec: {
      externalIPs: [a.node],
      ports: [
        { ...web, port: 8_181 },
        { ...dns, port: 8_181 },
      ],
    },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  for (const from of everybody) {
    expect('the node’s own address as an external one', from, a.node, { tcp: 8_181, udp: 8_181 }, ['s1'], a.bridge);
  }

  const balancer = (loadBalancerSourceRanges: readonly string[]) =>
    ({ type: 'LoadBalancer', loadBalancerSourceRanges }) as const;
  add('ranges', {
    number: 80,
    spec: balancer([a.outside + a.only, `${a.pod}10${a.only}`, addresses[other[family]].elsewhere]),
    slices: [{ endpoints: [endpoint('s2')] }],
  });
  for (const from of ['client', 'outside'] as const)
    expect('in one of several ranges', from, `${a.balancer}80`, usual, ['s2']);
  expect('in none of several ranges', 's1', `${a.balancer}80`, usual, 'DROP');
  add('open', {
    number: 81,
    spec: balancer(['0.0.0.0/0', '::/0']),
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  for (const from of everybody) expect('the range of everybody', from, `${a.balancer}81`, usual, ['s1']);
  add('rangedEmpty', { number: 82, spec: balancer([`${a.pod}10${a.only}`]), slices: [] });
  expect('in its range, where nobody serves', 'client', `${a.balancer}82`, usual, 'REJECT');
  expect('out of range, where nobody serves', 'outside', `${a.balancer}82`, usual, 'DROP');

  add('everywhere', {
    number: 83,
    spec: { type: 'NodePort', ports: nodePorts(83) },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  for (const from of ['client', 's1', 'host', 'outside'] as const) {
    expect('a node port on each address of the node', from, a.bridge, on(83), ['s1'], a.bridge);
  }
  expect('itself by a node port', 's1', a.node, on(83), ['s1'], a.bridge);
  return table;
}
