import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointSliceTracker } from './endpointslice-tracker.ts';
import type { ServiceInfo } from './read-service.ts';
import type { EndpointInfo, SliceInfo } from './read-slice.ts';
import { ServiceTracker } from './service-tracker.ts';

const service = (port: number): ServiceInfo => ({
  namespace: 'd',
  name: 'web',
  createdAt: '',
  clusterIps: ['10.96.0.1'],
  ports: [{ name: '', protocol: 'TCP', port, nodePort: undefined }],
  internalTrafficPolicy: 'Cluster',
  externalTrafficPolicy: 'Cluster',
  externalIps: [],
  loadBalancerIps: [],
  sourceRanges: undefined,
  affinitySeconds: undefined,
  publishesNotReady: false,
  healthCheckNodePort: undefined,
});
const endpoint = (ip: string, more: Partial<EndpointInfo> = {}): EndpointInfo => ({
  ip,
  nodeName: 'node',
  ready: true,
  serving: true,
  terminating: false,
  ...more,
});
const slice = (...endpoints: EndpointInfo[]): SliceInfo => ({
  serviceKey: 'd/web',
  ports: [{ name: '', protocol: 'TCP', port: 8080 }],
  endpoints,
});

test('changes of one Service are drained as one, from what was drained before to now', () => {
  const tracker = new ServiceTracker();
  tracker.update('d/web', service(80));
  tracker.drain();
  tracker.update('d/web', service(81));
  tracker.update('d/web', service(82));
  assert.deepEqual([...tracker.drain()], [['d/web', { previous: service(80), current: service(82) }]]);
  assert.equal(tracker.drain().size, 0);
});

test('a change that is taken back vanishes', () => {
  const services = new ServiceTracker();
  assert.equal(services.update('d/web', service(80)), true);
  assert.equal(services.update('d/web', undefined), false);
  assert.equal(services.drain().size, 0);
  const slices = new EndpointSliceTracker();
  slices.update('d/web-1', slice(endpoint('10.0.0.1')));
  slices.drain();
  slices.update('d/web-1', slice());
  assert.equal(slices.update('d/web-1', slice(endpoint('10.0.0.1'))), false);
  assert.equal(slices.drain().size, 0);
});

test('several slices make one list, an endpoint in two of them counts once and as the more usable copy says', () => {
  const tracker = new EndpointSliceTracker();
  tracker.update('d/web-1', slice(endpoint('10.0.0.1'), endpoint('10.0.0.2', { ready: false, serving: false })));
  tracker.update('d/web-2', slice(endpoint('10.0.0.2'), endpoint('10.0.0.3')));
  assert.deepEqual([...tracker.drain()], ['d/web']);
  const [port, ...others] = tracker.endpointsOf('d/web');
  assert.deepEqual(others, []);
  assert.deepEqual(
    port?.endpoints.map(({ ip, port, ready }) => [ip, port, ready]),
    [
      ['10.0.0.1', 8080, true],
      ['10.0.0.2', 8080, true],
      ['10.0.0.3', 8080, true],
    ],
  );
});

test('a slice that changes its Service changes both', () => {
  const tracker = new EndpointSliceTracker();
  tracker.update('d/x', slice(endpoint('10.0.0.1')));
  tracker.drain();
  tracker.update('d/x', { ...slice(endpoint('10.0.0.1')), serviceKey: 'd/other' });
  assert.deepEqual([...tracker.drain()].sort(), ['d/other', 'd/web']);
  assert.deepEqual(tracker.endpointsOf('d/web'), []);
});
