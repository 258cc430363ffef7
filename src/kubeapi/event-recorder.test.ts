import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Event, ObjectReference } from '../api/core-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { EventRecorder, LogEventSink } from './event-recorder.ts';
import { FakeKubeApi } from './fake-kubeapi.ts';
import { ApiError } from './kube-api.ts';
import { events } from './resources.ts';
import { ApiConnectionError } from './transport-errors.ts';

const never = new AbortController().signal;
const pod: ObjectReference = { apiVersion: 'v1', kind: 'Pod', namespace: 'ns', name: 'web', uid: 'u1' };
const down = () => new ApiConnectionError('ApiUnreachable', 'refused', { retryable: true });

class Scene implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly api = new FakeKubeApi(this.clock);
  readonly logged: string[] = [];
  readonly recorder: EventRecorder;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(limits: { qps?: number; burst?: number } = {}) {
    const log: Log = { ...silentLog, warn: (_, message) => this.logged.push(message) };
    this.recorder = new EventRecorder({
      api: this.api,
      component: 'kubelet',
      host: 'node-a',
      clock: this.clock,
      log,
      qps: 0,
      ...limits,
    });
  }

  async settle(ms = 0): Promise<void> {
    this.#running ??= this.recorder.run(this.#stop.signal);
    // Every event takes a few turns of the loop: queue, write, remember.
    for (let turn = 0; turn < 60; turn++) await this.clock.advance(0);
    await this.clock.advance(ms);
    for (let turn = 0; turn < 60; turn++) await this.clock.advance(0);
  }

  async stored(): Promise<readonly Event[]> {
    return (await this.api.list(events, {}, never)).items;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

describe('EventRecorder', () => {
  it('posts an event as the kubelet would', async () => {
    await using scene = new Scene();
    scene.recorder.event({ ...pod, fieldPath: 'spec.containers{c}' }, 'Normal', 'Started', 'Container started');
    await scene.settle();
    const [event] = await scene.stored();
    assert.match(event?.metadata.name ?? '', /^web\.[0-9a-f]{16}$/);
    const { metadata: _, ...rest } = event ?? ({} as Event);
    assert.deepEqual(rest, {
      apiVersion: 'v1',
      kind: 'Event',
      involvedObject: { ...pod, fieldPath: 'spec.containers{c}' },
      reason: 'Started',
      message: 'Container started',
      type: 'Normal',
      source: { component: 'kubelet', host: 'node-a' },
      firstTimestamp: '2026-01-01T00:00:00Z',
      lastTimestamp: '2026-01-01T00:00:00Z',
      count: 1,
      reportingComponent: 'kubelet',
      reportingInstance: 'node-a',
    });
  });

  it("puts a node's events into the default namespace", async () => {
    await using scene = new Scene();
    scene.recorder.event({ kind: 'Node', name: 'node-a', uid: 'node-a' }, 'Normal', 'Starting', 'Starting kubelet.');
    await scene.settle();
    assert.equal((await scene.stored())[0]?.metadata.namespace, 'default');
  });

  it('raises the count of the same event', async () => {
    await using scene = new Scene();
    for (let i = 0; i < 3; i++) {
      scene.recorder.event(pod, 'Warning', 'BackOff', 'Back-off restarting failed container');
      await scene.settle(60_000);
    }
    const stored = await scene.stored();
    assert.deepEqual(
      stored.map(({ count, firstTimestamp, lastTimestamp }) => ({ count, firstTimestamp, lastTimestamp })),
      [{ count: 3, firstTimestamp: '2026-01-01T00:00:00Z', lastTimestamp: '2026-01-01T00:02:00Z' }],
    );
  });

  it('posts the event anew when the one to count up has expired', async () => {
    await using scene = new Scene();
    scene.recorder.event(pod, 'Warning', 'BackOff', 'm');
    await scene.settle(1000);
    const [first] = await scene.stored();
    await scene.api.delete(events, { namespace: 'ns', name: first?.metadata.name ?? '' }, {}, never);
    for (let i = 0; i < 2; i++) {
      scene.recorder.event(pod, 'Warning', 'BackOff', 'm');
      await scene.settle(1000);
    }
    const stored = await scene.stored();
    assert.deepEqual(
      stored.map(({ count }) => count),
      [3],
    );
    assert.notEqual(stored[0]?.metadata.name, first?.metadata.name);
  });

  it('combines more than ten similar events', async () => {
    await using scene = new Scene();
    for (let i = 1; i <= 14; i++) scene.recorder.event(pod, 'Warning', 'Unhealthy', `probe failed: ${i}`);
    await scene.settle();
    const stored = await scene.stored();
    assert.equal(stored.length, 10);
    const combined = stored.filter(({ message }) => message.startsWith('(combined'));
    assert.deepEqual(
      combined.map(({ message, count }) => ({ message, count })),
      [{ message: '(combined from similar events): probe failed: 14', count: 5 }],
    );
  });

  it('lets one object post 25 events and then one every five minutes', async () => {
    await using scene = new Scene();
    for (let i = 0; i < 40; i++) scene.recorder.event(pod, 'Normal', `Reason${i}`, 'm');
    scene.recorder.event({ ...pod, name: 'other', uid: 'u2' }, 'Normal', 'Reason', 'm');
    await scene.settle(300_000);
    assert.equal((await scene.stored()).filter((event) => event.involvedObject.name === 'web').length, 25);
    assert.equal((await scene.stored()).length, 26, 'another object has an allowance of its own');
    scene.recorder.event(pod, 'Normal', 'Later', 'm');
    await scene.settle();
    assert.equal((await scene.stored()).length, 27);
  });

  it('keeps to the rate', async () => {
    await using scene = new Scene({ qps: 1, burst: 2 });
    for (let i = 0; i < 5; i++) scene.recorder.event(pod, 'Normal', `Reason${i}`, 'm');
    await scene.settle();
    assert.equal((await scene.stored()).length, 2);
    await scene.settle(1000);
    assert.equal((await scene.stored()).length, 3);
  });

  it('tries on while the server is away and says so once', async () => {
    await using scene = new Scene();
    scene.api.injectError('create', 'events', down(), 5);
    scene.recorder.event(pod, 'Normal', 'Started', 'm');
    for (let i = 0; i < 5; i++) await scene.settle(10_000);
    assert.equal((await scene.stored()).length, 1);
    assert.deepEqual(scene.logged, ['cannot post events; trying on']);
  });

  it('gives an event up after twelve tries', async () => {
    await using scene = new Scene();
    scene.api.injectError('create', 'events', down(), 12);
    scene.recorder.event(pod, 'Normal', 'Started', 'm');
    for (let i = 0; i < 13; i++) await scene.settle(10_000);
    assert.equal((await scene.stored()).length, 0);
    assert.equal(scene.api.calls.filter((call) => call.startsWith('create')).length, 12);
  });

  it('does not repeat an event that the server refuses', async () => {
    await using scene = new Scene();
    scene.api.injectError('create', 'events', new ApiError(422, { reason: 'Invalid', message: 'no' }));
    scene.recorder.event(pod, 'Normal', 'Started', 'm');
    scene.recorder.event(pod, 'Normal', 'Other', 'm');
    await scene.settle(20_000);
    assert.deepEqual(
      (await scene.stored()).map(({ reason }) => reason),
      ['Other'],
    );
  });

  it('drops the oldest when too many wait, with one line in the log', async () => {
    await using scene = new Scene();
    for (let i = 0; i < 1005; i++) scene.recorder.event({ ...pod, uid: `u${i}` }, 'Normal', 'R', `${i}`);
    assert.deepEqual(scene.logged, ['too many events are waiting; dropping the oldest']);
    for (let i = 0; i < 60; i++) await scene.settle();
    const messages = (await scene.stored()).map(({ message }) => Number(message));
    assert.deepEqual([messages.length, Math.min(...messages)], [1000, 5]);
  });
});

describe('LogEventSink', () => {
  it('logs warnings as warnings', () => {
    const lines: unknown[] = [];
    const log: Log = { ...silentLog, info: (f) => lines.push(['info', f]), warn: (f) => lines.push(['warn', f]) };
    const sink = new LogEventSink(log);
    sink.event(pod, 'Normal', 'Started', 'm');
    sink.event(pod, 'Warning', 'Failed', 'm');
    assert.deepEqual(
      lines.map((line) => (line as unknown[])[0]),
      ['info', 'warn'],
    );
  });
});

it('the first event after a quiet time waits a while, and what follows goes with it', async () => {
  const clock = new FakeClock();
  const api = new FakeKubeApi(clock);
  const recorder = new EventRecorder({ api, component: 'kubelet', host: 'n', clock, log: silentLog, lingerMs: 1000 });
  const stop = new AbortController();
  const running = recorder.run(stop.signal);
  const about = { kind: 'Pod', name: 'p', namespace: 'default', uid: 'u' };
  await clock.advance(0);
  recorder.event(about, 'Normal', 'Pulled', 'one');
  await clock.advance(900);
  recorder.event(about, 'Normal', 'Created', 'two');
  const posted = async () => (await api.list(events, {}, stop.signal)).items.map((e) => e.reason).sort();
  assert.deepEqual(await posted(), []);
  await clock.advance(100);
  assert.deepEqual(await posted(), ['Created', 'Pulled']);
  stop.abort();
  await running;
});
