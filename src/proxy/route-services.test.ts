import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, ServiceSpec } from '../api/core-v1.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { ObjectMeta } from '../api/meta-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { mergeSlices } from './endpointslice-tracker.ts';
import { readService } from './read-service.ts';
import { readSlice } from './read-slice.ts';
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

const cases: Record<string, { service?: Service; slices: EndpointSlice[]; routes: readonly string[] }> = {
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

for (const [sentence, { service: object = service(), slices, routes }] of Object.entries(cases)) {
  test(sentence, () => {
    const info = readService(deepFreeze(object), 'IPv4').service;
    const infos = deepFreeze(slices).flatMap((one) => readSlice(one, 'IPv4').slice ?? []);
    const found = info ? routeService(info, mergeSlices(infos), { nodeName: 'here' }) : [];
    const texts = found.map(({ frontend: { ip, protocol, port }, verdict, targets }) =>
      [ip, protocol, port, verdict, ...targets.map((target) => `${target.ip}:${target.port}`)].join(' '),
    );
    assert.deepEqual(texts, routes);
  });
}

test('fields without effect and values that cannot be are named', () => {
  const read = readService(
    service({ sessionAffinity: 'ClientIP', clusterIP: '10.96.0.1.5', ports: [{ port: 70_000 }] }),
    'IPv4',
  );
  assert.deepEqual(read.notHonoured, ['spec.sessionAffinity']);
  assert.deepEqual(read.problems, [
    'spec.clusterIP "10.96.0.1.5" is not an IP address',
    'spec.ports "": 70000 is not a port number',
  ]);
});
