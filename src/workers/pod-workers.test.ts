import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import type { TellStep } from '../kuberuntime/sync-step.ts';
import { AgentError } from '../lib/errors.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { PodManager } from '../pod/pod-manager.ts';
import { type PodSteps, PodWorkers, type SyncOutcome, type WorkerMemory } from './pod-workers.ts';

const uid = podUid('u1');
const pod = (over: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name: 'p', namespace: 'ns', uid, ...over },
  spec: { containers: [{ name: 'a', image: 'i' }], terminationGracePeriodSeconds: 20 },
});
const idle: SyncOutcome = { problems: new Map(), backoffs: new Map() };

/** Scripted steps: a real state machine runs above them, and each call waits until the test lets it go on. */
class Script implements PodSteps {
  readonly calls: string[] = [];
  #open: { readonly name: string; resolve: () => void; reject: (e: unknown) => void } | undefined;
  outcome: SyncOutcome = idle;
  /** Says which step the sync that is under way is in. */
  tell: TellStep = () => {};

  #step(name: string, signal: AbortSignal): Promise<void> {
    this.calls.push(name);
    return new Promise((resolve, reject) => {
      this.#open = { name, resolve, reject };
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
  }

  async finish(error?: unknown): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    if (error) open?.reject(error);
    else open?.resolve();
    await settled();
  }

