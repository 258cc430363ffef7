import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, ResourceRequirements } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { CriError } from '../cri/services.ts';
import { FakeCgroups } from '../host/fake-host.ts';
import { silentLog } from '../lib/log.ts';
import type { AdmissionDecision } from '../pod/decide-admission.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import { PodNotes } from '../pod/pod-notes.ts';
import { containerResources } from '../resources/compute-cgroup-values.ts';
import { QosCgroups } from '../resources/qos-cgroups.ts';
import { desiredPod, podParts } from '../testing/pod-parts.ts';
import { runPod, testImage } from '../testing/runtime-pods.ts';
import { PodResizes } from './pod-resizes.ts';

const signal = new AbortController().signal;
const options = {
  ...{ cgroupVersion: 1 as const, cpuCfsQuota: true, cpuCfsPeriodUs: 100_000, memoryCapacityBytes: 2 ** 30 },
  ...{ hugePageSizes: [], swapController: false, singleProcessOomKill: true, podPidsLimit: -1 },
};
const mebi = 2 ** 20;
const bounds = (cpu: string, memory: string): ResourceRequirements => ({
  requests: { cpu, memory },
  limits: { cpu: '2', memory },
});
const fits = (): AdmissionDecision => ({ type: 'admit' });
const full = (): AdmissionDecision => ({ type: 'reject', reason: 'OutOfcpu', message: 'no room' });

/** A pod with one container that asks for `resources`, after so many changes. */
function asking(resources: ResourceRequirements, generation: number, more: Partial<Container> = {}): DesiredPod {
  return desiredPod({ containers: [{ name: 'a', image: testImage, resources, ...more }] }, { generation });
}

/** A pod that runs with 100m and 64Mi. */
async function setUp(more: Partial<Container> = {}) {
  const parts = podParts();
  const { notes, pleg, events, clock, cache, fake } = parts;
  const host = new FakeCgroups();
  const cgroups = new QosCgroups({ cgroups: host, cgroupRoot: '', allocatable: {}, log: silentLog, options });
  const woken: PodUid[] = [];
  const make = (store: PodNotes) =>
    new PodResizes({
      ...{ notes: store, pleg, runtime: fake.runtime, cgroups, resources: options, events, clock },
      capacity: { cpuMilli: 2000, memoryBytes: 2 ** 30 },
      log: silentLog,
      wake: (uid) => woken.push(uid),
    });
  const resizes = make(notes);
  const first = asking(bounds('100m', '64Mi'), 1, more);
  const { uid } = first;
  await parts.dirs.create(uid, first.pod);
  await cgroups.ensurePod(first.pod, signal);
  const [id = ''] = (await runPod(fake, uid, ['a'])).containers;
  const [container] = first.pod.spec.containers;
  if (container)
    await fake.runtime.updateContainerResources(id, containerResources(first.pod, container, options), signal);
  await pleg.relist(signal);
  resizes.consider(first, cache.get(uid), fits);
  const observed = () => cache.get(uid);
  const carryOut = (desired: DesiredPod, by = resizes) => by.carryOut(desired, observed, () => [desired.pod], signal);
  const memoryOf = () => observed()?.containers[0]?.resources?.linux?.memoryLimitInBytes;
  return { ...parts, host, cgroups, resizes, make, uid, id, observed, carryOut, memoryOf, woken };
}

const cpuOf = (pod: Pod) => pod.spec.containers[0]?.resources?.requests?.['cpu'];

test('a wish that fits is granted, carried out and told', async () => {
  using o = await setUp();
  const wish = asking(bounds('200m', '128Mi'), 2);
  assert.equal(o.resizes.consider(wish, o.observed(), fits), wish);
  assert.deepEqual(o.resizes.view(o.uid), { inProgress: { generation: 2, restart: [] } });
  assert.equal(await o.carryOut(wish), undefined);
  assert.equal(o.memoryOf(), 128 * mebi);
  assert.equal(o.host.values(o.cgroups.nameOf(wish.pod))?.memoryLimit, 128 * mebi);
  assert.deepEqual([o.resizes.view(o.uid), o.events.reasons], [{}, ['ResizeStarted', 'ResizeCompleted']]);
});

test('a wish without room is put off, once, and the pod stays as it was granted', async () => {
  using o = await setUp();
  const wish = asking(bounds('200m', '64Mi'), 2);
  for (let i = 0; i < 2; i++) assert.equal(cpuOf(o.resizes.consider(wish, o.observed(), full).pod), '100m');
  const { pending } = o.resizes.view(o.uid);
  assert.deepEqual([pending?.reason, pending?.message, pending?.generation], ['Deferred', 'no room', 2]);
  assert.deepEqual(o.events.reasons, ['ResizeDeferred']);
  o.resizes.roomFreed();
  assert.deepEqual(o.woken, [o.uid]);
  assert.equal(o.resizes.consider(wish, o.observed(), fits), wish);
  assert.equal(o.resizes.view(o.uid).pending, undefined);
});

