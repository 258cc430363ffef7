import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import type { Node, Pod } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { CriError } from '../cri/services.ts';
import { FakeCgroups } from '../host/fake-host.ts';
import { AgentError } from '../lib/errors.ts';
import { silentLog } from '../lib/log.ts';
import { type DesiredPod, PodManager } from '../pod/pod-manager.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import { QosCgroups } from '../resources/qos-cgroups.ts';
import { desiredPod, podParts } from '../testing/pod-parts.ts';
import { testImage } from '../testing/runtime-pods.ts';
import { PodResizes } from './pod-resizes.ts';
import type { SyncOutcome, WorkerMemory } from './pod-workers.ts';
import { type PodVolumes, SyncPod } from './sync-pod.ts';

const signal = new AbortController().signal;
const noMemory: WorkerMemory = { backoffs: new Map() };
const resources = {
  ...{ cgroupVersion: 1 as const, cpuCfsQuota: true, cpuCfsPeriodUs: 100_000, memoryCapacityBytes: 2 ** 30 },
  ...{ hugePageSizes: [], swapController: false, singleProcessOomKill: true, podPidsLimit: -1 },
};

/** Volumes in memory: which pods have them, and what was done in which order. */
class FakeVolumes implements PodVolumes {
  readonly calls: string[] = [];
  failure: AgentError | undefined;

  async setUp(pod: Pod, uid: PodUid) {
    this.calls.push(`setUp ${uid}`);
    if (this.failure) throw this.failure;
    return new Map((pod.spec.volumes ?? []).map((v) => [v.name, { hostPath: `/volumes/${v.name}` }]));
  }
  async tearDown(uid: PodUid) {
    this.calls.push(`tearDown ${uid}`);
  }
  async removePodDir(uid: PodUid) {
    this.calls.push(`removePodDir ${uid}`);
  }
}

function setUp() {
  const parts = podParts();
  const { clock, cache, pleg, puller, dirs, events } = parts;
  const cgroups = new FakeCgroups();
  const state = {
    node: undefined as Node | undefined,
    freshNode: undefined as Node | undefined,
    networkProblem: undefined as string | undefined,
    startTime: undefined as string | undefined,
    leaveServices: async (_uid: PodUid): Promise<void> => {},
    /** Whose liveness probe failed, by container id. */
    failed: undefined as string | undefined,
  };
  const manager = new PodManager(
    () => clock.now(),
    () => {},
  );
  const volumes = new FakeVolumes();
  const probes: ProbeView = (id, type) =>
    id === state.failed && type === 'liveness' ? { verdict: 'failure', message: '', since: 0 } : undefined;
  const woken: PodUid[] = [];
  const qosCgroups = new QosCgroups({ cgroups, cgroupRoot: '', allocatable: {}, log: silentLog, options: resources });
  const resizes = new PodResizes({
    ...{ notes: parts.notes, pleg, runtime: parts.fake.runtime, cgroups: qosCgroups, resources, events, clock },
    capacity: { cpuMilli: 2000, memoryBytes: 2 ** 30 },
    log: silentLog,
    wake: (uid) => woken.push(uid),
  });
  const steps = new SyncPod({
    ...{ cache, pleg, puller, dirs, events, clock, volumes, manager, resources, maxBackoffMs: 300_000 },
    ...{ probes, notes: parts.notes, startTime: () => state.startTime },
    runtime: parts.podRuntime,
    ...{ cgroups: qosCgroups, resizes },
    log: silentLog,
    isolation: { allowedSysctls: [], appArmor: false },
    node: () => state.node,
    refreshNode: async () => {
      state.node = state.freshNode ?? state.node;
    },
    wake: (uid) => woken.push(uid),
    networkProblem: () => state.networkProblem,
    leaveServices: (uid) => state.leaveServices(uid),
  });
  /** Desires the pod and looks at it once. */
  const sync = (desired: DesiredPod, memory = noMemory) => {
    manager.setFromApi('ns/p', desired.pod);
    return steps.sync(desired, memory, signal);
  };
  /** The container ends, after it ran for a second. */
  const exit = async (name: string, code: number) => {
    await clock.advance(1000);
    const running = cache.get(desiredPod().uid)?.containers.find((c) => c.name === name && c.state === 'running');
    parts.fake.exitContainer(running?.id ?? '', code);
    await pleg.relist(signal);
  };
  return { ...parts, cgroups, state, manager, volumes, woken, steps, sync, exit };
}

