import assert from 'node:assert/strict';
import { test } from 'node:test';
import { healthAnswer } from './healthz.ts';

const well = { name: 'ping', problem: () => undefined };
const ill = { name: 'syncloop', problem: () => 'nothing has moved for 3m' };

test('what is said of health', () => {
  const table: Record<string, [boolean, string, number | undefined, string?]> = {
    'all is well': [true, '/healthz', 200, 'ok'],
    'all is well, with a slash': [true, '/healthz/', 200, 'ok'],
    'all is well, at length': [true, '/healthz?verbose', 200, '[+]ping ok\n[+]syncloop ok\nhealthz check passed\n'],
    'one thing is wrong': [
      false,
      '/healthz',
      500,
      '[+]ping ok\n[-]syncloop failed: nothing has moved for 3m\nhealthz check failed\n',
    ],
    'somebody does not care': [false, '/healthz?exclude=syncloop', 200, 'ok'],
    'somebody does not care and wants to know all the same': [
      false,
      '/healthz?exclude=syncloop&verbose=1',
      200,
      '[+]ping ok\n[+]syncloop excluded: ok\nhealthz check passed\n',
    ],
    'one check that is well': [false, '/healthz/ping', 200, 'ok'],
    'one check that is not': [false, '/healthz/syncloop', 500, 'internal server error: nothing has moved for 3m\n'],
    'no such check': [true, '/healthz/moon', undefined],
    'no such path': [true, '/healthzz', undefined],
  };
  for (const [sentence, [good, target, status, text]] of Object.entries(table)) {
    const [path = '', query = ''] = target.split('?');
    const checks = [well, good ? { ...ill, problem: () => undefined } : ill];
    const answer = healthAnswer(checks, path, new URLSearchParams(query));
    assert.deepEqual(answer, status === undefined ? undefined : { status, text }, sentence);
  }
});
