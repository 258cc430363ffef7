import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExpiringCache } from './expiring-cache.ts';

test('a value counts until its time, and is forgotten then', () => {
  const cache = new ExpiringCache<string>(10);
  cache.set('a', 'x', 100);
  assert.equal(cache.get('a', 99), 'x');
  assert.equal(cache.get('a', 100), undefined);
  assert.equal(cache.size, 0);
});

test('the oldest goes when there is no room; one set anew is young again', () => {
  const cache = new ExpiringCache<number>(2);
  cache.set('a', 1, 100);
  cache.set('b', 2, 100);
  cache.set('a', 3, 100);
  cache.set('c', 4, 100);
  assert.deepEqual(
    ['a', 'b', 'c'].map((key) => cache.get(key, 0)),
    [3, undefined, 4],
  );
  assert.equal(cache.size, 2);
});
