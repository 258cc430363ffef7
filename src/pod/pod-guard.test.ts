import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podUid } from '../api/ids.ts';
import { silentLog } from '../lib/log.ts';
import { PodGuard } from './pod-guard.ts';

test('an error of a pod is its own, and said once until it changes or goes', () => {
  const said: object[] = [];
  const error = (fields: object, message: string) => said.push({ ...fields, message });
  const guard = new PodGuard({ ...silentLog, error }, 'cannot decide');
  const [odd, sound] = [podUid('odd'), podUid('sound')];
  const fail = (message: string) => () => {
    throw new Error(message);
  };
  assert.equal(guard.run(odd, fail('a')), undefined);
  assert.equal(guard.run(odd, fail('a')), undefined);
  assert.equal(
    guard.run(sound, () => 1),
    1,
  );
  guard.run(odd, fail('b'));
  guard.run(odd, () => {});
  guard.run(odd, fail('b'));
  guard.forget(odd);
  guard.run(odd, fail('b'));
  const lines = ['a', 'b', 'b', 'b'].map((err) => ({ podUid: odd, err, message: 'cannot decide of a pod' }));
  assert.deepEqual(
    said.map((line) => ({ ...line, code: undefined })),
    lines.map((line) => ({ ...line, code: undefined })),
  );
});
