import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodCondition } from '../api/core-v1.ts';
import { containerId, podUid, sandboxId } from '../api/ids.ts';
import { configMirrorAnnotation, configSourceAnnotation } from '../api/pod.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { pods } from '../kubeapi/resources.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import type { ObservedContainer, ObservedPod } from '../pod/observed.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { PodManager } from '../pod/pod-manager.ts';
import { noProbes } from '../probes/probe-results.ts';
import type { WorkerView } from '../workers/pod-workers.ts';
import { StatusManager } from './status-manager.ts';

const signal = new AbortController().signal;
const ref = { namespace: 'ns', name: 'p' };
const uid = podUid('u1');
const unavailable = () => new ApiError(500, { message: 'etcd is away' });

const basePod = (over: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name: 'p', namespace: 'ns', uid: 'u1', generation: 1, ...over },
  spec: { nodeName: 'n', restartPolicy: 'Never', containers: [{ name: 'a', image: 'i' }] },
});

/** The pod as the runtime shows it when its container is in this state. */
function observed(state: 'running' | 'exited', ip = '10.0.0.2'): ObservedPod {
  const stamps = { createdAt: 1, startedAt: 1, finishedAt: state === 'exited' ? 2 : 0 };
  const words = { reason: '', message: '', image: 'i', imageRef: 'i', hash: '', terminationMessage: '' };
  const ids = { id: containerId('c1'), name: 'a', sandboxId: sandboxId('s1') };
  const container: ObservedContainer = { ...ids, ...stamps, ...words, state, attempt: 0, exitCode: 0 };
  const common = { id: sandboxId('s1'), attempt: 0, createdAt: 1, hostNetwork: false };
  const sandbox = { ...common, state: 'ready' as const, ips: [ip] };
  return deepFreeze({ uid, name: 'p', namespace: 'ns', sandboxes: [sandbox], containers: [container] });
}

async function setUp({ standalone = false, runtimeName = 'containerd' } = {}) {
  const clock = new FakeClock();
  const api = new FakeKubeApi(clock);
  const cache = new PodCache();
  const manager: PodManager = new PodManager(
    () => clock.now(),
    (id) => statuses.wake(id),
  );
  const state = { runtimeName, view: { state: { phase: 'syncing' }, problems: new Map() } as Partial<WorkerView> };
  const statuses: StatusManager = new StatusManager({
    resizes: { granted: ({ pod }) => pod, view: () => ({}) },
    ...{ manager, cache, clock, log: silentLog, probes: noProbes },
    worker: (id) => ({ ...state.view, desired: manager.get(id) }) as WorkerView,
    api: standalone ? undefined : api,
    hostIPs: () => ['192.0.2.2'],
    runtimeName: () => state.runtimeName,
    changed: () => {},
  });
  /** The watch delivers what the server has now. */
  const deliver = async () => manager.setFromApi('ns/p', await api.get(pods, ref, signal));
  const stored = async () => (await api.get(pods, ref, signal)).status;
  const show = (o: ObservedPod) => {
    cache.commit(uid, o, clock.monotonic());
    statuses.wake(uid);
  };
  const writes = () => api.calls.filter((c) => /^(patch|delete)/.test(c));
  await api.create(pods, basePod(), signal);
  return { clock, api, cache, manager, state, statuses, deliver, stored, show, writes };
}

const patch = 'patch pods ns/p status';

test('what the runtime shows is brought to the server at once, and once', async () => {
  const o = await setUp();
  await o.deliver();
  o.show(observed('running'));
  await o.clock.advance(0);
  assert.deepEqual([(await o.stored())?.phase, (await o.stored())?.podIP], ['Running', '10.0.0.2']);
  await o.deliver();
  o.statuses.wake(uid);
  await o.clock.advance(60_000);
  assert.deepEqual(o.writes(), [patch]);
});

test('a pod that starts says so after two seconds, and nothing when it was faster', async () => {
  const slow = await setUp();
  await slow.deliver();
  await slow.clock.advance(1999);
  assert.deepEqual(slow.writes(), []);
  await slow.clock.advance(1);
  assert.equal((await slow.stored())?.phase, 'Pending');

  const quick = await setUp();
  await quick.deliver();
  await quick.clock.advance(500);
  quick.show(observed('running'));
  await quick.clock.advance(60_000);
  assert.deepEqual(quick.writes(), [patch]);
});

