import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aborted, orAborted } from './aborted.ts';

test('an abort is waited for, and one that has been is over at once', async () => {
  const stop = new AbortController();
  const waiting = [aborted(stop.signal), orAborted(new Promise(() => {}), stop.signal)];
  stop.abort();
  await Promise.all(waiting);
  await aborted(stop.signal);
  await orAborted(new Promise(() => {}), stop.signal);
});

test('what comes before the abort counts, a failure too', async () => {
  const { signal } = new AbortController();
  await orAborted(Promise.resolve(), signal);
  await assert.rejects(orAborted(Promise.reject(new Error('no')), signal), /no/);
});
