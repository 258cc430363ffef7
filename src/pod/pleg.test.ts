import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as cri from '../api/cri.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { CriError } from '../cri/services.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { Registry } from '../lib/metrics.ts';
import { runContainer, runPod, testImage } from '../testing/runtime-pods.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { Pleg, relistPeriodMs } from './pleg.ts';
import { plegMetrics } from './pleg-metrics.ts';
import { PodCache } from './pod-cache.ts';

const signal = new AbortController().signal;
const [u1, u2, u3] = [podUid('u1'), podUid('u2'), podUid('u3')];
const down = () => new CriError('X', 'UNAVAILABLE', 'down');

function setUp() {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [testImage] });
  const cache = new PodCache();
  const woken: PodUid[] = [];
  const lastWords: string[] = [];
  const pleg = new Pleg({
    runtime: fake.runtime,
    cache,
    clock,
    log: silentLog,
    wake: (uid) => woken.push(uid),
    terminationMessage: async ({ id = '', exitCode }) => {
      lastWords.push(id);
      return `ended with ${exitCode}`;
    },
  });
  /** What the next call does: the pods it wakes and the RPCs it makes. */
  const during = async (act: () => Promise<unknown>) => {
    woken.length = 0;
    fake.calls.length = 0;
    await act();
    return { woken: woken.toSorted(), calls: fake.methods(true) };
  };
  return { clock, fake, cache, woken, lastWords, pleg, during, relist: () => during(() => pleg.relist(signal)) };
}

const lists = ['ListPodSandbox', 'ListContainers'];
const states = (cache: PodCache, uid: PodUid) => cache.get(uid)?.containers.map((c) => `${c.name} ${c.state}`);

test('new pods are inspected, written down and woken', async () => {
  const { fake, cache, relist } = setUp();
  await runPod(fake, u1, ['a', 'b']);
  await runPod(fake, u2, []);
  const { woken, calls } = await relist();
  assert.deepEqual(woken, [u1, u2]);
  assert.deepEqual(calls.toSorted(), [
    ...['ContainerStatus', 'ContainerStatus', 'ListContainers', 'ListPodSandbox', 'PodSandboxStatus'],
    'PodSandboxStatus',
  ]);
  const { name, namespace, sandboxes } = cache.get(u1) ?? {};
  assert.deepEqual(
    [name, namespace, sandboxes?.[0]?.state, sandboxes?.[0]?.ips],
    ['pod-u1', 'ns', 'ready', ['10.88.0.2']],
  );
  assert.deepEqual(states(cache, u1)?.toSorted(), ['a running', 'b running']);
});

test('where nothing has changed nothing is inspected and nobody is woken', async () => {
  const { fake, relist } = setUp();
  await runPod(fake, u1, ['a']);
  await relist();
  assert.deepEqual(await relist(), { woken: [], calls: lists });
});

test('of many pods only the changed one is inspected and woken', async () => {
  const { fake, cache, relist } = setUp();
  const [first] = [await runPod(fake, u1, ['a']), await runPod(fake, u2, ['a']), await runPod(fake, u3, ['a'])];
  await relist();
  fake.exitContainer(first.containers[0] ?? '', 3);
  assert.deepEqual(await relist(), { woken: [u1], calls: [...lists, 'ContainerStatus'] });
  const [ended] = cache.get(u1)?.containers ?? [];
  assert.deepEqual([ended?.state, ended?.exitCode, ended?.terminationMessage], ['exited', 3, 'ended with 3']);
});

test('a pod that the runtime no longer knows is forgotten and woken, once', async () => {
  const { fake, cache, relist } = setUp();
  const { sandbox } = await runPod(fake, u1, ['a']);
  await relist();
  await fake.runtime.removePodSandbox(sandbox, signal);
  assert.deepEqual(await relist(), { woken: [u1], calls: lists });
  assert.equal(cache.get(u1), undefined);
  assert.deepEqual(await relist(), { woken: [], calls: lists });
});

test('a sandbox that dies is seen, and its address is gone', async () => {
  const { fake, cache, relist } = setUp();
  const { sandbox } = await runPod(fake, u1, []);
  await relist();
  fake.killSandbox(sandbox);
  assert.deepEqual((await relist()).woken, [u1]);
  assert.deepEqual(
    cache.get(u1)?.sandboxes.map((s) => [s.state, s.ips]),
    [['notready', []]],
  );
});

