import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, ServiceSpec } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { LocalPod } from './local-slices.ts';
import { computeLocalSlices } from './local-slices.ts';

const service = (spec: Partial<ServiceSpec> = {}): Service => ({
  metadata: { name: 'web', namespace: 'd' },
  spec: { clusterIP: '10.96.0.1', selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }], ...spec },
});
const pod = (ip: string, more: Partial<LocalPod> = {}): LocalPod => ({
  namespace: 'd',
  name: `pod-${ip}`,
  labels: { app: 'web', tier: 'x' },
  podIps: [ip],
  ready: true,
  terminating: false,
  ports: [{ name: 'http', port: 8080 }],
  ...more,
});

const cases: Record<string, { service?: Service; pods: LocalPod[]; endpoints: string[] }> = {
  'a ready pod with the labels serves, at the port it names': {
    pods: [pod('10.0.0.1')],
    endpoints: ['10.0.0.1:8080 ready'],
  },
  'other labels and other namespaces do not': {
    pods: [pod('10.0.0.1', { labels: { app: 'db' } }), pod('10.0.0.2', { namespace: 'e' })],
    endpoints: [],
  },
  'a pod that is not ready is listed as such': {
    pods: [pod('10.0.0.1', { ready: false })],
    endpoints: ['10.0.0.1:8080'],
  },
  'a pod that ends still serves but is not ready': {
    pods: [pod('10.0.0.1', { terminating: true })],
    endpoints: ['10.0.0.1:8080 serving terminating'],
  },
  'pods may name different numbers': {
    pods: [pod('10.0.0.1'), pod('10.0.0.2', { ports: [{ name: 'http', port: 9090 }] })],
    endpoints: ['10.0.0.1:8080 ready', '10.0.0.2:9090 ready'],
  },
  'a pod without the named port has no endpoint': { pods: [pod('10.0.0.1', { ports: [] })], endpoints: [] },
  'a number needs no name': {
    service: service({ ports: [{ port: 80, targetPort: 1234 }] }),
    pods: [pod('10.0.0.1', { ports: [] })],
    endpoints: ['10.0.0.1:1234 ready'],
  },
  'without a target port it is the Service’s own': {
    service: service({ ports: [{ port: 80 }] }),
    pods: [pod('10.0.0.1')],
    endpoints: ['10.0.0.1:80 ready'],
  },
  'publishNotReadyAddresses makes all ready': {
    service: service({ publishNotReadyAddresses: true }),
    pods: [pod('10.0.0.1', { ready: false })],
    endpoints: ['10.0.0.1:8080 ready'],
  },
  'a pod without an address yet is left out': { pods: [pod('', { podIps: [] })], endpoints: [] },
};

for (const [sentence, { service: object = service(), pods, endpoints }] of Object.entries(cases)) {
  test(sentence, () => {
    const { slices, problems } = computeLocalSlices([deepFreeze(object)], deepFreeze(pods), 'here');
    const texts = [...slices.values()].flatMap((slice) =>
      (slice.endpoints ?? []).flatMap(({ addresses, conditions = {} }) =>
        (slice.ports ?? []).map((port) => {
          const { ready, serving, terminating } = conditions;
          const state = ready ? ' ready' : `${serving ? ' serving' : ''}${terminating ? ' terminating' : ''}`;
          return `${addresses[0]}:${port.port}${state}`;
        }),
      ),
    );
    assert.deepEqual(texts, endpoints);
    assert.deepEqual(problems, []);
  });
}

test('a Service without an address gets none, and why is said', () => {
  const { slices, problems } = computeLocalSlices([service({ clusterIP: '' })], [pod('10.0.0.1')], 'here');
  assert.equal(slices.size, 0);
  assert.match(problems[0]?.problem ?? '', /must give it one/);
});
