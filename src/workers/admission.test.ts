import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, Pod, PodSpec } from '../api/core-v1.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { FakeEventSink } from '../kubeapi/fake-event-sink.ts';
import { silentLog } from '../lib/log.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { type DesiredPod, PodManager } from '../pod/pod-manager.ts';
import { observedContainer, observedPod } from '../testing/observed-pods.ts';
import { Admission } from './admission.ts';

const node: Node = { metadata: { name: 'n' }, status: { allocatable: { cpu: '2', memory: '1Gi', pods: '10' } } };

function setUp() {
  const cache = new PodCache();
  const events = new FakeEventSink();
  const woken: PodUid[] = [];
  const manager = new PodManager(
    () => 0,
    () => {},
  );
  const admission = new Admission({
    ...{ manager, cache, events, log: silentLog, node: () => node },
    isolation: { allowedSysctls: [], appArmor: false },
    granted: ({ pod }) => pod,
    wake: (uid) => woken.push(uid),
  });
  const desire = (name: string, cpu: string, over: Partial<PodSpec> = {}): DesiredPod => {
    const pod: Pod = {
      metadata: { name, namespace: 'ns', uid: name },
      spec: { containers: [{ name: 'a', resources: { requests: { cpu } } }], ...over },
    };
    manager.setFromApi(`ns/${name}`, pod);
    const desired = manager.get(podUid(name));
    assert.ok(desired);
    return desired;
  };
  const enter = (name: string, cpu: string, over?: Partial<PodSpec>) =>
    admission.enter(desire(name, cpu, over), cache.get(podUid(name))).type;
  return { cache, events, woken, manager, admission, desire, enter };
}

const critical = { priority: 2_000_000_000 };
const names = (pods: readonly Pod[]) => pods.map((p) => p.metadata.name);

test('who was let in keeps the place until it leaves', () => {
  const o = setUp();
  assert.equal(o.enter('a', '2'), 'admit');
  assert.equal(o.enter('b', '1'), 'reject');
  assert.equal(o.enter('a', '2'), 'admit');
  assert.deepEqual(names(o.admission.activePods()), ['a']);
  o.admission.left(podUid('a'));
  assert.equal(o.enter('b', '1'), 'admit');
});

test('what ran before keelson did has its place, however full the node is', () => {
  const o = setUp();
  o.cache.commit(podUid('old'), observedPod([observedContainer('a')]), 0);
  o.desire('old', '2');
  assert.equal(o.enter('new', '1'), 'reject');
  assert.equal(o.enter('old', '2'), 'admit');
});

test('a critical pod ends others once, waits, and is looked at when they are gone', () => {
  const o = setUp();
  o.enter('a', '1500m');
  assert.equal(o.enter('c', '1', critical), 'wait');
  assert.equal(o.enter('c', '1', critical), 'wait');
  assert.deepEqual(o.events.lines, ['Warning Preempting: Preempted in order to admit critical pod']);
  const { intent } = o.manager.get(podUid('a')) ?? {};
  assert.deepEqual(intent, { reason: 'Preempting', message: 'Preempted in order to admit critical pod' });
  assert.deepEqual(o.woken, []);
  o.admission.left(podUid('a'));
  assert.deepEqual(o.woken, ['c']);
  assert.equal(o.enter('c', '1', critical), 'admit');
  o.admission.left(podUid('x'));
  assert.deepEqual(o.woken, ['c']);
});

test('a pod that grows does not stand in its own way, nor is it ended for itself', () => {
  const o = setUp();
  o.enter('c', '1', critical);
  o.enter('a', '1');
  assert.equal(o.admission.fits(o.desire('c', '1', critical)).type, 'admit');
  assert.equal(o.admission.fits(o.desire('c', '1500m', critical)).type, 'wait');
  assert.deepEqual(
    [o.manager.get(podUid('a'))?.intent?.reason, o.manager.get(podUid('c'))?.intent],
    ['Preempting', undefined],
  );
});