test('how far a pod is on its way is told every two seconds, what keeps it at once', async () => {
  const o = await setUp();
  await o.deliver();
  await o.clock.advance(2000);
  for (let i = 3; i < 8; i++) {
    const sandboxOnly = { ...observed('running', `10.0.0.${i}`), containers: [] };
    o.show(sandboxOnly);
    await o.clock.advance(100);
  }
  assert.equal(o.writes().length, 1);
  await o.clock.advance(1500);
  assert.equal(o.writes().length, 2);
  assert.equal((await o.stored())?.podIP, '10.0.0.7');
  o.state.view = { ...o.state.view, problems: new Map([['a', { reason: 'ErrImagePull', message: 'not found' }]]) };
  o.statuses.wake(uid);
  await o.clock.advance(0);
  assert.equal((await o.stored())?.containerStatuses?.[0]?.state?.waiting?.reason, 'ErrImagePull');
});

test('what a pod waits for alone is written every ten seconds at most, and at once with anything else', async () => {
  const o = await setUp();
  const ready = async () => (await o.stored())?.conditions?.find((c) => c.type === 'Ready');
  const failing = (message: string) => {
    const failure = { code: 'x', message, since: 0, step: { kind: 'volumes' } } as const;
    o.state.view = { ...o.state.view, failure };
    o.statuses.wake(uid);
  };
  await o.deliver();
  await o.clock.advance(1000);
  failing('configmap "a" not found');
  await o.clock.advance(1000);
  const changed = (await ready())?.lastTransitionTime;
  assert.match(
    (await ready())?.message ?? '',
    /^containers with unready status: \[a\]; configmap "a" not found, since \d{4}/,
  );
  assert.equal(o.writes().length, 1);
  for (const name of ['b', 'c', 'd']) {
    failing(`configmap "${name}" not found`);
    await o.clock.advance(1000);
  }
  assert.equal(o.writes().length, 1);
  await o.clock.advance(7000);
  assert.equal(o.writes().length, 2);
  assert.match((await ready())?.message ?? '', /configmap "d" not found/);
  assert.equal((await ready())?.lastTransitionTime, changed);

  failing('configmap "e" not found');
  o.show({ ...observed('running', '10.0.0.9'), containers: [] });
  o.state.view = { ...o.state.view, problems: new Map([['a', { reason: 'ErrImagePull', message: 'no' }]]) };
  o.statuses.wake(uid);
  await o.clock.advance(0);
  assert.equal(o.writes().length, 3);
  assert.match((await ready())?.message ?? '', /configmap "e" not found/);
  await o.clock.advance(60_000);
  assert.equal(o.writes().length, 3);
});

test('a sentence that changes while a request is on its way follows in its own time', async () => {
  const o = await setUp();
  await o.deliver();
  const failing = (message: string) => {
    o.state.view = { ...o.state.view, failure: { code: 'x', message, since: 0, step: undefined } };
    o.statuses.wake(uid);
  };
  const gate = Promise.withResolvers<void>();
  const patchNow = o.api.patch.bind(o.api);
  Object.assign(o.api, {
    patch: async (...args: Parameters<typeof patchNow>) => {
      await gate.promise;
      return patchNow(...args);
    },
  });
  failing('first');
  await o.clock.advance(2000);
  failing('second');
  gate.resolve();
  await o.clock.advance(9_999);
  assert.equal(o.writes().length, 1);
  await o.clock.advance(1);
  const message = (await o.stored())?.conditions?.find((c) => c.type === 'Ready')?.message;
  assert.match(message ?? '', /the pod cannot be brought up: second/);
});

test('of what changes while a request is on its way only the newest is sent', async () => {
  const o = await setUp();
  await o.deliver();
  const gate = Promise.withResolvers<void>();
  const patchNow = o.api.patch.bind(o.api);
  Object.assign(o.api, {
    patch: async (...args: Parameters<typeof patchNow>) => {
      await gate.promise;
      return patchNow(...args);
    },
  });
  o.show(observed('running'));
  for (let i = 3; i < 8; i++) o.show(observed('running', `10.0.0.${i}`));
  await o.clock.advance(0);
  gate.resolve();
  await o.clock.advance(0);
  assert.deepEqual(o.writes(), [patch, patch]);
  assert.equal((await o.stored())?.podIP, '10.0.0.7');
});

test('a server that fails is tried again after a delay that grows, until it has the status', async () => {
  const o = await setUp();
  await o.deliver();
  o.api.injectError('patch', 'pods', unavailable(), 4);
  o.show(observed('running'));
  const at: number[] = [];
  for (let ms = 0; ms <= 6000; ms += 50) {
    if (o.writes().length > at.length) at.push(ms);
    await o.clock.advance(50);
  }
  assert.equal((await o.stored())?.phase, 'Running');
  const gaps = at.slice(1).map((ms, i) => ms - (at[i] ?? 0));
  assert.equal(gaps.length, 4);
  // 250 ms doubling, each lengthened by a fifth at most; looked at every 50 ms.
  gaps.forEach((gap, i) => {
    const delay = 250 * 2 ** i;
    assert.ok(gap >= delay - 50 && gap <= delay * 1.2 + 100, `gap ${i} is ${gap} ms`);
  });
});

