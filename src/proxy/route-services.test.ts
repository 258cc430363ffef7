import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, ServiceSpec } from '../api/core-v1.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { ObjectMeta } from '../api/meta-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { mergeSlices } from './endpointslice-tracker.ts';
import type { IpFamily } from './read-service.ts';
import { readService } from './read-service.ts';
import { readSlice } from './read-slice.ts';
import type { Delivery } from './route-services.ts';
import { routeService } from './route-services.ts';

const service = (spec: Partial<ServiceSpec> = {}, metadata: Partial<ObjectMeta> = {}): Service => ({
  metadata: { name: 'web', namespace: 'd', ...metadata },
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }], ...spec },
});
const slice = (
  endpoints: readonly Endpoint[],
  ports: readonly EndpointPort[] = [{ name: '', port: 8080, protocol: 'TCP' }],
  addressType: EndpointSlice['addressType'] = 'IPv4',
): EndpointSlice => ({
  metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } },
  addressType,
  endpoints,
  ports,
});
const at = (ip: string, conditions: Endpoint['conditions'] = {}, nodeName = 'here'): Endpoint => ({
  addresses: [ip],
  conditions,
  nodeName,
});
const leaving = { ready: false, serving: true, terminating: true };

const hinted = (ip: string, hints: NonNullable<Endpoint['hints']>, nodeName?: string): Endpoint => ({
  ...at(ip, {}, nodeName),
  hints,
});
const forZone = (...names: string[]) => ({ forZones: names.map((name) => ({ name })) });
const forNode = (...names: string[]) => ({ forNodes: names.map((name) => ({ name })) });
const balanced = (
  spec: Partial<ServiceSpec> = {},
  ingress: readonly { ip?: string; ipMode?: string }[] = [{ ip: '192.0.2.80' }],
): Service => ({
  ...service({ type: 'LoadBalancer', ...spec }),
  status: { loadBalancer: { ingress } },
});

const cases: Record<
  string,
  {
    service?: Service;
    slices: EndpointSlice[];
    routes: readonly string[];
    family?: IpFamily;
    nodeAddresses?: readonly string[];
  }
