import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../lib/log.ts';
import { Complaints } from './complaints.ts';

function setUp() {
  const said: unknown[] = [];
  const complaints = new Complaints({ ...silentLog, warn: (fields) => said.push(fields) });
  const found = (finder: string, about: string, ...texts: readonly string[]) =>
    complaints.found(
      finder,
      texts.map((text) => ({ about, text })),
      'bad',
    );
  return { said, found };
}

test('a fault is said once, however often and by however many it is found', () => {
  const { said, found } = setUp();
  found('IPv4', 'Service d/a', 'x');
  found('IPv4', 'Service d/a', 'x');
  found('IPv6', 'Service d/a', 'x');
  assert.deepEqual(said, [{ about: 'Service d/a', details: 'x' }]);
});

test('the same fault of another object is another one, and so is another fault', () => {
  const { said, found } = setUp();
  found('1', 'Service d/a', 'x');
  found('2', 'Service d/b', 'x');
  found('1', 'Service d/a', 'x', 'y', 'z');
  assert.deepEqual(said.slice(1), [
    { about: 'Service d/b', details: 'x' },
    { about: 'Service d/a', details: 'y; z' },
  ]);
});

test('a fault that comes back after all have found it mended is said again', () => {
  const { said, found } = setUp();
  found('IPv4', 'Service d/a', 'x');
  found('IPv6', 'Service d/a', 'x');
  found('IPv4', 'Service d/a');
  found('IPv4', 'Service d/a', 'x');
  assert.equal(said.length, 1, 'one has found it all the time');
  found('IPv4', 'Service d/a');
  found('IPv6', 'Service d/a');
  found('IPv6', 'Service d/a', 'x');
  assert.equal(said.length, 2);
});

test('of many faults some are shown', () => {
  const { said, found } = setUp();
  found('IPv4', 'Service d/a', ...'abcdefg');
  assert.deepEqual(said, [{ about: 'Service d/a', details: 'a; b; c; d; e' }]);
});
