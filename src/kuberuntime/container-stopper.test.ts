import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LifecycleHandler, Pod } from '../api/core-v1.ts';
import { containerId, podUid } from '../api/ids.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { CriError } from '../cri/services.ts';
import { FakeEventSink } from '../kubeapi/fake-event-sink.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { runPod, testImage } from '../testing/runtime-pods.ts';
import { ContainerStopper, type StopRequest, storedTarget } from './container-stopper.ts';
import { HookRunner } from './hooks.ts';

const signal = new AbortController().signal;
const exec: LifecycleHandler = { exec: { command: ['bye'] } };
const sleep = (seconds: number): LifecycleHandler => ({ sleep: { seconds } });

async function setUp(preStop?: LifecycleHandler) {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [testImage] });
  const events = new FakeEventSink();
  const { runtime } = fake;
  const hooks = new HookRunner({ runtime, clock, events });
  const stopper = new ContainerStopper({ runtime, hooks, clock, events, log: silentLog });
  const { containers } = await runPod(fake, podUid('u1'), ['c']);
  const id = containerId(containers[0] ?? '');
  const container = { name: 'c', ...(preStop ? { lifecycle: { preStop } } : {}) };
  const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid: 'u1' }, spec: { containers: [container] } };
  const request = (gracePeriodSeconds: number, over: Partial<StopRequest> = {}): StopRequest => ({
    pod,
    kill: { id, name: 'c', reason: 'Terminating', message: 'Stopping container c', gracePeriodSeconds },
    target: { pod, container, id, podIP: undefined },
    ...over,
  });
  fake.calls.length = 0;
  const stop = (grace: number, over?: Partial<StopRequest>, abort = signal) =>
    stopper.stop(request(grace, over), abort);
  /** What the runtime was asked for: 'exec' and 'stop <seconds>'. */
  const asked = () =>
    fake.calls.map(({ method, args }) => (method === 'StopContainer' ? `stop ${args[1]}` : method.toLowerCase()));
  return { clock, fake, events, stop, asked };
}

const killing = 'Normal Killing spec.containers{c}: Stopping container c';
const hookFailed = 'Warning FailedPreStopHook spec.containers{c}: PreStopHook failed';

test('a container without a hook gets all of its grace period', async () => {
  const { events, stop, asked } = await setUp();
  await stop(30);
  assert.deepEqual([asked(), events.lines], [['stop 30'], [killing]]);
});

test('two seconds it always gets', async () => {
  const { stop, asked } = await setUp();
  await stop(1);
  await stop(0);
  assert.deepEqual(asked(), ['stop 2', 'stop 2']);
});

test('the hook comes first, and its time is taken from the grace period', async () => {
  const { clock, events, stop, asked } = await setUp(sleep(4));
  const stopped = stop(30);
  await clock.advance(3999);
  assert.deepEqual(asked(), []);
  await clock.advance(1);
  await stopped;
  assert.deepEqual([asked(), events.lines], [['stop 26'], [killing]]);
});

test('without any grace there is no hook', async () => {
  const { stop, asked } = await setUp(exec);
  await stop(0);
  assert.deepEqual(asked(), ['stop 2']);
});

test('a hook that fails is told, and the container stopped all the same', async () => {
  const { fake, events, stop, asked } = await setUp(exec);
  fake.exec = () => ({ exitCode: 1, stderr: Buffer.from('secret') });
  await stop(30);
  assert.deepEqual(
    [asked(), events.lines],
    [
      ['execsync', 'stop 30'],
      [killing, hookFailed],
    ],
  );
});

test('a hook may not take longer than the grace period', async () => {
  const { clock, fake, events, stop, asked } = await setUp(exec);
  fake.block('ExecSync');
  const stopped = stop(30);
  await clock.advance(30_000);
  await stopped;
  assert.deepEqual(
    [asked(), events.lines],
    [
      ['execsync', 'stop 2'],
      [killing, hookFailed],
    ],
  );
});

test('a sleep that is cut short is no failure', async () => {
  const { clock, events, stop, asked } = await setUp(sleep(60));
  const stopped = stop(30);
  await clock.advance(30_000);
  await stopped;
  assert.deepEqual([asked(), events.lines], [['stop 2'], [killing]]);
});

test('a container waits for its turn, after its hook, and has what is left then', async () => {
  const { clock, stop, asked } = await setUp(sleep(4));
  const turn = Promise.withResolvers<void>();
  const stopped = stop(30, { turn: () => turn.promise });
  await clock.advance(10_000);
  assert.deepEqual(asked(), []);
  turn.resolve();
  await stopped;
  assert.deepEqual(asked(), ['stop 20']);
});

test('a turn that never comes ends with the grace period', async () => {
  const { clock, stop, asked } = await setUp();
  const stopped = stop(30, { turn: () => new Promise(() => {}) });
  await clock.advance(30_000);
  await stopped;
  assert.deepEqual(asked(), ['stop 2']);
});

test('a shorter grace period cuts the hook off and runs it within that', async () => {
  const { clock, events, stop, asked } = await setUp(sleep(60));
  const abort = new AbortController();
  const first = stop(30, {}, abort.signal);
  await clock.advance(1000);
  abort.abort();
  await assert.rejects(first, { name: 'AbortError' });
  const second = stop(5);
  await clock.advance(5000);
  await second;
  assert.deepEqual([asked(), events.lines], [['stop 2'], [killing, killing]]);
});

test('a hook that is over is not run again when the stop is', async () => {
  const { fake, stop, asked } = await setUp(exec);
  fake.injectError('StopContainer', new CriError('StopContainer', 'UNAVAILABLE', 'gone'));
  await assert.rejects(stop(30), { code: 'CriUNAVAILABLE' });
  await stop(30);
  assert.deepEqual(asked(), ['execsync', 'stop 30', 'stop 30']);
});

test('of a pod that nobody knows the hook is found with the container, and nobody is told', async () => {
  const { events, stop, asked } = await setUp();
  const target = storedTarget(
    {
      id: 'x',
      labels: { 'io.kubernetes.container.name': 'c', 'io.kubernetes.pod.name': 'p' },
      annotations: {
        'io.kubernetes.container.preStopHandler': '{"sleep":{"seconds":0}}',
        'io.kubernetes.container.ports': '[{"name":"web","containerPort":80}]',
      },
    },
    '10.0.0.1',
  );
  assert.deepEqual(target.container, {
    name: 'c',
    ports: [{ name: 'web', containerPort: 80 }],
    lifecycle: { preStop: { sleep: { seconds: 0 } } },
  });
  await stop(30, { pod: undefined, target: { ...target, container: { name: 'c' } } });
  assert.deepEqual([asked(), events.lines], [['stop 30'], []]);
});

test('rubbish stored with a container is no hook', () => {
  const annotations = { 'io.kubernetes.container.preStopHandler': '{"sleep"' };
  assert.deepEqual(storedTarget({ annotations }, undefined).container, { name: '' });
});
