import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { CachedQuestions } from './cached-questions.ts';

const { signal } = new AbortController();

test('a flood of questions is refused beyond a bound, asks few at a time, and leaves nothing', async () => {
  const gate = Promise.withResolvers<void>();
  let asking = 0;
  let most = 0;
  const questions = new CachedQuestions<string, string>({
    ask: async (question) => {
      most = Math.max(most, ++asking);
      await gate.promise;
      asking--;
      return question;
    },
    ttl: () => 1,
    clock: new FakeClock(),
  });
  const flood = Array.from({ length: 1000 }, (_, i) => questions.answer(`${i}`, `${i}`, signal));
  const settled = Promise.allSettled(flood);
  gate.resolve();
  const refused = (await settled).filter((result) => result.status === 'rejected');
  assert.equal(refused.length, 1000 - 16 - 256);
  assert.equal(most, 16);
  assert.equal(await questions.answer('again', 'again', signal), 'again');
});

test('questions end with the server', async () => {
  const life = new AbortController();
  const questions = new CachedQuestions<string, string>({
    ask: (_question, until) => new Promise((_, reject) => until.addEventListener('abort', () => reject(until.reason))),
    ttl: () => 1,
    clock: new FakeClock(),
  });
  const answers = Array.from({ length: 20 }, (_, i) => questions.answer(`${i}`, `${i}`, life.signal));
  await new Promise((resolve) => setImmediate(resolve));
  life.abort();
  const results = await Promise.allSettled(answers);
  assert.ok(results.every((result) => result.status === 'rejected' && result.reason.name === 'AbortError'));
});
