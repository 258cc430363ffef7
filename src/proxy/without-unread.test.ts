import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { readService } from './read-service.ts';
import { readSlice } from './read-slice.ts';
import { serviceWithoutUnread, sliceWithoutUnread } from './without-unread.ts';

const service: Service = {
  metadata: {
    ...{ name: 'web', namespace: 'd', uid: 'u', resourceVersion: '7', creationTimestamp: '2026-01-02T00:00:00Z' },
    labels: { app: 'web', 'service.kubernetes.io/service-proxy-name': 'mesh' },
    annotations: { note: 'long' },
  },
  spec: {
    ...{ clusterIP: '10.96.0.9', selector: { app: 'web' }, externalTrafficPolicy: 'Local', type: 'LoadBalancer' },
    ...{ sessionAffinity: 'ClientIP', healthCheckNodePort: 30_001, loadBalancerSourceRanges: ['10.0.0.0/8'] },
    ports: [{ name: 'http', port: 80, nodePort: 30_000 }],
  },
  status: { loadBalancer: { ingress: [{ ip: '192.0.2.9' }] } },
};

const slice: EndpointSlice = {
  metadata: {
    ...{ name: 'web-1', namespace: 'd', uid: 'u', resourceVersion: '7' },
    labels: { app: 'web', 'kubernetes.io/service-name': 'web' },
    annotations: { note: 'long', 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-02T00:00:00Z' },
  },
  addressType: 'IPv4',
  endpoints: [
    {
      addresses: ['10.244.0.5'],
      conditions: { ready: true, serving: true, terminating: false },
      ...{ nodeName: 'n1', zone: 'z', hostname: 'h', hints: { forZones: [{ name: 'z' }] } },
      targetRef: { kind: 'Pod', namespace: 'd', name: 'web-0', uid: 'p' },
    },
    { addresses: ['10.244.0.6'], conditions: { ready: false, serving: true, terminating: true } },
    { addresses: ['10.244.0.7'] },
  ],
  ports: [{ name: 'http', port: 8080 }],
};

describe('what of an object is kept', () => {
  it('a Service reads as it did', () => {
    const { 'service.kubernetes.io/service-proxy-name': _, ...labels } = service.metadata.labels ?? {};
    const ours = { ...service, metadata: { ...service.metadata, labels } };
    assert.deepEqual(readService(serviceWithoutUnread(ours), 'IPv4'), readService(ours, 'IPv4'));
    assert.notEqual(readService(ours, 'IPv4').service, undefined);
  });

  it('another proxy keeps its Service', () => {
    assert.equal(readService(serviceWithoutUnread(service), 'IPv4').service, undefined);
  });

  it('a Service loses what is not read', () => {
    const { metadata, spec } = serviceWithoutUnread(service);
    assert.deepEqual(Object.keys(metadata.labels ?? {}), ['service.kubernetes.io/service-proxy-name']);
    assert.deepEqual([metadata.annotations, spec.selector], [undefined, undefined]);
    assert.deepEqual([metadata.uid, metadata.resourceVersion], ['u', '7']);
  });

  it('a slice reads as it did', () => {
    assert.deepEqual(readSlice(sliceWithoutUnread(slice, 'n1'), 'IPv4'), readSlice(slice, 'IPv4'));
    assert.equal(readSlice(slice, 'IPv4').slice?.endpoints.length, 3);
  });

  it('a slice keeps the UIDs of pods of this node alone', () => {
    const uidOf = (nodeName: string) => sliceWithoutUnread(slice, nodeName).endpoints?.[0]?.targetRef?.uid;
    assert.deepEqual([uidOf('n1'), uidOf('n2')], ['p', undefined]);
  });

  it('a slice keeps which pod an endpoint is, and when it changed', () => {
    const { metadata, endpoints } = sliceWithoutUnread(slice, 'n2');
    assert.deepEqual(metadata.labels, { 'kubernetes.io/service-name': 'web' });
    assert.deepEqual(metadata.annotations, {
      'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-02T00:00:00Z',
    });
    assert.deepEqual(endpoints?.[0], {
      addresses: ['10.244.0.5'],
      conditions: { ready: true, serving: true, terminating: false },
      ...{ nodeName: 'n1', hints: { forZones: [{ name: 'z' }] } },
      targetRef: { kind: 'Pod', namespace: 'd', name: 'web-0' },
    });
  });

  const odd: readonly unknown[] = [
    {
      metadata: { name: 'a' },
      endpoints: [null, 7, 'x', { addresses: null, conditions: 3, nodeName: {}, targetRef: 1 }],
    },
    { metadata: { name: 'a', labels: null, annotations: 'x' }, endpoints: null, spec: null },
    { metadata: { name: 'a', namespace: 3, labels: [] }, endpoints: {}, spec: { ports: null } },
    { metadata: null, spec: {} },
    {},
  ];
  for (const object of odd) {
    it(`what is not as the API defines it stays: ${JSON.stringify(object)}`, () => {
      assert.deepEqual(
        readSlice(sliceWithoutUnread(object as EndpointSlice, 'n1'), 'IPv4'),
        readSlice(object as EndpointSlice, 'IPv4'),
      );
      assert.deepEqual(
        readService(serviceWithoutUnread(object as Service), 'IPv4'),
        readService(object as Service, 'IPv4'),
      );
    });
  }
});