type SetUp = ReturnType<typeof setUp>;
const lines = ({ cache }: SetUp) =>
  cache
    .get(desiredPod().uid)
    ?.containers.map((c) => `${c.name} ${c.state}`)
    .sort();
const problems = (outcome: SyncOutcome) => [...outcome.problems].map(([name, { reason }]) => `${name} ${reason}`);

test('a new pod gets cgroup, folders, volumes, sandbox and containers, and is seen to run', async () => {
  using o = setUp();
  const desired = desiredPod({ volumes: [{ name: 'v', emptyDir: {} }] });
  const outcome = await o.sync(desired);
  assert.deepEqual(lines(o), ['a running', 'b running']);
  assert.deepEqual(o.cgroups.calls.at(-1), 'ensure kubepods/besteffort/podu1');
  assert.ok(existsSync(o.dirs.podDir(desired.uid)));
  assert.deepEqual(o.volumes.calls, ['setUp u1']);
  assert.deepEqual([outcome.terminate, outcome.problems.size, outcome.wakeAt], [undefined, 0, undefined]);
  assert.deepEqual(o.steps.activePods(), [desired.pod]);
});

test('a pod that runs is looked at without a change in the runtime, and its volumes are kept', async () => {
  using o = setUp();
  await o.sync(desiredPod());
  o.fake.calls.length = 0;
  await o.sync(desiredPod());
  assert.deepEqual(o.fake.methods(true), []);
  assert.deepEqual(o.volumes.calls, ['setUp u1', 'setUp u1']);
});

test('volumes that cannot be brought up to date do not disturb what runs, and are told', async () => {
  using o = setUp();
  await o.sync(desiredPod());
  o.volumes.failure = new AgentError('X', 'no such secret', { hint: 'make it' });
  await o.sync(desiredPod());
  assert.deepEqual(lines(o), ['a running', 'b running']);
  assert.equal(o.events.lines.at(-1), 'Warning FailedMount: no such secret (make it)');
});

test('without its volumes a pod does not start', async () => {
  using o = setUp();
  o.volumes.failure = new AgentError('X', 'no such secret');
  await assert.rejects(o.sync(desiredPod()), { code: 'X' });
  assert.deepEqual([o.fake.methods(), o.events.reasons], [[], ['FailedMount']]);
});

// --- Admission ---

const full: Node = { metadata: { name: 'n' }, status: { allocatable: { pods: '0' } } };

test('a pod that does not fit is rejected with the reason, and nothing of it is made', async () => {
  using o = setUp();
  o.state.node = full;
  const { terminate } = await o.sync(desiredPod());
  const message = "Node didn't have enough resource: pods, requested: 1, used: 0, capacity: 0";
  assert.deepEqual(terminate, { kind: 'rejected', reason: 'OutOfpods', message });
  assert.deepEqual(o.events.lines, [`Warning OutOfpods: ${message}`]);
  assert.deepEqual([o.fake.methods(), o.volumes.calls, o.steps.activePods()], [[], [], []]);
});

test('what runs already was let in by whoever started it', async () => {
  using o = setUp();
  await o.sync(desiredPod());
  using later = setUp();
  later.state.node = full;
  const observed = o.cache.get(desiredPod().uid);
  later.cache.commit(desiredPod().uid, observed, 0);
  assert.equal((await later.sync(desiredPod())).terminate, undefined);
});

test('a pod keeps its place until it is cleaned', async () => {
  using o = setUp();
  const desired = desiredPod();
  o.state.node = { metadata: { name: 'n' }, status: { allocatable: { pods: '1' } } };
  await o.sync(desired);
  const next = desiredPod({}, { name: 'q', uid: 'u2' });
  o.manager.setFromApi('ns/q', next.pod);
  assert.equal((await o.steps.sync(next, noMemory, signal)).terminate?.kind, 'rejected');
  await o.steps.stop(desired.uid, desired, 1, signal);
  await o.steps.clean(desired.uid, desired, signal);
  assert.equal((await o.steps.sync(next, noMemory, signal)).terminate, undefined);
});

