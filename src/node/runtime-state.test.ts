import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StatusResponse } from '../api/cri.ts';
import { CriError } from '../cri/services.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { RuntimeMonitor } from './runtime-state.ts';

/** A runtime that answers what it is told to, or not at all. */
class Runtime {
  response: StatusResponse | undefined;
  versionNumber = '1.6.20';

  async status(): Promise<StatusResponse> {
    if (!this.response) throw new CriError('Status', 'UNAVAILABLE', 'connection refused');
    return this.response;
  }

  async version() {
    return { runtimeName: 'containerd', runtimeVersion: this.versionNumber };
  }
}

const answer = (network: boolean): StatusResponse => ({
  status: {
    conditions: [
      { type: 'RuntimeReady', status: true },
      { type: 'NetworkReady', status: network, reason: 'NetworkPluginNotReady', message: 'no' },
    ],
  },
});

function setUp() {
  const runtime = new Runtime();
  const clock = new FakeClock();
  const changes: string[] = [];
  const monitor = new RuntimeMonitor({
    runtime,
    clock,
    log: silentLog,
    onChange: () => changes.push(monitor.problems().join() || 'ready'),
  });
  const controller = new AbortController();
  const running = monitor.run(controller.signal);
  const stop = () => {
    controller.abort();
    return running;
  };
  return { runtime, clock, changes, monitor, stop };
}

test('readiness is told when it changes, and only then', async () => {
  const { runtime, clock, changes, monitor, stop } = setUp();
  await clock.advance(2_500);
  runtime.response = answer(false);
  await clock.advance(2_500);
  runtime.response = answer(true);
  await clock.advance(60_000);
  assert.deepEqual(changes, [
    'container runtime is down: connection refused',
    'container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:no',
    'ready',
  ]);
  assert.equal(monitor.state().version, '1.6.20');
  await stop();
});

test('a runtime that restarts within 30 s changes nothing; one that stays away does, and so does a new version', async () => {
  const { runtime, clock, changes, monitor, stop } = setUp();
  runtime.response = answer(true);
  await clock.advance(10_000);
  runtime.response = undefined;
  await clock.advance(20_000);
  runtime.response = answer(true);
  await clock.advance(10_000);
  const before = changes.length;
  runtime.response = undefined;
  await clock.advance(60_000);
  assert.deepEqual(changes.slice(before), ['container runtime is down: connection refused']);
  runtime.versionNumber = '2.0.0';
  runtime.response = answer(true);
  await clock.advance(1_000);
  assert.deepEqual(changes.slice(before), ['container runtime is down: connection refused', 'ready']);
  assert.equal(monitor.state().version, '2.0.0');
  await stop();
});
