import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { containerHash, goJson } from './container-hash.ts';

const base: Container = deepFreeze({ name: 'c', image: 'docker.io/library/busybox:1.35' });

test('the hash is the one that kubelet gives', () => assert.equal(containerHash(base), '78725ff3'));

const changes: Record<string, { container: Container; same: boolean }> = {
  'the order of fields does not count': { container: { image: base.image ?? '', name: 'c' }, same: true },
  'other fields do not count': { container: { ...base, args: ['x'], env: [{ name: 'A', value: 'b' }] }, same: true },
  'another image counts': { container: { ...base, image: 'docker.io/library/busybox:1.36' }, same: false },
  'another name counts': { container: { ...base, name: 'd' }, same: false },
  'no image is another one': { container: { name: 'c', image: '' }, same: false },
};

for (const [sentence, { container, same }] of Object.entries(changes)) {
  test(sentence, () => assert.equal(containerHash(deepFreeze(container)) === containerHash(base), same));
}

test('no image and an empty one are the same', () => {
  assert.equal(containerHash({ name: 'c' }), containerHash({ name: 'c', image: '' }));
});

test('JSON is escaped as Go does it', () => {
  assert.equal(goJson({ a: '<b> & "c"' }), '{"a":"\\u003cb\\u003e \\u0026 \\"c\\""}');
});
