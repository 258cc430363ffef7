import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Container, Pod, Probe } from '../api/core-v1.ts';
import { type ContainerId, podUid, sandboxId } from '../api/ids.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { CriError } from '../cri/services.ts';
import { FakeEventSink } from '../kubeapi/fake-event-sink.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import type { ObservedContainer } from '../pod/observed.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { PodNotes } from '../pod/pod-notes.ts';
import { runContainer, runPod, testImage } from '../testing/runtime-pods.ts';
import { ProbeManager } from './probe-manager.ts';
import type { ProbeType } from './probe-results.ts';

const uid = podUid('u1');
const exec = (type: ProbeType, over: Partial<Probe> = {}): Partial<Container> => ({
  [`${type}Probe`]: { exec: { command: [type] }, ...over },
});

/** A pod of container c with these probes, running in a fake runtime; `says` are the exit codes of its commands. */
async function setUp(container: Partial<Container>, over: { init?: boolean; random?: number } = {}) {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [testImage] });
  const { sandbox, containers } = await runPod(fake, uid, ['c']);
  const root = mkdtempSync(join(tmpdir(), 'probes-'));
  const cache = new PodCache();
  const notes = new PodNotes({ rootDir: root, log: silentLog });
  const events = new FakeEventSink();
  const says: Partial<Record<string, number>> = {};
  const asked: string[] = [];
  fake.exec = (_, [word = '']) => {
    asked.push(`${word}@${clock.monotonic() / 1000}`);
    return { exitCode: says[word] ?? 0 };
  };
  const sidecar: Container = { name: 'c', restartPolicy: 'Always', ...container };
  const spec = over.init
    ? { initContainers: [sidecar], containers: [] }
    : { containers: [{ name: 'c', ...container }] };
  const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid }, spec };
  const world = { pod: pod as Pod | undefined, terminating: false, wakes: 0, answered: 0 };
  const observe = (id: ContainerId, state: ObservedContainer['state'] = 'running', startedAt = clock.now()) => {
    const common = { name: 'c', sandboxId: sandboxId(sandbox), attempt: 0, createdAt: 0, finishedAt: 0, exitCode: 0 };
    const words = { reason: '', message: '', image: '', imageRef: '', hash: '', terminationMessage: '' };
    const sandboxes = [
      { id: sandbox, state: 'ready' as const, attempt: 0, createdAt: 0, ips: ['192.0.2.9'], hostNetwork: false },
    ];
    const observed = { ...common, ...words, id, state, startedAt } as ObservedContainer;
    cache.commit(uid, { uid, name: 'p', namespace: 'ns', sandboxes, containers: [observed] }, clock.monotonic());
    manager.sync(uid);
  };
  const make = () =>
    new ProbeManager({
      ...{ runtime: fake.runtime, cache, notes, events, clock, log: silentLog, hostIPs: () => ['192.0.2.2'] },
      pod: () => world.pod && { pod: world.pod, mirror: undefined, terminating: world.terminating },
      wake: () => {
        world.wakes++;
      },
      answered: () => {
        world.answered++;
      },
      random: () => over.random ?? 0,
    });
  let manager = make();
  const restart = () => {
    manager[Symbol.dispose]();
    manager = make();
  };
  const verdict = (id: ContainerId, type: ProbeType) => manager.view(id, type)?.verdict;
  const id = containers[0] as ContainerId;
  const again = () => runContainer(fake, sandbox, uid, 'c', 1);
  const remove = () => rmSync(root, { recursive: true, force: true });
  const parts = { clock, fake, notes, events, says, asked, world, observe, restart, verdict, id, again };
  return { ...parts, sync: () => manager.sync(uid), manager: () => manager, [Symbol.dispose]: remove };
}