// --- Network ---

test('while there is no network a pod waits and says why; one of the host does not care', async () => {
  using o = setUp();
  o.state.networkProblem = 'cni plugin not initialized';
  await assert.rejects(o.sync(desiredPod()), { code: 'NetworkNotReady', retryable: true });
  assert.deepEqual(o.events.lines, ['Warning NetworkNotReady: network is not ready: cni plugin not initialized']);
  assert.deepEqual([o.fake.methods(), o.volumes.calls], [[], []]);
  await o.sync(desiredPod({ hostNetwork: true }));
  assert.deepEqual(lines(o), ['a running', 'b running']);
});

test('a pod that runs does not mind the network going away', async () => {
  using o = setUp();
  await o.sync(desiredPod());
  o.state.networkProblem = 'gone';
  await o.sync(desiredPod());
  assert.equal(o.events.reasons.includes('NetworkNotReady'), false);
});

// --- Ends and restarts ---

test('a pod whose containers have all done their work is completed', async () => {
  using o = setUp();
  const desired = desiredPod({ restartPolicy: 'Never' });
  await o.sync(desired);
  await o.exit('a', 0);
  assert.equal((await o.sync(desired)).terminate, undefined);
  await o.exit('b', 1);
  assert.deepEqual((await o.sync(desired)).terminate, { kind: 'completed' });
});

test('a delayed restart is told once, and looked at when it is due', async () => {
  using o = setUp();
  let outcome = await o.sync(desiredPod());
  const look = async () => {
    outcome = await o.sync(desiredPod(), { backoffs: outcome.backoffs });
  };
  const told = () => o.events.lines.filter((line) => line.includes('BackOff'));
  await o.exit('a', 1);
  await look();
  assert.deepEqual([lines(o), told()], [['a exited', 'a running', 'b running'], []], 'the first one is at once');
  for (let crash = 1; crash <= 2; crash++) {
    await o.exit('a', 1);
    for (let i = 0; i < 3; i++) await look();
    assert.deepEqual(problems(outcome), ['a CrashLoopBackOff']);
    assert.equal((outcome.wakeAt ?? 0) - o.clock.now(), crash * 10_000);
    const message = 'Back-off restarting failed container a in pod p_ns(u1)';
    assert.deepEqual(told(), Array(crash).fill(`Warning BackOff spec.containers{a}: ${message}`));
    await o.clock.advance(crash * 10_000);
    await look();
    assert.deepEqual(problems(outcome), []);
  }
});

test('a delayed init container is told of as one', async () => {
  using o = setUp();
  const desired = desiredPod({ initContainers: [{ name: 'i', image: testImage }] });
  let { backoffs } = await o.sync(desired);
  for (let i = 0; i < 2; i++) {
    await o.exit('i', 1);
    ({ backoffs } = await o.sync(desired, { backoffs }));
  }
  assert.match(o.events.lines.at(-1) ?? '', /^Warning BackOff spec.initContainers{i}: Back-off restarting/);
});

test('a container that cannot start is a problem of its own, and is tried again later', async () => {
  using o = setUp();
  o.fake.injectError('CreateContainer', new CriError('CreateContainer', 'UNKNOWN', 'it broke'));
  const outcome = await o.sync(desiredPod());
  assert.deepEqual(problems(outcome), ['a CreateContainerError']);
  assert.equal(outcome.problems.get('a')?.message, 'it broke');
  assert.equal((outcome.wakeAt ?? 0) - o.clock.now(), 10_000);
  assert.deepEqual(lines(o), ['b running']);
});

test('a missing image is tried again when its back-off is over', async () => {
  using o = setUp();
  const desired = desiredPod({ containers: [{ name: 'a', image: 'registry.test/missing:1' }] });
  await o.sync(desired);
  await o.clock.advance(10_000);
  const { wakeAt = 0 } = await o.sync(desired);
  assert.equal(wakeAt - o.clock.now(), 20_000);
});

