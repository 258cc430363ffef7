import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { failureLevel, OutageLog } from './outage-log.ts';
import { ApiConnectionError } from './transport-errors.ts';

function setUp() {
  const said: string[] = [];
  const log: Log = {
    ...silentLog,
    info: (_, message) => void said.push(message),
    warn: (_, message) => void said.push(message),
  };
  const clock = new FakeClock();
  return { said, clock, outage: new OutageLog(log, clock) };
}

const refused = () => new ApiConnectionError('ApiUnreachable', 'refused', { retryable: true });
const gone = 'the API server does not answer; trying on';
const back = 'the API server answers again';

test('an outage is said once, however many notice, and its end too', () => {
  const { said, outage } = setUp();
  for (let part = 0; part < 110; part++) outage.failed(refused());
  outage.answered();
  outage.answered();
  assert.deepEqual(said, [gone, back]);
});

test('a server that comes and goes is complained of once a minute', async () => {
  const { said, clock, outage } = setUp();
  for (let again = 0; again < 3; again++) {
    outage.failed(refused());
    outage.answered();
  }
  assert.deepEqual(said, [gone, back]);
  await clock.advance(60_000);
  outage.failed(refused());
  assert.deepEqual(said, [gone, back, gone]);
});

test('who asked need not say again what the client has said', () => {
  const { said, outage } = setUp();
  const [told, broken] = [refused(), new ApiConnectionError('ApiConnectionLost', 'broke', { retryable: true })];
  outage.failed(told);
  outage.failed(broken);
  outage.failed(new Error('forbidden'));
  assert.deepEqual([failureLevel(told), failureLevel(broken), failureLevel(new Error('x'))], ['debug', 'warn', 'warn']);
  assert.deepEqual(said, [gone]);
});

test('a client that was closed while something was under way is no outage', () => {
  const { said, outage } = setUp();
  const closed = new ApiConnectionError('ApiClientClosed', 'closed');
  outage.failed(closed);
  assert.deepEqual([said, failureLevel(closed)], [[], 'debug']);
});
