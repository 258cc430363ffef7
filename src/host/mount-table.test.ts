import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mountsUnder, parseMountInfo } from './mount-table.ts';

const only = (line: string) => {
  const [mount, ...rest] = parseMountInfo(`${line}\n`);
  assert.ok(mount);
  assert.equal(rest.length, 0);
  return mount;
};

test('a line with optional fields', () => {
  assert.deepEqual(only('36 35 98:0 /mnt1 /mnt2 rw,noatime shared:7 master:1 - ext3 /dev/root rw,errors=continue'), {
    id: 36,
    parentId: 35,
    device: '98:0',
    root: '/mnt1',
    target: '/mnt2',
    options: ['rw', 'noatime'],
    propagation: ['shared:7', 'master:1'],
    type: 'ext3',
    source: '/dev/root',
    superOptions: ['rw', 'errors=continue'],
  });
});

test('space, tab, newline, backslash and hash are unescaped, other characters stay', () => {
  const mount = only('1 2 0:5 / /mnt/a\\040b\\011c\\012d\\134e\\043f/ü rw - tmpfs a\\040tmpfs rw');
  assert.equal(mount.target, '/mnt/a b\tc\nd\\e#f/ü');
  assert.equal(mount.source, 'a tmpfs');
});

test('an escaped backslash before digits is not unescaped twice', () => {
  assert.equal(only('1 2 0:5 / /mnt/\\134040 rw - tmpfs t rw').target, '/mnt/\\040');
});

test('a file system without a source', () => {
  assert.equal(only('1 2 0:5 / /x rw - tmpfs  rw').source, '');
});

test('an empty table and broken lines give nothing', () => {
  assert.deepEqual(parseMountInfo(''), []);
  assert.deepEqual(parseMountInfo('nonsense\n1 2 3 - \n'), []);
});

test('mounts under a path do not include those of a neighbour with the same beginning', () => {
  const table = parseMountInfo(
    ['/a', '/a/b', '/ab', '/a/b/c', '/'].map((t, i) => `${i} 0 0:1 / ${t} rw - tmpfs t rw`).join('\n'),
  );
  assert.deepEqual(
    mountsUnder(table, '/a').map((m) => m.target),
    ['/a', '/a/b', '/a/b/c'],
  );
  assert.equal(mountsUnder(table, '/').length, 5);
});
