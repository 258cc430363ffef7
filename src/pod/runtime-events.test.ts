import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as cri from '../api/cri.ts';
import { podUid } from '../api/ids.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { CriError } from '../cri/services.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { runPod, testImage } from '../testing/runtime-pods.ts';
import { Pleg } from './pleg.ts';
import { PodCache } from './pod-cache.ts';
import { RuntimeEvents } from './runtime-events.ts';

const u1 = podUid('u1');
const unimplemented = () => new CriError('Subscribe', 'UNIMPLEMENTED', 'unknown service');

interface Host {
  /** Whether the runtime's CRI has a stream. */
  readonly cri?: boolean;
  /** Whether it has containerd's own. */
  readonly containerd?: boolean;
}

function setUp({ cri = false, containerd = true }: Host) {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [testImage], events: cri });
  const said: string[] = [];
  const log: Log = { ...silentLog, info: (fields) => said.push((fields as { how: string }).how) };
  const cache = new PodCache();
  const terminationMessage = async () => '';
  const pleg = new Pleg({ runtime: fake.runtime, cache, clock, log, wake: () => {}, terminationMessage });
  const subscriptions: number[] = [];
  const events = new RuntimeEvents({
    runtime: fake.runtime,
    pleg,
    containerdEvents: (signal) => {
      subscriptions.push(clock.monotonic());
      if (!containerd) throw unimplemented();
      return fake.taskEvents(signal);
    },
    clock,
    log,
  });
  const end = new AbortController();
  return { clock, fake, cache, pleg, events, said, subscriptions, end, signal: end.signal };
}

/** Milliseconds after `act` at which the pod was looked at. */
async function looksAfter(act: () => unknown, { clock, fake }: ReturnType<typeof setUp>): Promise<number[]> {
  await act();
  const from = clock.monotonic();
  const at: number[] = [];
  for (let ms = 0; ms <= 400; ms += 10) {
    fake.calls.length = 0;
    await clock.advance(ms === 0 ? 0 : 10);
    await clock.advance(0);
    if (fake.methods(true).includes('ListContainers')) at.push(clock.monotonic() - from);
  }
  return at;
}

const hosts: Record<string, Host> = {
  "the CRI's own stream": { cri: true },
  "containerd's, where the CRI has none": { cri: false },
};

for (const [sentence, host] of Object.entries(hosts)) {
  test(`an exit is looked at once when the runtime knows of it: ${sentence}`, async () => {
    const o = setUp(host);
    const { containers } = await runPod(o.fake, u1, ['a']);
    await o.pleg.relist(o.signal);
    const run = o.events.run(o.signal);
    await o.clock.advance(2000);
    assert.deepEqual(await looksAfter(() => o.fake.exitContainer(containers[0] ?? '', 1), o), [0]);
    assert.equal(o.cache.get(u1)?.containers[0]?.state, 'exited');
    o.end.abort();
    await run;
  });

  test(`a start is our own doing and no look: ${sentence}`, async () => {
    const o = setUp(host);
    const run = o.events.run(o.signal);
    await o.clock.advance(2000);
    assert.deepEqual(await looksAfter(() => runPod(o.fake, u1, ['a']), o), []);
    o.end.abort();
    await run;
  });

  test(`a stream that stands flows, also while nothing happens: ${sentence}`, async () => {
    const o = setUp(host);
    assert.equal(o.events.flowing, false);
    const run = o.events.run(o.signal);
    await o.clock.advance(2000);
    assert.equal(o.events.flowing, true);
    o.end.abort();
    await run;
    assert.equal(o.events.flowing, false);
  });
}