> = {
  'endpoints without conditions are ready': {
    slices: [slice([{ addresses: ['10.0.0.1'] }])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'no slice at all is a reject': { slices: [], routes: ['10.96.0.1 TCP 80 reject'] },
  'endpoints that are not ready are none': {
    slices: [slice([at('10.0.0.1', { ready: false })])],
    routes: ['10.96.0.1 TCP 80 reject'],
  },
  'terminating ones serve while nobody else is ready': {
    slices: [slice([at('10.0.0.1', leaving), at('10.0.0.2', { ready: false })])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'terminating ones get nothing once another is ready': {
    slices: [slice([at('10.0.0.1', leaving), at('10.0.0.2')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.2:8080'],
  },
  'ports meet by name and protocol': {
    service: service({
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
    }),
    slices: [
      slice(
        [at('10.0.0.1')],
        [
          { name: 'dns-tcp', port: 5353, protocol: 'TCP' },
          { name: 'dns', port: 5354, protocol: 'UDP' },
        ],
      ),
    ],
    routes: ['10.96.0.1 UDP 53 forward 10.0.0.1:5354', '10.96.0.1 TCP 53 forward 10.0.0.1:5353'],
  },
  'slices with another number for the same port both count': {
    slices: [slice([at('10.0.0.1')]), slice([at('10.0.0.2')], [{ name: '', port: 9090, protocol: 'TCP' }])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080 10.0.0.2:9090'],
  },
  'slices of another family are ignored': {
    slices: [slice([at('fd00::1')], undefined, 'IPv6')],
    routes: ['10.96.0.1 TCP 80 reject'],
  },
  'of a dual-stack Service the address of the family counts': {
    service: service({ clusterIPs: ['fd00::96', '10.96.0.1'] }),
    slices: [slice([at('10.0.0.1')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'a broken endpoint address leaves the others': {
    slices: [slice([at('nonsense'), at('10.0.0.2')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.2:8080'],
  },
  'internal traffic policy Local uses local endpoints only': {
    service: service({ internalTrafficPolicy: 'Local' }),
    slices: [slice([at('10.0.0.1'), at('10.0.0.2', {}, 'there')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'internal traffic policy Local drops where only other nodes serve': {
    service: service({ internalTrafficPolicy: 'Local' }),
    slices: [slice([at('10.0.0.2', {}, 'there')])],
    routes: ['10.96.0.1 TCP 80 drop'],
  },
  'a node port, external addresses and balancers’ lead to everybody, masqueraded': {
    service: balanced({ ports: [{ port: 80, nodePort: 30080 }], externalIPs: ['198.51.100.7'] }),
    slices: [slice([at('10.0.0.1', {}, 'there')])],
    routes: [
      '10.96.0.1 TCP 80 forward 10.0.0.1:8080',
      '198.51.100.7 TCP 80 forward 10.0.0.1:8080, masquerades everybody',
      '192.0.2.80 TCP 80 forward 10.0.0.1:8080, masquerades everybody',
      '* TCP 30080 forward 10.0.0.1:8080, masquerades everybody',
    ],
  },
  'the address of a balancer in mode Proxy is not ours': {
    service: balanced({}, [{ ip: '192.0.2.80', ipMode: 'Proxy' }]),
    slices: [],
    routes: ['10.96.0.1 TCP 80 reject'],
  },
  'source ranges with the node in them let the balancer’s address itself in': {
    nodeAddresses: ['nonsense', '2001:db8::1', '192.0.2.1', '10.9.0.1'],
    service: balanced({ loadBalancerSourceRanges: ['10.0.0.0/8'] }),
    slices: [],
    routes: ['10.96.0.1 TCP 80 reject', '192.0.2.80 TCP 80 reject, masquerades everybody, from 10.0.0.0/8 192.0.2.80'],
  },
  'source ranges hold for the balancer’s address only, and are disjoint': {
    nodeAddresses: ['192.0.2.1'],
    service: balanced({
      externalIPs: ['198.51.100.7'],
      loadBalancerSourceRanges: [' 10.1.0.0/16', '10.0.0.0/8', 'fd00::/8', 'nonsense'],
    }),
    slices: [],
    routes: [
      '10.96.0.1 TCP 80 reject',
      '198.51.100.7 TCP 80 reject, masquerades everybody',
      '192.0.2.80 TCP 80 reject, masquerades everybody, from 10.0.0.0/8',
    ],
  },
  'external traffic policy Local: outsiders reach local endpoints, everybody else all': {
    service: balanced({ externalTrafficPolicy: 'Local', ports: [{ port: 80, nodePort: 30080 }] }),
    slices: [slice([at('10.0.0.1'), at('10.0.0.2', {}, 'there')])],
    routes: [
      '10.96.0.1 TCP 80 forward 10.0.0.1:8080 10.0.0.2:8080',
      '192.0.2.80 TCP 80 forward 10.0.0.1:8080 10.0.0.2:8080, masquerades host, outside forward 10.0.0.1:8080',
      '* TCP 30080 forward 10.0.0.1:8080 10.0.0.2:8080, masquerades host, outside forward 10.0.0.1:8080',
    ],
  },
  'external traffic policy Local drops outsiders where only other nodes serve': {
    service: balanced({ externalTrafficPolicy: 'Local' }),
    slices: [slice([at('10.0.0.2', {}, 'there')])],
    routes: [
      '10.96.0.1 TCP 80 forward 10.0.0.2:8080',
      '192.0.2.80 TCP 80 forward 10.0.0.2:8080, masquerades host, outside drop',
    ],
  },
  'external traffic policy Local sends outsiders to local endpoints that terminate': {
    service: balanced({ externalTrafficPolicy: 'Local' }),
    slices: [slice([at('10.0.0.1', leaving), at('10.0.0.2', {}, 'there')])],
    routes: [
      '10.96.0.1 TCP 80 forward 10.0.0.2:8080',
      '192.0.2.80 TCP 80 forward 10.0.0.2:8080, masquerades host, outside forward 10.0.0.1:8080',
    ],
  },
  'external traffic policy Local rejects what nobody serves': {
    service: balanced({ externalTrafficPolicy: 'Local' }),
    slices: [],
    routes: ['10.96.0.1 TCP 80 reject', '192.0.2.80 TCP 80 reject, masquerades host, outside reject'],
  },
  'session affinity lasts three hours by default': {
    service: service({ sessionAffinity: 'ClientIP' }),
    slices: [slice([at('10.0.0.1')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080, for 10800 s'],
  },
  'session affinity lasts as long as the Service says': {
    service: service({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 7 } } }),
    slices: [slice([at('10.0.0.1')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080, for 7 s'],
  },
  'endpoints hinted for this zone are preferred': {
    slices: [slice([hinted('10.0.0.1', forZone('a')), hinted('10.0.0.2', forZone('b', 'c'))])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'one endpoint without a hint, and hints do not count': {
    slices: [slice([hinted('10.0.0.1', forZone('a')), at('10.0.0.2')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080 10.0.0.2:8080'],
  },
  'no endpoint for this zone, and hints do not count': {
    slices: [slice([hinted('10.0.0.1', forZone('b')), hinted('10.0.0.2', forZone('b'))])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080 10.0.0.2:8080'],
  },
  'endpoints hinted for this node are preferred to those of the zone': {
    slices: [
      slice([
        hinted('10.0.0.1', { ...forZone('a'), ...forNode('here') }),
        hinted('10.0.0.2', { ...forZone('a'), ...forNode('there') }),
      ]),
    ],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'no endpoint for this node: those of the zone': {
    slices: [
      slice([
        hinted('10.0.0.1', { ...forZone('a'), ...forNode('there') }),
        hinted('10.0.0.2', { ...forZone('b'), ...forNode('there') }),
      ]),
    ],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'hints on endpoints that are not ready neither help nor hinder': {
    slices: [
      slice([hinted('10.0.0.1', forZone('a')), at('10.0.0.2', { ready: false }), hinted('10.0.0.3', forZone('b'))]),
    ],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'internal traffic policy Local takes no hints': {
    service: service({ internalTrafficPolicy: 'Local' }),
    slices: [slice([hinted('10.0.0.1', forZone('b')), hinted('10.0.0.2', forZone('a'), 'there')])],
    routes: ['10.96.0.1 TCP 80 forward 10.0.0.1:8080'],
  },
  'IPv6 addresses are spelled one way': {
    family: 'IPv6',
    service: service({ clusterIPs: ['10.96.0.1', 'FD00:0::0096'], externalIPs: ['198.51.100.7', '2001:DB8::0:7'] }),
    slices: [slice([at('fd00:1:0:0::1')], undefined, 'IPv6')],
    routes: [
      'fd00::96 TCP 80 forward fd00:1::1:8080',
      '2001:db8::7 TCP 80 forward fd00:1::1:8080, masquerades everybody',
    ],
  },
  'a Service without an address of the family has no route in it': {
    family: 'IPv6',
    service: service({ ports: [{ port: 80, nodePort: 30080 }] }),
    slices: [slice([at('fd00::1')], undefined, 'IPv6')],
    routes: [],
  },
  'headless Services have no route': { service: service({ clusterIP: 'None' }), slices: [], routes: [] },
  'ExternalName Services have no route': {
    service: service({ type: 'ExternalName', externalName: 'x.example' }),
    slices: [],
    routes: [],
  },
  'another proxy’s Services have no route': {
    service: service({}, { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } }),
    slices: [],
    routes: [],
  },
};

test('by UDP those that still serve and get nothing new keep what they have', () => {
  const endpoints = [
    at('10.0.0.1', leaving),
    at('10.0.0.2', {}, 'there'),
    at('10.0.0.3'),
    at('10.0.0.4', { ready: false }),
  ];
  const { slice: info } = readSlice(slice(endpoints, [{ name: '', port: 53, protocol: 'UDP' }]), 'IPv4');
  const holdsOf = (spec: Partial<ServiceSpec>, protocol: 'TCP' | 'UDP' = 'UDP') => {
    const ports = [{ port: 53, nodePort: 30_053, protocol }];
    const { service: read } = readService(service({ type: 'NodePort', ports, ...spec }), 'IPv4');
    assert.ok(read && info);
    const routes = routeService(read, mergeSlices([info]), { nodeName: 'here', zone: 'a' });
    return routes.map(({ holds }) => holds?.map(({ ip }) => ip));
  };
  assert.deepEqual(holdsOf({}), [['10.0.0.1'], ['10.0.0.1']]);
  assert.deepEqual(holdsOf({ internalTrafficPolicy: 'Local' }), [['10.0.0.1', '10.0.0.2'], ['10.0.0.1']]);
  assert.deepEqual(holdsOf({}, 'TCP'), [undefined, undefined]);
});

const textOf = ({ verdict, targets }: Delivery): string =>
  [verdict, ...targets.map((target) => `${target.ip}:${target.port}`)].join(' ');

for (const [
  sentence,
  { service: object = service(), slices, routes, family = 'IPv4', nodeAddresses },
] of Object.entries(cases)) {
  test(sentence, () => {
    const info = readService(deepFreeze(object), family).service;
    const infos = deepFreeze(slices).flatMap((one) => readSlice(one, family).slice ?? []);
    const place = { nodeName: 'here', zone: 'a', ...(nodeAddresses ? { addresses: nodeAddresses } : {}) };
    const found = info ? routeService(info, mergeSlices(infos), place) : [];
    const texts = found.map((route) => {
      const { ip, protocol, port } = route.frontend;
      return [
        `${ip} ${protocol} ${port} ${textOf(route)}`,
        ...(route.masquerade === 'outsiders' ? [] : [`masquerades ${route.masquerade}`]),
        ...(route.outside ? [`outside ${textOf(route.outside)}`] : []),
        ...(route.affinitySeconds === undefined ? [] : [`for ${route.affinitySeconds} s`]),
        ...(route.sources ? [`from ${route.sources.join(' ')}`] : []),
      ].join(', ');
    });
    assert.deepEqual(texts, routes);
  });
}