// --- Deletion ---

const ended = { phase: 'finished', at: 0, cause: { kind: 'deleted' } } as const;
const stopping = { phase: 'terminating', since: 0, gracePeriodSeconds: 30, cause: { kind: 'deleted' } } as const;

test('a deleted pod is removed when its worker is finished and its last status is there, not before', async () => {
  const o = await setUp();
  await o.deliver();
  o.show(observed('running'));
  await o.clock.advance(0);
  await o.api.delete(pods, ref, {}, signal);
  o.state.view = { ...o.state.view, state: stopping };
  await o.deliver();
  await o.clock.advance(60_000);
  assert.deepEqual(o.writes(), [patch, 'delete pods ns/p']);
  const seen: unknown[] = [];
  const removeNow = o.api.delete.bind(o.api);
  Object.assign(o.api, {
    delete: async (...args: Parameters<typeof removeNow>) => {
      seen.push((await o.stored())?.phase, args[2]);
      return removeNow(...args);
    },
  });
  o.state.view = { ...o.state.view, state: ended };
  o.show(observed('exited'));
  await o.clock.advance(0);
  assert.deepEqual(seen, ['Succeeded', { gracePeriodSeconds: 0, uid: 'u1' }]);
  await assert.rejects(o.stored(), { status: 404 });
});

for (const verb of ['patch', 'delete'] as const) {
  test(`a ${verb} that meets with others is tried again, and the deleted pod is removed`, async () => {
    const o = await setUp();
    await o.deliver();
    const conflict = { reason: 'Conflict', message: 'the object has been modified; please apply your changes again' };
    if (verb === 'patch') o.api.injectError('patch', 'pods', new ApiError(409, conflict));
    o.show(observed('running'));
    await o.clock.advance(1000);
    assert.equal((await o.stored())?.phase, 'Running');
    await o.api.delete(pods, ref, {}, signal);
    await o.deliver();
    if (verb === 'delete') o.api.injectError('delete', 'pods', new ApiError(409, conflict));
    o.state.view = { ...o.state.view, state: ended };
    o.show(observed('exited'));
    await o.clock.advance(1000);
    await assert.rejects(o.stored(), { status: 404 });
  });
}

test('an outcome that somebody else has written stays when the containers end otherwise', async () => {
  const o = await setUp();
  await o.deliver();
  o.show(observed('running'));
  await o.clock.advance(0);
  const body = { status: { phase: 'Failed', reason: 'NodeLost', message: 'the node was cut off' } };
  await o.api.patch(pods, ref, { type: 'strategic', body, subresource: 'status' }, signal);
  await o.deliver();
  o.state.view = { ...o.state.view, state: { ...ended, cause: { kind: 'completed' } } };
  o.show(observed('exited'));
  await o.clock.advance(1000);
  const { phase, reason, message, containerStatuses } = (await o.stored()) ?? {};
  assert.deepEqual([phase, reason, message], ['Failed', 'NodeLost', 'the node was cut off']);
  assert.equal(containerStatuses?.[0]?.state?.terminated?.exitCode, 0);
});

test('a pod that ended by itself stays until somebody deletes it', async () => {
  const o = await setUp();
  await o.deliver();
  o.state.view = { ...o.state.view, state: { ...ended, cause: { kind: 'completed' } } };
  o.show(observed('exited'));
  await o.clock.advance(60_000);
  assert.deepEqual([(await o.stored())?.phase, o.writes()], ['Succeeded', [patch]]);
});

test('a removal that fails is tried again', async () => {
  const o = await setUp();
  await o.deliver();
  await o.api.delete(pods, ref, {}, signal);
  o.api.injectError('delete', 'pods', unavailable());
  o.state.view = { ...o.state.view, state: ended };
  await o.deliver();
  await o.clock.advance(2000);
  await assert.rejects(o.stored(), { status: 404 });
});

test('a namesake gets neither our status nor our deletion', async () => {
  const o = await setUp();
  await o.deliver();
  await o.api.delete(pods, ref, { gracePeriodSeconds: 0 }, signal);
  await o.api.create(pods, basePod({ uid: 'u2' }), signal);
  o.show(observed('running'));
  o.state.view = { ...o.state.view, state: ended };
  o.manager.setFromApi('ns/p', basePod({ deletionTimestamp: 't', deletionGracePeriodSeconds: 1 }));
  await o.clock.advance(60_000);
  const namesake = await o.api.get(pods, ref, signal);
  assert.deepEqual([namesake.metadata.uid, namesake.status], ['u2', undefined]);
});

test('a pod that is gone is no failure', async () => {
  const o = await setUp();
  await o.deliver();
  await o.api.delete(pods, ref, { gracePeriodSeconds: 0 }, signal);
  o.show(observed('running'));
  await o.clock.advance(60_000);
  assert.deepEqual(o.writes(), ['delete pods ns/p', patch]);
});