test('containers and sandboxes come newest first', async () => {
  const { clock, fake, cache, relist } = setUp();
  const { sandbox, containers } = await runPod(fake, u1, ['a']);
  await clock.advance(1000);
  fake.exitContainer(containers[0] ?? '', 1);
  await runContainer(fake, sandbox, u1, 'a', 1);
  await relist();
  assert.deepEqual(
    cache.get(u1)?.containers.map((c) => `${c.attempt} ${c.state}`),
    ['1 running', '0 exited'],
  );
});

test('what carries no pod label belongs to somebody else', async () => {
  const { fake, cache, relist } = setUp();
  const sandbox = await fake.runtime.runPodSandbox({ metadata: { name: 'foreign' } }, '', signal);
  const config = { metadata: { name: 'c' }, image: { image: testImage } };
  await fake.runtime.createContainer(sandbox, config, {}, signal);
  assert.deepEqual(await relist(), { woken: [], calls: lists });
  assert.deepEqual(cache.uids(), []);
});

test('a pod whose inspection fails keeps its record, does not harm the others, and is found again', async () => {
  const { fake, cache, relist } = setUp();
  const { containers } = await runPod(fake, u1, ['a']);
  await runPod(fake, u2, []);
  await relist();
  fake.exitContainer(containers[0] ?? '', 1);
  fake.killSandbox(cache.get(u2)?.sandboxes[0]?.id ?? '');
  fake.injectError('ContainerStatus', down());
  assert.deepEqual((await relist()).woken, [u2]);
  assert.deepEqual(states(cache, u1), ['a running']);
  assert.deepEqual((await relist()).woken, [u1]);
  assert.deepEqual(states(cache, u1), ['a exited']);
});

test('a container that goes between list and inspection is no trouble', async () => {
  const { fake, cache, relist } = setUp();
  await runPod(fake, u1, ['a']);
  fake.injectError('ContainerStatus', new CriError('ContainerStatus', 'NOT_FOUND', 'gone'));
  await relist();
  assert.equal(cache.get(u1), undefined);
  assert.deepEqual((await relist()).woken, [u1]);
});

test('last words are read once per exit', async () => {
  const { fake, lastWords, relist, pleg } = setUp();
  const { sandbox, containers } = await runPod(fake, u1, ['a', 'b']);
  await relist();
  assert.deepEqual(lastWords, []);
  fake.exitContainer(containers[0] ?? '', 1);
  await relist();
  await pleg.refresh(u1, signal);
  fake.exitContainer(containers[1] ?? '', 1);
  await runContainer(fake, sandbox, u1, 'a', 1);
  await relist();
  assert.deepEqual(lastWords, containers);
});

test('what is gone is not remembered: the same id is inspected anew', async () => {
  const { fake, cache, relist } = setUp();
  const { containers } = await runPod(fake, u1, ['a']);
  fake.exitContainer(containers[0] ?? '', 1);
  await relist();
  // Two listings that are empty, then the container is back: only a memory could spare the inspection.
  const gone = fake.runtime.listContainers;
  Object.assign(fake.runtime, { listContainers: async () => [] });
  await relist();
  assert.deepEqual(states(cache, u1), []);
  Object.assign(fake.runtime, { listContainers: gone });
  assert.ok((await relist()).calls.includes('ContainerStatus'));
});

test('a runtime that cannot be listed is unhealthy, and forgets nobody', async () => {
  const { fake, cache, pleg, woken } = setUp();
  await runPod(fake, u1, ['a']);
  assert.equal(pleg.healthy, false);
  await pleg.relist(signal);
  assert.equal(pleg.healthy, true);
  woken.length = 0;
  fake.injectError('ListContainers', down());
  await assert.rejects(pleg.relist(signal), { code: 'CriUNAVAILABLE' });
  assert.equal(pleg.healthy, false);
  assert.deepEqual([woken, states(cache, u1)], [[], ['a running']]);
});

test('listed resolves with the first listing that works', async () => {
  const { fake, pleg } = setUp();
  let listed = false;
  void pleg.listed.then(() => {
    listed = true;
  });
  fake.injectError('ListPodSandbox', down());
  await assert.rejects(pleg.relist(signal));
  assert.equal(listed, false);
  await pleg.relist(signal);
  await pleg.listed;
});

test('calls while a relist runs share it', async () => {
  const { fake, pleg, during } = setUp();
  const release = fake.block('ListContainers');
  const { calls } = await during(async () => {
    const both = Promise.all([pleg.relist(signal), pleg.relist(signal)]);
    release();
    await both;
  });
  assert.deepEqual(calls, lists);
});

