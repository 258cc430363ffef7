import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentError } from './errors.ts';
import { type Log, silentLog } from './log.ts';
import { Tasks } from './tasks.ts';

function setUp() {
  const errors: object[] = [];
  const log: Log = { ...silentLog, error: (fields) => errors.push(fields) };
  return { tasks: new Tasks(log), errors, stop: new AbortController() };
}

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));

test('all has finished when the signal has aborted and every loop has ended', async () => {
  const { tasks, errors, stop } = setUp();
  const slow = Promise.withResolvers<void>();
  tasks.start('quick', untilAborted(stop.signal));
  tasks.start('slow', slow.promise);
  let over = false;
  const finished = tasks.finished(stop.signal).then(() => {
    over = true;
  });
  stop.abort();
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.equal(over, false);
  slow.resolve();
  await finished;
  assert.deepEqual(errors, []);
});

test('a loop that fails is named and ends everything', async () => {
  const { tasks, errors, stop } = setUp();
  tasks.start('other', untilAborted(stop.signal));
  const failing = Promise.withResolvers<void>();
  tasks.start('lease', failing.promise);
  failing.reject(new AgentError('Broken', 'it broke', { hint: 'mend it' }));
  await assert.rejects(tasks.finished(stop.signal), { code: 'Broken' });
  assert.deepEqual(errors, [{ task: 'lease', err: 'it broke', code: 'Broken', hint: 'mend it' }]);
  stop.abort();
});

test('a failure while the others stop still counts', async () => {
  const { tasks, stop } = setUp();
  const failing = Promise.withResolvers<void>();
  tasks.start('volumes', failing.promise);
  stop.abort();
  const finished = tasks.finished(stop.signal);
  failing.reject(new AgentError('Broken', 'it broke'));
  await assert.rejects(finished, { code: 'Broken' });
});

test('a loop that has nothing to do may end before the others', async () => {
  const { tasks, stop } = setUp();
  tasks.start('nothing to do', Promise.resolve());
  const finished = tasks.finished(stop.signal);
  stop.abort();
  await finished;
});