// --- What others write ---

const gate = (status: PodCondition['status']): PodCondition => ({ type: 'example.com/gate', status });
const writeGate = (api: FakeKubeApi, status: PodCondition['status']) => {
  const body = { status: { conditions: [gate(status)] } };
  return api.patch(pods, ref, { type: 'strategic', body, subresource: 'status' }, signal);
};
const gateOf = async (o: Awaited<ReturnType<typeof setUp>>) =>
  (await o.stored())?.conditions?.find((c) => c.type === 'example.com/gate')?.status;

test('conditions of others are kept beside ours', async () => {
  const o = await setUp();
  await writeGate(o.api, 'True');
  await o.deliver();
  o.show(observed('running'));
  await o.clock.advance(0);
  assert.equal(await gateOf(o), 'True');
  assert.ok((await o.stored())?.conditions?.some((c) => c.type === 'Ready'));
});

test('a condition of others is never written back as we last saw it', async () => {
  const o = await setUp();
  await writeGate(o.api, 'False');
  await o.deliver();
  o.show(observed('running'));
  await o.clock.advance(0);
  const late = await writeGate(o.api, 'True');
  await writeGate(o.api, 'False');
  // The watch is behind: here the condition has just become true.
  o.manager.setFromApi('ns/p', late);
  o.show(observed('exited'));
  await o.clock.advance(0);
  assert.deepEqual([await gateOf(o), (await o.stored())?.phase], ['False', 'Succeeded']);
});

// --- Static pods ---

test('a static pod reports to its mirror, as soon as there is one, and to the next one anew', async () => {
  const o = await setUp();
  await o.api.delete(pods, ref, { gracePeriodSeconds: 0 }, signal);
  o.manager.setFromFiles([basePod()]);
  o.show(observed('running'));
  await o.clock.advance(2000);
  assert.deepEqual(o.writes(), ['delete pods ns/p']);
  for (const mirror of ['m1', 'm2']) {
    await o.api.create(pods, basePod({ uid: mirror, annotations: { [configMirrorAnnotation]: 'u1' } }), signal);
    await o.deliver();
    await o.clock.advance(0);
    assert.equal((await o.stored())?.phase, 'Running', mirror);
    await o.api.delete(pods, ref, { gracePeriodSeconds: 0 }, signal);
    o.manager.setFromApi('ns/p', undefined);
  }
});

for (const phase of ['Failed', 'Succeeded'] as const) {
  test(`a static pod that ${phase} in an earlier run, and runs again, says so`, async () => {
    const o = await setUp();
    const mirror = basePod({ uid: 'm1', annotations: { [configMirrorAnnotation]: 'u1' } });
    o.manager.setFromApi('ns/p', { ...mirror, status: { phase, reason: 'Evicted', message: 'memory' } });
    o.manager.setFromFiles([basePod({ annotations: { [configSourceAnnotation]: 'file' } })]);
    o.show(observed('running'));
    const { phase: now, reason, message } = o.statuses.get(uid) ?? {};
    assert.deepEqual([now, reason, message], ['Running', undefined, undefined]);
  });
}

test('without an API server a status is derived all the same', async () => {
  const o = await setUp({ standalone: true });
  o.manager.setFromFiles([basePod()]);
  o.show(observed('running'));
  assert.equal(o.statuses.get(uid)?.phase, 'Running');
  await o.clock.advance(60_000);
  assert.deepEqual(o.writes(), []);
});

test('until the runtime has said its name nothing is told, and then container ids carry it', async () => {
  const o = await setUp({ runtimeName: '' });
  await o.deliver();
  o.show(observed('running'));
  await o.clock.advance(60_000);
  assert.deepEqual([o.statuses.get(uid), o.writes()], [undefined, []]);
  o.state.runtimeName = 'cri-o';
  o.statuses.wake(uid);
  await o.clock.advance(0);
  assert.equal((await o.stored())?.containerStatuses?.[0]?.containerID, 'cri-o://c1');
});

test('after stop nothing is sent any more', async () => {
  const o = await setUp();
  await o.deliver();
  o.statuses.stop();
  o.show(observed('running'));
  await o.clock.advance(60_000);
  assert.deepEqual([o.writes(), o.clock.pending], [[], 0]);
});

test('a pod so odd that no status can be made of it costs only itself', async () => {
  const { manager, statuses, deliver } = await setUp();
  const odd = { ...basePod({ name: 'odd', uid: 'odd' }), spec: { containers: [null] } } as unknown as Pod;
  manager.setFromApi('ns/odd', odd);
  assert.equal(statuses.get(podUid('odd')), undefined);
  await deliver();
  assert.equal(statuses.get(uid)?.phase, 'Pending');
});