  async sync(_: unknown, memory: WorkerMemory, signal: AbortSignal): Promise<SyncOutcome> {
    this.tell = memory.tell ?? this.tell;
    await this.#step('sync', signal);
    return this.outcome;
  }
  stop(_: PodUid, __: unknown, grace: number, signal: AbortSignal): Promise<void> {
    return this.#step(`stop ${grace}`, signal);
  }
  clean(_: PodUid, __: unknown, signal: AbortSignal): Promise<void> {
    return this.#step('clean', signal);
  }
  purge(_: PodUid, __: unknown, signal: AbortSignal): Promise<void> {
    return this.#step('purge', signal);
  }
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

function setUp({ sourcesReady = true } = {}) {
  const clock = new FakeClock();
  const script = new Script();
  const state = { sourcesReady };
  const manager: PodManager = new PodManager(clock.now.bind(clock), (id) => workers.wake(id));
  const workers: PodWorkers = new PodWorkers({
    manager,
    cache: new PodCache(),
    steps: script,
    clock,
    log: silentLog,
    sourcesReady: () => state.sourcesReady,
    syncFrequencyMs: 60_000,
    changed: () => {},
  });
  workers.start();
  return { clock, script, manager, workers, state };
}

test('wakes during a sync become one more sync', async () => {
  const { script, manager, workers } = setUp();
  manager.setFromApi('ns/p', pod());
  for (let i = 0; i < 5; i++) workers.wake(uid);
  await script.finish();
  assert.deepEqual(script.calls, ['sync', 'sync']);
  await script.finish();
  assert.deepEqual(script.calls, ['sync', 'sync']);
});

test('others see the step that a sync is in, and since when', async () => {
  const { clock, script, manager, workers } = setUp();
  manager.setFromApi('ns/p', pod());
  const began = clock.now();
  script.tell({ kind: 'volumes' });
  await clock.advance(3_000);
  script.tell({ kind: 'volumes' });
  assert.deepEqual(workers.view(uid)?.progress, { step: { kind: 'volumes' }, since: began });
  script.tell({ kind: 'sandbox' });
  assert.deepEqual(workers.view(uid)?.progress, { step: { kind: 'sandbox' }, since: began + 3_000 });
  await script.finish();
  assert.equal(workers.view(uid)?.progress, undefined);
});

test('a sync that waits for others stays in its step', async () => {
  const { script, manager, workers } = setUp();
  manager.setFromApi('ns/p', pod());
  script.outcome = { ...idle, waitsFor: true };
  script.tell({ kind: 'room' });
  await script.finish();
  assert.equal(workers.view(uid)?.progress?.step.kind, 'room');
});

test('what fails is seen with the time of its first failure, until a later step is reached', async () => {
  const { clock, script, manager, workers } = setUp();
  manager.setFromApi('ns/p', pod());
  const began = clock.now();
  for (let tries = 0; tries < 3; tries++) {
    script.tell({ kind: 'volumes' });
    await script.finish(new AgentError('FailedMount', `missing for the ${tries + 1}. time`));
    const { message, since, step } = workers.view(uid)?.failure ?? {};
    assert.deepEqual([message, since, step?.kind], [`missing for the ${tries + 1}. time`, began, 'volumes']);
    await clock.advance(10_000);
  }
  script.tell({ kind: 'volumes' });
  assert.notEqual(workers.view(uid)?.failure, undefined);
  script.tell({ kind: 'sandbox' });
  assert.equal(workers.view(uid)?.failure, undefined);
});

test('a deletion aborts the sync, and the pod passes through all phases once', async () => {
  const { script, manager, workers } = setUp();
  manager.setFromApi('ns/p', pod());
  manager.setFromApi('ns/p', pod({ deletionTimestamp: 't', deletionGracePeriodSeconds: 7 }));
  await settled();
  assert.deepEqual(script.calls, ['sync', 'stop 7']);
  await script.finish();
  await script.finish();
  assert.equal(workers.view(uid)?.state.phase, 'finished');
  manager.setFromApi('ns/p', undefined);
  await script.finish();
  assert.deepEqual(script.calls, ['sync', 'stop 7', 'clean', 'purge']);
  assert.equal(workers.view(uid), undefined);
});

test('a shorter grace period overtakes the stop, a longer one does not', async () => {
  const { script, manager } = setUp();
  manager.setFromApi('ns/p', pod({ deletionTimestamp: 't', deletionGracePeriodSeconds: 30 }));
  await settled();
  manager.setFromApi('ns/p', pod({ deletionTimestamp: 't', deletionGracePeriodSeconds: 5 }));
  await settled();
  manager.setFromApi('ns/p', pod({ deletionTimestamp: 't', deletionGracePeriodSeconds: 60 }));
  await settled();
  assert.deepEqual(script.calls, ['stop 30', 'stop 5']);
});

test('a pod that vanishes without a deletion is stopped with its own grace period', async () => {
  const { script, manager } = setUp();
  manager.setFromApi('ns/p', pod());
  await script.finish();
  manager.setFromApi('ns/p', undefined);
  await settled();
  assert.deepEqual(script.calls, ['sync', 'stop 20']);
});

test('a failed step is tried again after a delay that grows', async () => {
  const { script, manager, clock } = setUp();
  manager.setFromApi('ns/p', pod());
  await script.finish(new AgentError('X', 'x'));
  assert.deepEqual(script.calls, ['sync']);
  await clock.advance(700);
  assert.deepEqual(script.calls, ['sync', 'sync']);
  await script.finish(new AgentError('X', 'x'));
  await clock.advance(900);
  assert.equal(script.calls.length, 2);
  await clock.advance(400);
  assert.equal(script.calls.length, 3);
});

test('a completed pod is stopped and cleaned, and stays finished while the API server has it', async () => {
  const { script, manager, workers } = setUp();
  script.outcome = { ...idle, terminate: { kind: 'completed' } };
  manager.setFromApi('ns/p', pod());
  for (let i = 0; i < 3; i++) await script.finish();
  assert.deepEqual(script.calls, ['sync', 'stop 20', 'clean']);
  assert.equal(workers.view(uid)?.state.phase, 'finished');
});

test('nothing is taken for unwanted before the sources have reported', async () => {
  const { script, manager, workers, state } = setUp({ sourcesReady: false });
  workers.wake(uid);
  await settled();
  assert.deepEqual(script.calls, []);
  state.sourcesReady = true;
  manager.setFromApi('ns/p', pod());
  await settled();
  assert.deepEqual(script.calls, ['sync']);
});

test('a changed static pod waits until its predecessor has stopped', async () => {
  const { script, manager, workers } = setUp();
  const next = podUid('u2');
  manager.setFromFiles([pod()]);
  await script.finish();
  manager.setFromFiles([pod({ uid: next })]);
  await settled();
  assert.deepEqual(script.calls, ['sync', 'stop 20']);
  await script.finish();
  assert.equal(workers.view(uid)?.state.phase, 'terminated');
  assert.deepEqual(script.calls.slice(2).sort(), ['clean', 'sync'], 'what is left of it keeps nobody waiting');
});

test('a manifest that is changed before the API server has answered replaces its pod all the same', async () => {
  const { script, manager } = setUp({ sourcesReady: false });
  manager.setFromFiles([pod()]);
  await script.finish();
  manager.setFromFiles([pod({ uid: podUid('u2') })]);
  await settled();
  assert.deepEqual(script.calls, ['sync', 'stop 20']);
  await script.finish();
  assert.ok(script.calls.slice(2).includes('sync'));
});

test('a manifest that is taken away and put back before the API server has answered starts anew', async () => {
  const { script, manager } = setUp({ sourcesReady: false });
  manager.setFromFiles([pod()]);
  await script.finish();
  for (const pods of [[], [pod()]]) manager.setFromFiles(pods);
  for (let i = 0; i < 3; i++) await script.finish();
  assert.deepEqual(script.calls, ['sync', 'stop 20', 'clean', 'purge', 'sync']);
});

test('a manifest that is taken away and put back starts anew when the old run has gone', async () => {
  const { script, manager, workers } = setUp();
  manager.setFromFiles([pod()]);
  await script.finish();
  manager.setFromFiles([]);
  await settled();
  manager.setFromFiles([pod()]);
  for (let i = 0; i < 3; i++) await script.finish();
  assert.deepEqual(script.calls, ['sync', 'stop 20', 'clean', 'purge', 'sync']);
  assert.equal(workers.view(uid)?.state.phase, 'syncing');
});

test('a pod that comes back while its remains are removed starts when that is over', async () => {
  const { script, manager, workers } = setUp();
  const removal = Promise.withResolvers<void>();
  const removed = workers.withoutWorker(uid, () => removal.promise);
  manager.setFromFiles([pod()]);
  await settled();
  assert.deepEqual(script.calls, []);
  removal.resolve();
  await removed;
  assert.deepEqual(script.calls, ['sync']);
});

test('it starts all the same when its remains would not go', async () => {
  const { script, manager, workers } = setUp();
  const removed = workers.withoutWorker(uid, async () => {
    manager.setFromFiles([pod()]);
    throw new AgentError('Busy', 'busy');
  });
  await assert.rejects(removed, { code: 'Busy' });
  assert.deepEqual(script.calls, ['sync']);
});

test('nothing is removed under a worker', async () => {
  const { manager, workers } = setUp();
  manager.setFromFiles([pod()]);
  await workers.withoutWorker(uid, () => assert.fail('removed'));
});

test('stop aborts what is under way and starts nothing more', async () => {
  const { script, manager, workers } = setUp();
  manager.setFromApi('ns/p', pod());
  await workers.stop();
  workers.wake(uid);
  await settled();
  assert.deepEqual(script.calls, ['sync']);
});