test('a refresh looks at its pod alone', async () => {
  const { fake, cache, during, pleg } = setUp();
  await runPod(fake, u1, ['a']);
  await runPod(fake, u2, ['a']);
  const { woken } = await during(() => pleg.refresh(u1, signal));
  assert.deepEqual(woken, [u1]);
  assert.deepEqual(cache.uids(), [u1]);
});

test('a sandbox that was just made is taken up without a listing, before older ones', async () => {
  const { fake, cache, during, pleg, relist } = setUp();
  const { sandbox } = await runPod(fake, u1, ['a']);
  await relist();
  const metadata = { name: 'pod-u1', namespace: 'ns', uid: u1, attempt: 1 };
  const id = await fake.runtime.runPodSandbox({ metadata }, '', signal);
  const { woken, calls } = await during(() => pleg.sawSandbox(u1, id, signal));
  assert.deepEqual([woken, calls], [[u1], ['PodSandboxStatus']]);
  assert.deepEqual(
    cache.get(u1)?.sandboxes.map((s) => s.id),
    [id, sandbox],
  );
  assert.deepEqual(states(cache, u1), ['a running']);
  assert.deepEqual([pleg.ownerOf(id), pleg.ownerOf('nobody')], [u1, undefined]);
});

// --- Two looks at once: the one that began later knows better. ---

/** A relist whose listing was made now, and that goes on when the returned function is called. */
function slowRelist({ fake, pleg }: ReturnType<typeof setUp>): () => Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { listPodSandbox } = fake.runtime;
  const held = async (...args: Parameters<typeof listPodSandbox>) => {
    const listed = await listPodSandbox(...args);
    await promise;
    return listed;
  };
  Object.assign(fake.runtime, { listPodSandbox: held });
  const relist = pleg.relist(signal);
  Object.assign(fake.runtime, { listPodSandbox });
  return () => {
    resolve();
    return relist;
  };
}

test('a slow relist does not overwrite what a younger refresh found', async () => {
  const o = setUp();
  const { sandbox, containers } = await runPod(o.fake, u1, ['a']);
  o.fake.exitContainer(containers[0] ?? '', 1);
  await runContainer(o.fake, sandbox, u1, 'a', 1);
  await o.relist();
  const goOn = slowRelist(o);
  await o.clock.advance(10);
  await o.fake.runtime.removeContainer(containers[0] ?? '', signal);
  await o.pleg.refresh(u1, signal);
  o.woken.length = 0;
  await goOn();
  assert.deepEqual([states(o.cache, u1), o.woken], [['a running'], []]);
});

test('a slow relist does not bring back a pod that a younger refresh found gone', async () => {
  const o = setUp();
  const { sandbox, containers } = await runPod(o.fake, u1, ['a']);
  o.fake.exitContainer(containers[0] ?? '', 0);
  o.fake.killSandbox(sandbox);
  await o.relist();
  const goOn = slowRelist(o);
  await o.clock.advance(10);
  await o.fake.runtime.removePodSandbox(sandbox, signal);
  await o.pleg.refresh(u1, signal);
  o.woken.length = 0;
  await goOn();
  assert.deepEqual([o.cache.get(u1), o.woken], [undefined, []]);
});

test('a slow relist does not take a sandbox away that was made meanwhile', async () => {
  const o = setUp();
  const goOn = slowRelist(o);
  await o.clock.advance(10);
  const { sandbox } = await runPod(o.fake, u1, []);
  await o.pleg.sawSandbox(u1, sandbox, signal);
  await goOn();
  assert.deepEqual(
    o.cache.get(u1)?.sandboxes.map((s) => s.id),
    [sandbox],
  );
});

test('an exit that a relist inspected in vain, as a younger look was sooner, is found by the next look', async () => {
  const { clock, fake, cache, pleg, relist } = setUp();
  const { containers } = await runPod(fake, u1, ['a']);
  await relist();
  fake.exitContainer(containers[0] ?? '', 1);
  const release = fake.block('ContainerStatus');
  const slow = pleg.relist(signal);
  await clock.advance(10);
  // Younger than the relist, but it takes the containers over as they were last seen.
  const metadata = { name: 'pod-u1', namespace: 'ns', uid: u1, attempt: 1 };
  const id = await fake.runtime.runPodSandbox({ metadata, labels: { 'io.kubernetes.pod.uid': u1 } }, '', signal);
  await pleg.sawSandbox(u1, id, signal);
  release();
  await slow;
  await clock.advance(10);
  assert.deepEqual((await relist()).woken, [u1]);
  assert.deepEqual(states(cache, u1), ['a exited']);
});