test('readiness is asked at once, then once a period, and a change wakes the pod', async () => {
  using t = await setUp(exec('readiness', { failureThreshold: 2 }));
  t.observe(t.id);
  assert.equal(t.verdict(t.id, 'readiness'), undefined);
  await t.clock.advance(25_000);
  assert.deepEqual(t.asked, ['readiness@0', 'readiness@10', 'readiness@20']);
  assert.equal(t.verdict(t.id, 'readiness'), 'success');
  assert.equal(t.world.wakes, 1);
  t.says['readiness'] = 1;
  await t.clock.advance(10_000);
  assert.equal(t.verdict(t.id, 'readiness'), 'success');
  assert.deepEqual([t.world.wakes, t.world.answered], [1, 2]);
  await t.clock.advance(10_000);
  assert.equal(t.verdict(t.id, 'readiness'), 'failure');
  assert.deepEqual([t.world.wakes, t.world.answered], [2, 2]);
  const line = 'Warning Unhealthy spec.containers{c}: Readiness probe failed: ';
  assert.deepEqual(t.events.lines, [line, line]);
});

test('startup comes first, alone, and lets the others begin', async () => {
  using t = await setUp({ ...exec('startup', { periodSeconds: 2 }), ...exec('liveness'), ...exec('readiness') });
  t.says['startup'] = 1;
  t.observe(t.id);
  await t.clock.advance(3000);
  assert.deepEqual(t.asked, ['startup@0', 'startup@2']);
  t.says['startup'] = 0;
  await t.clock.advance(8000);
  assert.deepEqual(t.asked.slice(2), ['startup@4', 'readiness@4', 'liveness@4']);
});

test('what failed liveness is left alone until there is a new container', async () => {
  using t = await setUp(exec('liveness', { failureThreshold: 2, periodSeconds: 5 }));
  t.says['liveness'] = 1;
  t.observe(t.id);
  await t.clock.advance(60_000);
  assert.deepEqual(t.asked, ['liveness@0', 'liveness@5']);
  assert.equal(t.verdict(t.id, 'liveness'), 'failure');
  const next = await t.again();
  t.observe(next);
  assert.equal(t.verdict(t.id, 'liveness'), undefined);
  await t.clock.advance(1000);
  assert.deepEqual(t.asked.slice(2), ['liveness@60']);
  assert.equal(t.verdict(next, 'liveness'), undefined);
});

test('a sidecar is probed like any other, and its events say where it is', async () => {
  using t = await setUp(exec('startup'), { init: true });
  t.says['startup'] = 1;
  t.observe(t.id);
  await t.clock.advance(0);
  assert.deepEqual(t.events.lines, ['Warning Unhealthy spec.initContainers{c}: Startup probe failed: ']);
});

test('jitter is a part of the period, the initial delay comes before it', async () => {
  using t = await setUp(exec('liveness', { initialDelaySeconds: 3, periodSeconds: 8 }), { random: 0.5 });
  t.observe(t.id);
  await t.clock.advance(20_000);
  assert.deepEqual(t.asked, ['liveness@7', 'liveness@15']);
});

test('when the pod has to end, readiness alone goes on, and ends with the container', async () => {
  using t = await setUp({ ...exec('liveness'), ...exec('readiness') });
  t.observe(t.id);
  await t.clock.advance(1000);
  t.world.terminating = true;
  t.says['liveness'] = 1;
  t.says['readiness'] = 1;
  t.sync();
  await t.clock.advance(30_000);
  assert.deepEqual(t.asked.slice(2), ['readiness@10', 'readiness@20', 'readiness@30']);
  assert.equal(t.verdict(t.id, 'readiness'), 'failure');
  t.observe(t.id, 'exited');
  await t.clock.advance(30_000);
  assert.equal(t.asked.length, 5);
  assert.equal(t.verdict(t.id, 'readiness'), undefined);
});

test('a question under way is called off when nobody wants its answer', async () => {
  using t = await setUp(exec('liveness', { failureThreshold: 1 }));
  t.fake.block('ExecSync');
  t.observe(t.id);
  await t.clock.advance(0);
  t.world.pod = undefined;
  t.sync();
  await t.clock.advance(60_000);
  assert.deepEqual([t.events.lines, t.world.wakes, t.clock.pending], [[], 0, 0]);
});

test('what takes longer than a period leaves questions out', async () => {
  using t = await setUp(exec('readiness', { periodSeconds: 2 }));
  const open = t.fake.block('ExecSync');
  t.observe(t.id);
  await t.clock.advance(5000);
  open();
  await t.clock.advance(4000);
  assert.deepEqual(t.asked, ['readiness@5', 'readiness@6', 'readiness@8']);
});

