import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boolean, type Complaint, integer, list, map, object, oneOf, pathText, quote, string, text } from './schema.ts';

const schema = object({
  on: boolean,
  size: integer(1, 5),
  mode: oneOf('', 'fast', 'slow'),
  names: list(string),
  inner: object({ path: text('an absolute path', (v) => v.startsWith('/')) }),
  labels: map(string),
});

function read(value: unknown) {
  const complaints: Complaint[] = [];
  const result = schema.read(value, [], (c) => complaints.push(c));
  return {
    result,
    complaints: complaints.map((c) => `${pathText(c.path)}: ${c.message}${c.hint ? ` (${c.hint})` : ''}`),
  };
}

test('what fits is read, and null is absent', () => {
  const value = { on: false, size: 5, mode: 'slow', names: ['a'], inner: { path: '/x' }, labels: { a: 'b' } };
  assert.deepEqual(read(value), { result: value, complaints: [] });
  assert.deepEqual(read({ on: null }), { result: {}, complaints: [] });
});

test('every fault is named at once, and the rest is read', () => {
  const value = { on: 'yes', size: 6, mode: 'fsat', names: ['a', 1], inner: { pth: '/x' }, labels: { 'a/b': 1 }, x: 1 };
  assert.deepEqual(read(value), {
    result: { names: ['a'], inner: {}, labels: {} },
    complaints: [
      'on: "yes" is not true or false',
      'size: 6 is not a whole number from 1 to 5',
      'mode: "fsat" is not one of "", fast, slow (did you mean fast?)',
      'names[1]: 1 is not a string (write it in quotes)',
      'inner.pth: no such key (did you mean path?)',
      'labels["a/b"]: 1 is not a string (write it in quotes)',
      'x: no such key',
    ],
  });
  assert.deepEqual(read([1]).complaints, [': [1] is not a map']);
  assert.deepEqual(read({ names: {}, labels: [] }).complaints, ['names: {} is not a list', 'labels: [] is not a map']);
});

test('names that every object inherits are no keys', () => {
  assert.deepEqual(read({ constructor: 1 }).complaints, ['constructor: no such key']);
});

test('a long value is quoted in part', () => {
  assert.equal(quote('x'.repeat(100)).length, 60);
});