test('a pod whose time is over is ended instead of started', async () => {
  using o = setUp();
  o.state.startTime = new Date(o.clock.now() - 60_000).toISOString();
  const desired = desiredPod({ activeDeadlineSeconds: 60 });
  const outcome = await o.sync(desired);
  assert.deepEqual([o.fake.methods(), outcome.terminate, outcome.problems.size], [[], undefined, 0]);
  assert.equal(o.manager.get(desired.uid)?.intent?.reason, 'DeadlineExceeded');
  assert.equal(o.events.lines.length, 1);
});

test('a container whose liveness probe failed is replaced in one look', async () => {
  using o = setUp();
  await o.sync(desiredPod());
  const [id] =
    o.cache
      .get(desiredPod().uid)
      ?.containers.filter((c) => c.name === 'a')
      .map((c) => c.id) ?? [];
  o.state.failed = id;
  await o.sync(desiredPod());
  assert.deepEqual(lines(o), ['a exited', 'a running', 'b running']);
  assert.ok(
    o.events.lines.includes('Normal Killing spec.containers{a}: Container a failed liveness probe, will be restarted'),
  );
});

test('a static pod that is put back after the clock was set back starts', async () => {
  using o = setUp();
  const desired = desiredPod();
  await o.sync(desired);
  o.clock.setWallClock(o.clock.now() - 4 * 86_400_000);
  await o.exit('a', 1);
  await o.sync(desired);
  assert.deepEqual(lines(o), ['a exited', 'a running', 'b running']);
  await o.steps.stop(desired.uid, desired, 5, signal);
  await o.steps.clean(desired.uid, desired, signal);
  await o.steps.purge(desired.uid, desired, signal);
  await o.sync(desired);
  assert.deepEqual(lines(o), ['a running', 'b running']);
});

// --- The end ---

test('stop, clean and purge leave nothing behind', async () => {
  using o = setUp();
  const desired = desiredPod();
  await o.sync(desired);
  await o.steps.stop(desired.uid, desired, 5, signal);
  assert.deepEqual(lines(o), ['a exited', 'b exited']);
  await o.steps.clean(desired.uid, desired, signal);
  assert.equal(
    o.cgroups.paths().some((path) => path.includes('podu1')),
    false,
  );
  assert.deepEqual(o.steps.activePods(), []);
  await o.steps.purge(desired.uid, desired, signal);
  assert.equal(o.cache.get(desired.uid), undefined);
  assert.deepEqual(await o.fake.runtime.listPodSandbox({}, signal), []);
  assert.deepEqual(o.volumes.calls, ['setUp u1', 'tearDown u1', 'removePodDir u1']);
});

test('no container is told to end before the pod has left its Services', async () => {
  using o = setUp();
  const desired = desiredPod();
  await o.sync(desired);
  const left = Promise.withResolvers<void>();
  const leaving: PodUid[] = [];
  o.state.leaveServices = (uid) => {
    leaving.push(uid);
    return left.promise;
  };
  o.fake.calls.length = 0;
  const stopping = o.steps.stop(desired.uid, desired, 5, signal);
  await o.clock.advance(0);
  assert.deepEqual(leaving, [desired.uid]);
  assert.deepEqual(lines(o), ['a running', 'b running']);
  assert.equal(o.fake.methods().includes('StopContainer'), false);
  left.resolve();
  await stopping;
  assert.deepEqual(lines(o), ['a exited', 'b exited']);
});

test('a pod known from the runtime alone is stopped and purged too', async () => {
  using o = setUp();
  const { uid } = desiredPod();
  await o.sync(desiredPod());
  o.manager.setFromApi('ns/p', undefined);
  await o.steps.stop(uid, undefined, 5, signal);
  await o.steps.clean(uid, undefined, signal);
  await o.steps.purge(uid, undefined, signal);
  assert.deepEqual(await o.fake.runtime.listContainers({}, signal), []);
  assert.equal(o.cache.get(uid), undefined);
});

test('a label that the pod is looking for may be younger than what is known of the node', async () => {
  using o = setUp();
  o.state.node = { metadata: { name: 'n' } };
  const desired = desiredPod({ nodeSelector: { disk: 'ssd' } });
  assert.equal((await o.sync(desired)).terminate?.kind, 'rejected');
  o.state.freshNode = { metadata: { name: 'n', labels: { disk: 'ssd' } } };
  assert.equal((await o.sync(desired)).terminate, undefined);
  assert.deepEqual(lines(o), ['a running', 'b running']);
});