test('a wish that the node can never grant does not wait for room', async () => {
  using o = await setUp();
  o.resizes.consider(asking(bounds('9', '64Mi'), 2), o.observed(), fits);
  assert.equal(o.resizes.view(o.uid).pending?.reason, 'Infeasible');
  o.resizes.roomFreed();
  assert.deepEqual([o.woken, o.events.reasons], [[], ['ResizeInfeasible']]);
});

test('a wish that is taken back is forgotten', async () => {
  using o = await setUp();
  o.resizes.consider(asking(bounds('200m', '64Mi'), 2), o.observed(), full);
  o.resizes.consider(asking(bounds('0.1', '64Mi'), 3), o.observed(), full);
  assert.deepEqual(o.resizes.view(o.uid), {});
});

test('what a predecessor has said is not said again', async () => {
  using o = await setUp();
  const wish = asking(bounds('200m', '64Mi'), 2);
  const condition = { type: 'PodResizePending', status: 'True' as const, reason: 'Deferred', message: 'no room' };
  const status = { conditions: [{ ...condition, observedGeneration: 2 }] };
  o.resizes.consider({ ...wish, pod: { ...wish.pod, status } }, o.observed(), full);
  assert.deepEqual(o.events.reasons, []);
});

test('memory in use stays, the resize fails with upstream’s words and is tried again', async () => {
  using o = await setUp();
  const wish = asking(bounds('100m', '32Mi'), 2);
  o.resizes.consider(wish, o.observed(), fits);
  o.host.memoryUsage.set(o.id, 40 * mebi);
  assert.equal(await o.carryOut(wish), o.clock.now() + 10_000);
  await o.carryOut(wish);
  assert.equal(o.memoryOf(), 64 * mebi);
  assert.equal(
    o.resizes.view(o.uid).inProgress?.error,
    'cannot decrease memory limits: attempting to set container "a" memory limit (33554432) below current usage (41943040)',
  );
  o.host.memoryUsage.set(o.cgroups.nameOf(wish.pod).join('/'), 41 * mebi);
  await o.carryOut(wish);
  assert.match(
    o.resizes.view(o.uid).inProgress?.error ?? '',
    /: \[attempting to set pod memory limit .*, attempting to/,
  );
  o.host.memoryUsage.clear();
  assert.equal(await o.carryOut(wish), undefined);
  assert.equal(o.memoryOf(), 32 * mebi);
  assert.deepEqual(o.events.reasons, ['ResizeStarted', 'ResizeError', 'ResizeError', 'ResizeCompleted']);
});

test('a runtime that refuses is asked again', async () => {
  using o = await setUp();
  const wish = asking(bounds('200m', '64Mi'), 2);
  o.resizes.consider(wish, o.observed(), fits);
  o.fake.injectError('UpdateContainerResources', new CriError('UpdateContainerResources', 'UNKNOWN', 'not now'));
  assert.notEqual(await o.carryOut(wish), undefined);
  assert.equal(o.resizes.view(o.uid).inProgress?.error, 'UpdateContainerResources: not now');
  assert.equal(await o.carryOut(wish), undefined);
  assert.deepEqual(o.resizes.view(o.uid), {});
});

test('what was granted is carried out by whoever comes after a crash', async () => {
  using o = await setUp();
  const wish = asking(bounds('200m', '128Mi'), 2);
  o.resizes.consider(wish, o.observed(), fits);
  await o.notes.flush(o.uid);
  const notes = new PodNotes({ rootDir: `${o.root}/root`, log: silentLog });
  await notes.load();
  const next = o.make(notes);
  const more = asking(bounds('1900m', '128Mi'), 3);
  const desired = next.consider(more, o.observed(), full);
  assert.equal(cpuOf(desired.pod), '200m');
  await o.carryOut(desired, next);
  assert.equal(o.memoryOf(), 128 * mebi);
  assert.deepEqual(Object.keys(next.view(o.uid)), ['pending']);
});

test('a container that has to be restarted keeps the resize going until it was', async () => {
  const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' as const }];
  using o = await setUp({ resizePolicy });
  const wish = asking(bounds('100m', '128Mi'), 2, { resizePolicy });
  o.resizes.consider(wish, o.observed(), fits);
  assert.deepEqual([...o.resizes.restarting(o.uid)], [o.id]);
  await o.carryOut(wish);
  assert.equal(o.host.values(o.cgroups.nameOf(wish.pod))?.memoryLimit, 128 * mebi);
  assert.equal(o.memoryOf(), 64 * mebi);
  assert.ok(o.resizes.view(o.uid).inProgress);
  await o.fake.runtime.removeContainer(o.id, signal);
  await o.pleg.relist(signal);
  await o.carryOut(wish);
  assert.deepEqual([o.resizes.view(o.uid), [...o.resizes.restarting(o.uid)]], [{}, []]);
});

test('static pods, and pods without CPU and memory, are not written down', async () => {
  using o = await setUp();
  const plain = desiredPod({}, { uid: 'plain' });
  o.resizes.consider(plain, undefined, fits);
  const fixed = { ...asking(bounds('1', '1Mi'), 1), source: 'file' as const, uid: plain.uid };
  o.resizes.consider(fixed, undefined, fits);
  assert.deepEqual(o.notes.get(plain.uid), {});
});
