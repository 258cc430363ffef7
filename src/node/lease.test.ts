import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Lease, Node } from '../api/core-v1.ts';
import type { KubeObject } from '../api/meta-v1.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { leases } from '../kubeapi/resources.ts';
import { AgentError } from '../lib/errors.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { clockSkewMs, generateLease, microTime, NodeLease } from './lease.ts';

const signal = new AbortController().signal;
const name = { namespace: 'kube-node-lease', name: 'peer-node' };
const node = (uid: string): Node => ({ metadata: { name: 'peer-node', uid } });

function setUp(options: { api?: FakeKubeApi; log?: Log; node?: Node | undefined } = {}) {
  const api = options.api ?? new FakeKubeApi();
  const clock = new FakeClock();
  const state: { node: Node | undefined; failures: number } = {
    node: 'node' in options ? options.node : node('u1'),
    failures: 0,
  };
  const lease = new NodeLease({
    api,
    nodeName: 'peer-node',
    leaseDurationSeconds: 40,
    node: () => state.node,
    clock,
    log: options.log ?? silentLog,
    onHeartbeatFailure: () => state.failures++,
  });
  const stop = new AbortController();
  const running = lease.run(stop.signal);
  return {
    api,
    clock,
    state,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

const renewedAt = async (api: FakeKubeApi) => Date.parse((await api.get(leases, name, signal)).spec?.renewTime ?? '');

test('the lease is what a kubelet keeps', () => {
  const golden: Lease = JSON.parse(readFileSync(new URL('../../test/golden/node/lease.json', import.meta.url), 'utf8'));
  const facts = { nodeName: 'peer-node', durationSeconds: 40, now: Date.parse('2026-11-21T02:15:13.960Z') };
  const nodeUid = golden.metadata.ownerReferences?.[0]?.uid;
  const { uid: _u, resourceVersion: _r, creationTimestamp: _c, ...metadata } = golden.metadata;
  assert.deepEqual(generateLease(undefined, { ...facts, nodeUid }), {
    ...golden,
    metadata,
    spec: { ...golden.spec, renewTime: '2026-11-21T02:15:13.960000Z' },
  });
  assert.match(microTime(0), /^1970-01-01T00:00:00\.\d{6}Z$/);
});

test('it is created when there is a node to own it, then renewed every quarter', async () => {
  await using t = setUp({ node: undefined });
  await t.clock.advance(5_000);
  assert.equal((await t.api.list(leases, {}, signal)).items.length, 0);
  t.state.node = node('u1');
  await t.clock.advance(300);
  const first = await renewedAt(t.api);
  await t.clock.advance(40_000);
  const last = await renewedAt(t.api);
  assert.ok(last - first >= 30_000 && last - first <= 40_000, `${last - first} ms`);
});

test('another Node of the name becomes the owner', async () => {
  await using t = setUp();
  await t.clock.advance(1_000);
  t.state.node = node('u2');
  await t.clock.advance(11_000);
  assert.equal((await t.api.get(leases, name, signal)).metadata.ownerReferences?.[0]?.uid, 'u2');
});

test('a lease changed or deleted by somebody is read again and renewed at once', async () => {
  await using t = setUp();
  await t.clock.advance(1_000);
  await t.api.patch(leases, name, { type: 'merge', body: { metadata: { labels: { a: 'b' } } } }, signal);
  await t.clock.advance(11_000);
  assert.ok(t.clock.now() - (await renewedAt(t.api)) < 11_000);
  assert.equal((await t.api.get(leases, name, signal)).metadata.labels?.['a'], 'b');
  await t.api.delete(leases, name, {}, signal);
  await t.clock.advance(11_000);
  assert.ok(t.clock.now() - (await renewedAt(t.api)) < 11_000);
  assert.equal(t.state.failures, 0);
});

test('a call that hangs is given up in time, and repeated failures are told once per renewal', async () => {
  const api = new FakeKubeApi();
  await using t = setUp({ api });
  await t.clock.advance(1_000);
  const update = api.update;
  api.update = (_resource, _object, s) =>
    new Promise((_, reject) => s.addEventListener('abort', () => reject(s.reason), { once: true }));
  await t.clock.advance(40_000);
  assert.ok(t.state.failures >= 1, 'never told');
  api.update = update;
  await t.clock.advance(21_000);
  assert.ok(t.clock.now() - (await renewedAt(api)) < 11_000);
});

test('refused connections: five tries, then the next quarter', async () => {
  const api = new FakeKubeApi();
  let tries = 0;
  api.get = () => {
    tries++;
    return Promise.reject(new AgentError('ConnectionRefused', 'no'));
  };
  await using t = setUp({ api });
  await t.clock.advance(9_000);
  assert.equal(tries, 5);
  assert.equal(t.state.failures, 1);
});

test('a clock two days off is said once, with what to do', async () => {
  const api = new FakeKubeApi();
  const warnings: object[] = [];
  const log: Log = { ...silentLog, warn: (fields) => warnings.push(fields) };
  const { create, update } = api;
  const twoDays = 2 * 86_400_000;
  await using t = setUp({ api, log });
  const noted = <T extends KubeObject>(written: T): T => {
    const managedFields = [{ time: new Date(t.clock.now() + twoDays).toISOString() }];
    return { ...written, metadata: { ...written.metadata, managedFields } };
  };
  api.create = async (resource, object, s) => noted(await create.call(api, resource, object, s)) as typeof object;
  api.update = async (resource, object, s) => noted(await update.call(api, resource, object, s)) as typeof object;
  await t.clock.advance(60_000);
  assert.deepEqual(warnings, [{ skewSeconds: -twoDays / 1000, hint: 'set the clock: timedatectl set-ntp true' }]);
});

test('the skew is read off the newest time that the server noted', () => {
  const metadata = { name: 'n', creationTimestamp: '2026-01-01T00:00:00Z' };
  const now = Date.parse('2026-01-03T00:00:00Z');
  assert.equal(clockSkewMs({ metadata }, false, now), undefined);
  assert.equal(clockSkewMs({ metadata }, true, now), 2 * 86_400_000);
  const managedFields = [{ time: '2026-01-01T00:00:00Z' }, { time: '2026-01-02T23:59:59Z' }, {}];
  assert.equal(clockSkewMs({ metadata: { ...metadata, managedFields } }, false, now), 1000);
});
