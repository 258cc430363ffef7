import assert from 'node:assert/strict';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { hasPayload, writePayload } from './atomic-writer.ts';
import type { Payload } from './render-payload.ts';

const never = new AbortController().signal;
const now = Date.UTC(2026, 0, 2, 3, 4, 5);
let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'atomic-writer-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const files = (content: Record<string, string>, mode = 0o644): Payload =>
  new Map(Object.entries(content).map(([path, text]) => [path, { data: Buffer.from(text), mode }]));
const write = (payload: Payload, gid?: number) => writePayload(dir, payload, { gid, now, signal: never });
const read = (path: string) => readFileSync(join(dir, path), 'utf8');
const sets = () => readdirSync(dir).filter((name) => name.startsWith('..2'));
const visible = () => readdirSync(dir).filter((name) => !name.startsWith('..'));

test('files appear behind links to one complete set', async () => {
  assert.equal(await hasPayload(dir), false);
  assert.equal(await write(files({ a: '1', 'd/e/f': '2', 'd/g': '3' })), true);
  assert.equal(await hasPayload(dir), true);
  assert.deepEqual([read('a'), read('d/e/f'), read('d/g')], ['1', '2', '3']);
  assert.deepEqual(visible(), ['a', 'd']);
  assert.equal(readlinkSync(join(dir, 'd')), '..data/d');
  const [set] = sets();
  assert.match(set ?? '', /^\.\.2026_01_02_03_04_05\.\w{6}$/);
  assert.equal(readlinkSync(join(dir, '..data')), set);
  assert.equal(lstatSync(join(dir, set ?? '')).mode & 0o7777, 0o755);
});

test('the same content writes nothing', async () => {
  await write(files({ a: '1', 'd/e': '2' }));
  const before = sets();
  assert.equal(await write(files({ a: '1', 'd/e': '2' })), false);
  assert.deepEqual(sets(), before);
});

const changes: Record<string, Payload> = {
  'other content': files({ a: '2', b: 'x' }),
  'content of the same length': files({ a: '9', b: 'x' }),
  'another mode': files({ a: '1', b: 'x' }, 0o600),
  'one file more': files({ a: '1', b: 'x', c: '3' }),
  'one file less': files({ a: '1' }),
  'a folder in the place of a file': files({ a: '1', 'b/c': 'x' }),
  'no file at all': files({}),
};
for (const [what, payload] of Object.entries(changes)) {
  test(`${what} replaces the set and leaves nothing of the old one`, async () => {
    await write(files({ a: '1', b: 'x' }));
    const [before] = sets();
    assert.equal(await write(payload), true);
    assert.equal(sets().length, 1);
    assert.notEqual(sets()[0], before);
    for (const [path, file] of payload) {
      assert.equal(read(path), file.data.toString());
      assert.equal(lstatSync(join(dir, '..data', path)).mode & 0o777, file.mode);
    }
    assert.deepEqual(visible(), [...new Set([...payload.keys()].map((path) => path.split('/')[0]))]);
  });
}

test('a reader that holds the old set open reads on', async () => {
  await write(files({ a: 'old' }));
  const link = readlinkSync(join(dir, '..data'));
  const reads: string[] = [];
  // Each read goes through `..data`: whatever moment it hits, a whole set is there.
  const writing = write(files({ a: 'new' }));
  for (let done = false; !done; ) {
    reads.push(read('a'));
    done = await Promise.race([writing, new Promise<false>((resolve) => setImmediate(() => resolve(false)))]);
  }
  assert.deepEqual(new Set([...reads, read('a')]), new Set(['old', 'new']));
  assert.notEqual(readlinkSync(join(dir, '..data')), link);
});

test('what a crash has left is removed: an unfinished set, a temporary link, a missing visible link', async () => {
  await write(files({ a: '1', b: '2' }));
  mkdirSync(join(dir, '..2025_01_01_00_00_00.crashd'));
  writeFileSync(join(dir, '..2025_01_01_00_00_00.crashd', 'a'), 'half');
  symlinkSync('..2025_01_01_00_00_00.crashd', join(dir, '..data_tmp'));
  rmSync(join(dir, 'b'));
  assert.equal(await write(files({ a: '1', b: '2' })), true);
  assert.equal(sets().length, 1);
  assert.deepEqual(visible(), ['a', 'b']);
  assert.equal(lstatSync(join(dir, '..data_tmp'), { throwIfNoEntry: false }), undefined);
});

test('a set that is gone (a tmpfs after a reboot) is written again', async () => {
  await write(files({ a: '1' }));
  rmSync(join(dir, sets()[0] ?? ''), { recursive: true });
  assert.equal(await hasPayload(dir), false);
  assert.equal(await write(files({ a: '1' })), true);
  assert.equal(read('a'), '1');
});

test('group and owner are those asked for', { skip: process.getuid?.() !== 0 && 'needs root' }, async () => {
  const payload: Payload = new Map([['d/t', { data: Buffer.from('x'), mode: 0o640, uid: 1234 }]]);
  await write(payload, 2000);
  const file = lstatSync(join(dir, '..data/d/t'));
  assert.deepEqual([file.uid, file.gid, file.mode & 0o7777], [1234, 2000, 0o640]);
  const folder = lstatSync(join(dir, '..data/d'));
  assert.deepEqual([folder.gid, folder.mode & 0o7777], [2000, 0o2755]);
  assert.equal(await write(payload, 2000), false);
  assert.equal(await write(payload, 2001), true);
});

const refused: Record<string, string> = {
  '': 'must not be empty',
  '/etc/passwd': 'must be relative',
  '../x': "must not begin with '..'",
  'a/../../x': "must not contain '..'",
  '..data': "must not begin with '..'",
  'a//b': "must not contain empty or '.' components",
  './a': "must not contain empty or '.' components",
  [`a/${'x'.repeat(256)}`]: 'a component is longer than 255 bytes',
  [`${'x/'.repeat(2100)}y`]: 'longer than 4095 bytes',
  'a\0b': 'must not contain a NUL',
};
for (const [path, why] of Object.entries(refused)) {
  test(`the path ${JSON.stringify(path.slice(0, 20))} is refused: ${why}`, async () => {
    await assert.rejects(write(files({ ok: '1', [path]: '2' })), {
      code: 'BadPayloadPath',
      message: `invalid path ${JSON.stringify(path)}: ${why}`,
    });
    assert.deepEqual(readdirSync(dir), []);
  });
}

test('a file and a folder cannot have the same name', async () => {
  await assert.rejects(write(files({ a: '1', 'a/b': '2' })), {
    code: 'BadPayloadPath',
    message: 'invalid path "a/b": "a" is a file',
  });
});

test('an abort leaves the old set', async () => {
  await write(files({ a: '1' }));
  await assert.rejects(writePayload(dir, files({ a: '2' }), { now, signal: AbortSignal.abort() }), {
    name: 'AbortError',
  });
  assert.equal(read('a'), '1');
  assert.equal(sets().length, 1);
});
