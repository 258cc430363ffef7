import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { FakeExec } from './fake-host.ts';
import { SystemdNotifier, takeNotifyEnvironment } from './sd-notify.ts';

const done = async () => ({ stdout: '', stderr: '' });
const never = new AbortController().signal;

function notifier(watchdogMs?: number, programs = { 'systemd-notify': done }) {
  const exec = new FakeExec(programs);
  const clock = new FakeClock();
  const environment = { socket: '/run/notify', ...(watchdogMs === undefined ? {} : { watchdogMs }) };
  return { exec, clock, notifier: new SystemdNotifier({ environment, exec, clock, log: silentLog }) };
}

test('the variables are taken out of the environment, the watchdog only when it is ours', () => {
  const env = { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7', HOME: '/' };
  assert.deepEqual(takeNotifyEnvironment(env, 7), { socket: '/run/n', watchdogMs: 30_000 });
  assert.deepEqual(env, { HOME: '/' });
  const other = { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' };
  assert.deepEqual(takeNotifyEnvironment(other, 7), { socket: '/run/n' });
  assert.equal(takeNotifyEnvironment({}, 7), undefined);
});

test('messages go out one line each', async () => {
  const { exec, notifier: n } = notifier();
  await n.ready('2 pods\nrunning', never);
  await n.stopping(never);
  assert.deepEqual(exec.calls, ['systemd-notify READY=1 STATUS=2 pods running', 'systemd-notify STOPPING=1']);
});

test('the watchdog is fed three times per period, and not while unhealthy', async () => {
  const { exec, clock, notifier: n } = notifier(30_000);
  const controller = new AbortController();
  let healthy = true;
  const running = n.runWatchdog(() => healthy, controller.signal);
  await clock.advance(20_000);
  assert.equal(exec.calls.length, 3);
  healthy = false;
  await clock.advance(60_000);
  assert.equal(exec.calls.length, 3);
  controller.abort();
  await running;
});

test('without systemd, or without its program, nothing happens and nothing fails', async () => {
  const exec = new FakeExec();
  const n = new SystemdNotifier({ environment: undefined, exec, clock: new FakeClock(), log: silentLog });
  await n.ready('x', never);
  await n.runWatchdog(() => true, never);
  assert.deepEqual(exec.calls, []);
  await new SystemdNotifier({
    environment: { socket: '/run/notify' },
    exec,
    clock: new FakeClock(),
    log: silentLog,
  }).ready('x', never);
});