test('who cannot be asked keeps the verdict', async () => {
  using t = await setUp(exec('readiness', { failureThreshold: 1 }));
  t.observe(t.id);
  await t.clock.advance(0);
  t.fake.injectError('ExecSync', new CriError('ExecSync', 'UNKNOWN', 'no shim'), 3);
  await t.clock.advance(10_000);
  assert.equal(t.verdict(t.id, 'readiness'), 'success');
  const message = 'Readiness probe errored and resulted in unknown state: rpc error: code = Unknown desc = no shim';
  assert.deepEqual(t.events.lines, [`Warning Unhealthy spec.containers{c}: ${message}`]);
  assert.equal(t.manager().last(t.id, 'readiness')?.kind, 'error');
});

const timeout = new CriError('ExecSync', 'DEADLINE_EXCEEDED', 'timeout');

test('a timeout that this process slept through does not count, and the event says so', async () => {
  using t = await setUp(exec('liveness', { failureThreshold: 1, timeoutSeconds: 2 }));
  const open = t.fake.block('ExecSync');
  t.fake.injectError('ExecSync', timeout);
  t.observe(t.id);
  await t.clock.advance(0);
  t.clock.stall(2250);
  open();
  await t.clock.advance(0);
  assert.equal(t.verdict(t.id, 'liveness'), undefined);
  assert.deepEqual(t.events.lines, [
    'Warning ProbeWarning spec.containers{c}: Liveness probe warning: not counted as failed, because keelson could not run for 2s of 2s: command timed out: "liveness" timed out after 2s',
  ]);
  assert.equal(t.manager().last(t.id, 'liveness')?.kind, 'starved');
  t.fake.injectError('ExecSync', timeout);
  await t.clock.advance(10_000);
  assert.equal(t.verdict(t.id, 'liveness'), 'failure');
});

test('a failure that was asked late counts, and the event says how late', async () => {
  using t = await setUp(exec('readiness', { failureThreshold: 1 }));
  t.observe(t.id);
  await t.clock.advance(1000);
  t.says['readiness'] = 1;
  t.clock.stall(15_000);
  await t.clock.advance(0);
  assert.equal(t.verdict(t.id, 'readiness'), 'failure');
  assert.deepEqual(t.events.lines, [
    'Warning Unhealthy spec.containers{c}: Readiness probe failed:  (asked 6s late: this node is short of CPU time)',
  ]);
});

test('a restarted keelson begins with the verdicts of the one before', async () => {
  using t = await setUp({ ...exec('startup'), ...exec('readiness') }, { random: 0.5 });
  t.observe(t.id);
  await t.clock.advance(6000);
  assert.deepEqual(t.notes.get(uid), { probes: { [t.id]: { startup: 'success', readiness: 'success' } } });
  t.restart();
  const startedAt = t.clock.now() - 6000;
  t.observe(t.id, 'running', startedAt);
  assert.deepEqual([t.verdict(t.id, 'startup'), t.verdict(t.id, 'readiness')], ['success', 'success']);
  assert.equal(t.world.wakes, 2);
  await t.clock.advance(10_000);
  assert.deepEqual(t.asked, ['startup@5', 'readiness@5', 'readiness@11']);
  const next = await t.again();
  t.observe(next);
  assert.equal(t.verdict(next, 'readiness'), undefined);
  assert.deepEqual(t.notes.get(uid), { probes: {} });
});

test('nobody asks before the postStart hook is over', async () => {
  using t = await setUp({ ...exec('readiness'), lifecycle: { postStart: { exec: { command: ['hook'] } } } });
  t.observe(t.id);
  await t.clock.advance(30_000);
  assert.deepEqual(t.asked, []);
  t.notes.note(uid, { postStartDone: [t.id] });
  t.sync();
  await t.clock.advance(0);
  assert.deepEqual(t.asked, ['readiness@30']);
});

test('answers are counted', async () => {
  using t = await setUp(exec('readiness', { periodSeconds: 1 }));
  t.observe(t.id);
  await t.clock.advance(2500);
  t.says['readiness'] = 1;
  await t.clock.advance(1000);
  const [only] = t.manager().counts();
  assert.deepEqual(only?.counts, { successful: 3, failed: 1, unknown: 0 });
});
