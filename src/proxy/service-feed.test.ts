import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { endpointSlices, services } from '../kubeapi/resources.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import { grantCommand, ServiceFeed, userIn } from './service-feed.ts';

const service: Service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'd' },
  spec: { clusterIP: '10.96.0.1' },
};
const slice: EndpointSlice = {
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } },
  addressType: 'IPv4',
};
const forbidden = (user: string) =>
  new ApiError(403, {
    reason: 'Forbidden',
    message: `endpointslices.discovery.k8s.io is forbidden: User "${user}" cannot list resource "endpointslices"`,
  });

test('both kinds are told, and synced once both are complete', async () => {
  const { told, stop } = await feed(() => {});
  assert.deepEqual(told.toSorted(), ['service d/web', 'slice d/web-1', 'synced']);
  assert.equal(told.at(-1), 'synced');
  await stop();
});

test('a 403 is said once with the command that mends it; Services go on, and granting is enough', async () => {
  const { told, said, clock, stop } = await feed((api) => {
    for (const verb of ['list', 'watch'] as const) {
      api.injectError(verb, 'endpointslices', forbidden('system:node:n1'), 3);
    }
  });
  assert.deepEqual(told, ['service d/web']);
  for (let i = 0; i < 20; i++) await clock.advance(30_000);
  assert.deepEqual(said, [grantCommand('system:node:n1')]);
  assert.ok(told.includes('synced'), told.join());
  await stop();
});

test('everything is told again after configSyncPeriod', async () => {
  const { told, clock, stop } = await feed(() => {});
  told.length = 0;
  await clock.advance(899_999);
  assert.deepEqual(told, []);
  await clock.advance(1);
  assert.deepEqual(told, ['service d/web', 'slice d/web-1']);
  await stop();
});

test('the command fits the identity that was refused', () => {
  const role = 'kubectl create clusterrolebinding keelson-node-proxier --clusterrole=system:node-proxier';
  assert.equal(grantCommand(userIn(forbidden('system:node:n1').message)), `${role} --group=system:nodes`);
  assert.equal(grantCommand(userIn(forbidden('jane').message)), `${role} --user=jane`);
  assert.equal(grantCommand('system:serviceaccount:kube-system:proxy'), `${role} --serviceaccount=kube-system:proxy`);
  assert.equal(grantCommand(undefined), `${role} --group=system:nodes`);
});

async function feed(prepare: (api: FakeKubeApi) => void) {
  const clock = new FakeClock();
  const api = new FakeKubeApi(clock);
  const end = new AbortController();
  await api.create(services, service, end.signal);
  await api.create(endpointSlices, slice, end.signal);
  prepare(api);
  const told: string[] = [];
  const said: string[] = [];
  const log: Log = { ...silentLog, error: (fields) => void said.push((fields as { remedy: string }).remedy) };
  const proxier = {
    onServiceChange: (key: string) => void told.push(`service ${key}`),
    onSliceChange: (key: string) => void told.push(`slice ${key}`),
    sourcesSynced: () => void told.push('synced'),
  };
  const done = new ServiceFeed({ api, nodeName: 'here', proxier, resyncMs: 900_000, clock, log }).run(end.signal);
  await clock.advance(0);
  await clock.advance(0);
  const stop = async () => {
    end.abort();
    await done;
  };
  return { told, said, clock, stop };
}