/** The CRI side of the runtime knows of ends only so many milliseconds after its events have told of them. */
function lagBehind({ fake, clock }: ReturnType<typeof setUp>, ms: number): void {
  const list = fake.runtime.listContainers.bind(fake.runtime);
  const { CONTAINER_EXITED, CONTAINER_RUNNING } = cri.ContainerState;
  const since = new Map<string, number>();
  Object.assign(fake.runtime, {
    listContainers: async (filter: cri.ContainerFilter, signal: AbortSignal) =>
      (await list(filter, signal)).map((c) => {
        if (c.state !== CONTAINER_EXITED) return c;
        const first = since.get(c.id ?? '') ?? clock.monotonic();
        since.set(c.id ?? '', first);
        return clock.monotonic() - first < ms ? { ...c, state: CONTAINER_RUNNING } : c;
      }),
  });
}

test('while the runtime does not know yet of an exit it is looked at again soon, and not much longer', async () => {
  const table: Record<number, readonly number[]> = {
    0: [0],
    30: [0, 20, 30],
    90: [0, 20, 30, 40, 50, 70, 100],
    5000: [0, 20, 30, 40, 50, 70, 100, 150, 250],
  };
  for (const [lag, looks] of Object.entries(table)) {
    const o = setUp({});
    const { containers } = await runPod(o.fake, u1, ['a']);
    await o.pleg.relist(o.signal);
    const run = o.events.run(o.signal);
    await o.clock.advance(2000);
    lagBehind(o, Number(lag));
    assert.deepEqual(await looksAfter(() => o.fake.exitContainer(containers[0] ?? '', 1), o), looks, `${lag} ms`);
    o.end.abort();
    await run;
  }
});

test('a second exit during the looks is waited for as well', async () => {
  const o = setUp({});
  const { containers } = await runPod(o.fake, u1, ['a', 'b']);
  await o.pleg.relist(o.signal);
  const run = o.events.run(o.signal);
  await o.clock.advance(2000);
  lagBehind(o, 40);
  const looks = await looksAfter(async () => {
    o.fake.exitContainer(containers[0] ?? '', 1);
    await o.clock.advance(20);
    o.fake.exitContainer(containers[1] ?? '', 1);
  }, o);
  assert.deepEqual(looks, [10, 20, 30, 50]);
  assert.deepEqual(
    o.cache.get(u1)?.containers.map((c) => c.state),
    ['exited', 'exited'],
  );
  o.end.abort();
  await run;
});

test('a runtime without any stream is asked again every minute, and that is said once', async () => {
  const o = setUp({ containerd: false });
  const run = o.events.run(o.signal);
  await o.clock.advance(5 * 61_000);
  assert.equal(o.events.flowing, false);
  assert.equal(o.subscriptions.length, 5);
  assert.deepEqual(o.said, ['from the event stream of containerd', 'by relisting every second']);
  o.end.abort();
  await run;
});

test('a stream that breaks is subscribed again after a delay, and does not flow meanwhile', async () => {
  const clock = new FakeClock();
  const o = setUp({});
  const streams: PromiseWithResolvers<void>[] = [];
  const events = new RuntimeEvents({
    ...{ runtime: o.fake.runtime, pleg: o.pleg, clock, log: silentLog },
    containerdEvents: async function* () {
      const stream = Promise.withResolvers<void>();
      streams.push(stream);
      yield { topic: '/tasks/start', containerId: 'x' };
      await stream.promise;
    },
  });
  const run = events.run(o.signal);
  await clock.advance(500);
  assert.deepEqual([streams.length, events.flowing], [1, true]);
  streams[0]?.reject(new CriError('Subscribe', 'UNAVAILABLE', 'connection lost'));
  await clock.advance(499);
  assert.deepEqual([streams.length, events.flowing], [1, false]);
  await clock.advance(1);
  assert.deepEqual([streams.length, events.flowing], [2, true]);
  o.end.abort();
  streams[1]?.reject(o.signal.reason);
  await run;
});

test('an event about nobody we know is no look', async () => {
  const o = setUp({});
  const { containers } = await runPod(o.fake, u1, ['a']);
  const run = o.events.run(o.signal);
  await o.clock.advance(2000);
  assert.deepEqual(await looksAfter(() => o.fake.exitContainer(containers[0] ?? '', 1), o), []);
  o.end.abort();
  await run;
});