// --- The loop ---

test('the loop relists every second, and rarely while somebody else tells what happens', async () => {
  const { clock, fake, pleg } = setUp();
  const end = new AbortController();
  let flowing = false;
  const loop = pleg.run(end.signal, () => flowing);
  const relists = async (ms: number) => {
    fake.calls.length = 0;
    await clock.advance(ms);
    return fake.methods(true).filter((m) => m === 'ListContainers').length;
  };
  await clock.advance(0);
  assert.equal(await relists(3 * relistPeriodMs.withoutEvents), 3);
  flowing = true;
  await clock.advance(relistPeriodMs.withoutEvents);
  assert.equal(await relists(relistPeriodMs.withEvents - 1), 0);
  assert.equal(await relists(1), 1);
  fake.injectError('ListContainers', down(), 2);
  await clock.advance(relistPeriodMs.withEvents);
  assert.equal(await relists(relistPeriodMs.withoutEvents), 1, 'an unhealthy runtime is asked again soon');
  end.abort();
  await loop;
});

test('what was started after the clock was set back is the newer one all the same', async () => {
  const { clock, fake, cache, pleg } = setUp();
  const { sandbox, containers } = await runPod(fake, u1, ['a']);
  fake.exitContainer(containers[0] ?? '', 1);
  clock.setWallClock(clock.now() - 4 * 86_400_000);
  const later = await runContainer(fake, sandbox, u1, 'a', 1);
  await pleg.relist(signal);
  assert.equal(cache.get(u1)?.containers[0]?.id, later);
  await pleg.sawContainers(u1, [{ id: later, name: 'a', sandboxId: sandbox }], signal);
  assert.equal(cache.get(u1)?.containers[0]?.id, later);
});

test('what only newer runtimes report of a container is taken up', async () => {
  const { fake, cache, relist } = setUp();
  await runPod(fake, u1, ['a']);
  const ask = fake.runtime.containerStatus.bind(fake.runtime);
  Object.assign(fake.runtime, {
    containerStatus: async (id: string): Promise<cri.ContainerStatus> => ({
      ...(await ask(id, signal)),
      user: { linux: { uid: 7, supplementalGroups: [9] } },
      stopSignal: cri.Signal.SIGRTMINPLUS3,
      imageId: 'sha256:1',
      resources: { linux: { cpuShares: 102 } },
      mounts: [{ containerPath: '/deep', recursiveReadOnly: true }, { containerPath: '/flat' }],
    }),
  });
  await relist();
  const { user, stopSignal, imageId, resources, recursiveReadOnly } = cache.get(u1)?.containers[0] ?? {};
  assert.deepEqual(
    { user, stopSignal, imageId, resources, recursiveReadOnly },
    {
      user: { uid: 7, gid: 0, supplementalGroups: [9] },
      stopSignal: 'SIGRTMIN+3',
      imageId: 'sha256:1',
      resources: { linux: { cpuShares: 102 } },
      recursiveReadOnly: ['/deep'],
    },
  );
});

test('what the PLEG says of its own work', async () => {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [testImage] });
  const registry = new Registry();
  const ends: string[] = [];
  const pleg = new Pleg({
    runtime: fake.runtime,
    cache: new PodCache(),
    clock,
    log: silentLog,
    wake: () => {},
    terminationMessage: async () => '',
    metrics: plegMetrics(registry),
    ended: (uid, { name, exitCode }) => ends.push(`${uid} ${name} ${exitCode}`),
  });
  const { containers } = await runPod(fake, u1, ['a', 'b']);
  await pleg.relist(signal);
  fake.exitContainer(containers[0] ?? '', 3);
  await clock.advance(1_500);
  await pleg.relist(signal);
  await pleg.refresh(u1, signal);
  const text = await registry.text();
  const count = (name: string) => sampleOf(text, `kubelet_pleg_${name}_seconds_count`);
  assert.deepEqual([count('relist_duration'), count('relist_interval'), count('pod_relist_duration')], [2, 1, 1]);
  assert.equal(sampleOf(text, 'kubelet_pleg_relist_interval_seconds_sum'), 1.5);
  assert.deepEqual(ends, ['u1 a 3']);
});
