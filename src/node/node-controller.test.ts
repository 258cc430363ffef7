import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node } from '../api/core-v1.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { csiNodes, nodes } from '../kubeapi/resources.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { goldenFacts, goldenRootFilesystem, goldenSettings, readyRuntime } from '../testing/make-node.ts';
import { NodeController } from './node-controller.ts';
import { unknownRuntime } from './runtime-state.ts';

const signal = new AbortController().signal;
const name = { name: 'peer-node' };

function setUp(options: { api?: FakeKubeApi; standalone?: boolean; ready?: boolean } = {}) {
  const api = options.api ?? new FakeKubeApi();
  const clock = new FakeClock();
  const state = { ready: options.ready ?? true, ips: ['192.0.2.2'] };
  const events: string[] = [];
  const controller = new NodeController({
    api: options.standalone ? undefined : api,
    register: true,
    settings: goldenSettings,
    sources: {
      facts: goldenFacts,
      rootFilesystem: async () => goldenRootFilesystem,
      ips: () => state.ips,
      runtime: () => (state.ready ? readyRuntime(clock.monotonic()) : unknownRuntime),
      images: async () => [{ repoTags: ['a'], size: 1 }],
      pressures: () => ({ memory: false, disk: false, pid: false }),
      problems: () => [],
    },
    updateMs: 10_000,
    reportMs: 300_000,
    clock,
    log: silentLog,
    events: { event: (about, _type, reason) => events.push(`${about.name} ${reason}`) },
  });
  const stop = new AbortController();
  const running = controller.run(stop.signal);
  return {
    api,
    clock,
    state,
    events,
    controller,
    /** Lets what is under way come to rest. */
    settle: () => clock.advance(0),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

const readiness = (node: Node | undefined) => node?.status?.conditions?.find((c) => c.type === 'Ready')?.status;
const stored = (api: FakeKubeApi) => api.get(nodes, name, signal);
const beats = async (api: FakeKubeApi) =>
  (await stored(api)).status?.conditions?.find((c) => c.type === 'Ready')?.lastHeartbeatTime;

test('the node is registered with its status and its CSINode at once', async () => {
  await using t = setUp();
  await t.settle();
  const node = await stored(t.api);
  assert.equal(readiness(node), 'True');
  assert.equal(t.controller.current()?.metadata.uid, node.metadata.uid);
  const csiNode = await t.api.get(csiNodes, name, signal);
  assert.deepEqual(csiNode.metadata.ownerReferences, [
    { apiVersion: 'v1', kind: 'Node', name: 'peer-node', uid: node.metadata.uid },
  ]);
  assert.deepEqual(t.events, ['peer-node NodeReady']);
});

test('an unchanged status is written every reporting period, a changed one at the next update', async () => {
  await using t = setUp();
  await t.settle();
  const first = await beats(t.api);
  await t.clock.advance(290_000);
  assert.equal(await beats(t.api), first);
  await t.clock.advance(10_000);
  const second = await beats(t.api);
  assert.notEqual(second, first);
  t.state.ips = ['192.0.2.3'];
  await t.clock.advance(10_000);
  assert.deepEqual((await stored(t.api)).status?.addresses?.[0], { type: 'InternalIP', address: '192.0.2.3' });
  assert.notEqual(await beats(t.api), second);
});

test('readiness flips without waiting for the next update', async () => {
  await using t = setUp({ ready: false });
  await t.settle();
  assert.equal(readiness(await stored(t.api)), 'False');
  t.state.ready = true;
  t.controller.wake();
  await t.settle();
  assert.equal(readiness(await stored(t.api)), 'True');
  assert.deepEqual(t.events, ['peer-node NodeNotReady', 'peer-node NodeReady']);
});

test('a pod CIDR that comes later is told', async () => {
  await using t = setUp();
  await t.settle();
  const seen: (string | undefined)[] = [];
  using _ = t.controller.onChange((node) => seen.push(node?.spec?.podCIDR));
  const body = { spec: { podCIDR: '10.244.0.0/24' } };
  await t.api.patch(nodes, name, { type: 'merge', body }, signal);
  await t.settle();
  assert.equal(t.controller.current()?.spec?.podCIDR, '10.244.0.0/24');
  assert.ok(seen.includes('10.244.0.0/24'));
});

test('a node deleted behind our back is registered again, CSINode included', async () => {
  await using t = setUp();
  await t.settle();
  const first = await stored(t.api);
  await t.api.delete(nodes, name, {}, signal);
  await t.settle();
  await t.settle();
  const second = await stored(t.api);
  assert.notEqual(second.metadata.uid, first.metadata.uid);
  assert.equal(readiness(second), 'True');
  const csiNode = await t.api.get(csiNodes, name, signal);
  assert.equal(csiNode.metadata.ownerReferences?.[0]?.uid, second.metadata.uid);
});

test('a node that exists is adopted: its labels, taints and conditions of others stay', async () => {
  const api = new FakeKubeApi();
  const taints = [{ key: 'own', effect: 'NoSchedule' }];
  const conditions = [{ type: 'NetworkUnavailable', status: 'False' as const }];
  await api.create(nodes, { metadata: { name: 'peer-node', labels: { a: 'b' } }, spec: { taints } }, signal);
  await api.patch(nodes, name, { type: 'merge', subresource: 'status', body: { status: { conditions } } }, signal);
  await using t = setUp({ api });
  await t.settle();
  await t.settle();
  const node = await stored(api);
  assert.equal(node.metadata.labels?.['a'], 'b');
  assert.equal(node.metadata.labels?.['kubernetes.io/hostname'], 'peer-node');
  assert.equal(node.metadata.annotations?.['volumes.kubernetes.io/controller-managed-attach-detach'], 'true');
  assert.deepEqual(node.spec?.taints, taints);
  assert.equal(readiness(node), 'True');
  assert.ok(node.status?.conditions?.some((c) => c.type === 'NetworkUnavailable'));
});

test('an outage of the API server is retried with backoff, and what changed meanwhile is written after it', async () => {
  const api = new FakeKubeApi();
  let tries = 0;
  const down = new ApiError(503, { message: 'down' });
  const { create } = api;
  api.create = () => {
    tries++;
    return Promise.reject(down);
  };
  await using t = setUp({ api });
  await t.clock.advance(60_000);
  assert.ok(tries > 5 && tries < 30, `${tries} tries in a minute`);
  api.create = create;
  await t.clock.advance(10_000);
  assert.equal(readiness(await stored(api)), 'True');
});

test('waking does not break the backoff, also not in the middle of a failing update', async () => {
  const api = new FakeKubeApi();
  let tries = 0;
  let wake = () => {};
  api.create = () => {
    tries++;
    wake();
    return Promise.reject(new ApiError(503, { message: 'down' }));
  };
  await using t = setUp({ api });
  wake = () => t.controller.wake();
  await t.clock.advance(20_000);
  const before = tries;
  assert.ok(before < 15, `${before} tries in 20 s`);
  for (let i = 0; i < 10; i++) {
    t.controller.wake();
    await t.settle();
  }
  assert.equal(tries, before);
});

test('standalone, the same node is held and nothing is written', async () => {
  await using t = setUp({ standalone: true });
  await t.settle();
  assert.equal(readiness(t.controller.current()), 'True');
  t.state.ready = false;
  t.controller.wake();
  await t.settle();
  assert.equal(readiness(t.controller.current()), 'False');
  assert.equal((await t.api.list(nodes, {}, signal)).items.length, 0);
});

test('the Node is known once the server has it, or does not want it; not while the server is away', async () => {
  for (const [status, isKnown] of Object.entries({ 200: true, 403: true, 429: false, 503: false })) {
    const api = new FakeKubeApi();
    if (status !== '200') api.get = () => Promise.reject(new ApiError(Number(status), { message: 'no' }));
    await using t = setUp({ api });
    let known = false;
    void t.controller.known.then(() => {
      known = true;
    });
    assert.equal(known, false);
    await t.clock.advance(10_000);
    assert.equal(known, isKnown, status);
  }
});
