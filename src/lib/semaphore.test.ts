import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Semaphore } from './semaphore.ts';

const forever = new AbortController().signal;
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Starts works by name, tells which have begun, and lets each end when the test says so. */
class Works {
  readonly begun: string[] = [];
  readonly #ends = new Map<string, PromiseWithResolvers<string>>();
  readonly #semaphore: Semaphore;

  constructor(limit: number) {
    this.#semaphore = new Semaphore(limit);
  }

  start(name: string, signal = forever): Promise<string> {
    const end = Promise.withResolvers<string>();
    this.#ends.set(name, end);
    return this.#semaphore.run(signal, () => {
      this.begun.push(name);
      return end.promise;
    });
  }

  async end(name: string, error?: Error): Promise<void> {
    const end = this.#ends.get(name);
    if (error) end?.reject(error);
    else end?.resolve(name);
    await settled();
  }
}

test('no more than the limit run at a time, and the others follow in order', async () => {
  const works = new Works(2);
  const all = Promise.all(['a', 'b', 'c', 'd'].map((name) => works.start(name)));
  await settled();
  assert.deepEqual(works.begun, ['a', 'b']);
  await works.end('b');
  assert.deepEqual(works.begun, ['a', 'b', 'c']);
  await works.end('a');
  await works.end('c');
  await works.end('d');
  assert.deepEqual(await all, ['a', 'b', 'c', 'd']);
});

test('a work that fails gives its place to the next', async () => {
  const works = new Works(1);
  const failing = assert.rejects(works.start('a'), /broken/);
  const next = works.start('b');
  await works.end('a', new Error('broken'));
  await works.end('b');
  await failing;
  assert.equal(await next, 'b');
});

test('whoever gives up waiting leaves the queue and takes no place', async () => {
  const works = new Works(1);
  const caller = new AbortController();
  const first = works.start('a');
  const given = assert.rejects(works.start('b', caller.signal), { name: 'AbortError' });
  const last = works.start('c');
  caller.abort();
  await given;
  await works.end('a');
  assert.deepEqual(works.begun, ['a', 'c']);
  await works.end('c');
  assert.deepEqual(await Promise.all([first, last]), ['a', 'c']);
  const again = works.start('d');
  await works.end('d');
  assert.equal(await again, 'd');
});

test('a work whose caller has left before is not begun', async () => {
  const works = new Works(1);
  await assert.rejects(works.start('a', AbortSignal.abort()), { name: 'AbortError' });
  assert.deepEqual(works.begun, []);
});

test('an endless limit lets everything run', async () => {
  const works = new Works(Number.POSITIVE_INFINITY);
  const all = ['a', 'b', 'c'].map((name) => works.start(name));
  await settled();
  assert.deepEqual(works.begun, ['a', 'b', 'c']);
  for (const name of works.begun) await works.end(name);
  await Promise.all(all);
});
