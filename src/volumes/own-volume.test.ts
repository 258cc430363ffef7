import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownVolume } from './own-volume.ts';

const never = new AbortController().signal;
// Only root can give files to any group.
const own = process.getgid?.() ?? 0;
const gid = process.getuid?.() === 0 ? 2000 : own;

function scene(): Disposable & { root: string; volume: string; look: () => Record<string, string> } {
  const root = mkdtempSync(join(tmpdir(), 'own-volume-'));
  const volume = join(root, 'volume');
  mkdirSync(join(volume, 'a/b'), { recursive: true });
  for (const [name, mode] of [
    ['plain', 0o600],
    ['a/set', 0o4755],
    ['a/b/read', 0o444],
  ] as const) {
    writeFileSync(join(volume, name), '');
    chmodSync(join(volume, name), mode);
  }
  writeFileSync(join(root, 'outside'), '');
  chmodSync(join(root, 'outside'), 0o600);
  symlinkSync('../outside', join(volume, 'link'));
  for (const name of ['', 'a', 'a/b']) chmodSync(join(volume, name), 0o755);
  const look = () => {
    const names = ['', ...readdirSync(volume, { recursive: true, encoding: 'utf8' })].sort();
    return Object.fromEntries(
      names.map((name) => {
        const stats = lstatSync(join(volume, name));
        return [name, `${stats.gid} ${stats.isSymbolicLink() ? 'link' : (stats.mode & 0o7777).toString(8)}`];
      }),
    );
  };
  return { root, volume, look, [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }) };
}

test('everything becomes the group its, folders so that new files do too, and what links lead to does not', async () => {
  using s = scene();
  let files = 0;
  await ownVolume(s.volume, { gid, onRootMismatch: false }, () => files++, never);
  assert.deepEqual(s.look(), {
    '': `${gid} 2775`,
    a: `${gid} 2775`,
    'a/b': `${gid} 2775`,
    'a/b/read': `${gid} 664`,
    'a/set': `${gid} 4775`,
    link: `${gid} link`,
    plain: `${gid} 660`,
  });
  assert.equal(files, 7);
  const outside = lstatSync(join(s.root, 'outside'));
  assert.deepEqual([outside.gid, outside.mode & 0o777], [own, 0o600]);
});

test('OnRootMismatch leaves alone what is right at its root', async () => {
  using s = scene();
  chownSync(s.volume, -1, gid);
  chmodSync(s.volume, 0o2770);
  const before = s.look();
  await ownVolume(s.volume, { gid, onRootMismatch: true }, () => assert.fail('touched'), never);
  assert.deepEqual(s.look(), before);
  await ownVolume(s.volume, { gid, onRootMismatch: false }, () => {}, never);
  assert.equal(s.look()['plain'], `${gid} 660`);
});

test('OnRootMismatch mends what is not right at its root', async () => {
  using s = scene();
  chownSync(s.volume, -1, gid);
  await ownVolume(s.volume, { gid, onRootMismatch: true }, () => {}, never);
  assert.equal(s.look()['plain'], `${gid} 660`);
});

test('the root comes last, so that a change that is broken off is seen', async () => {
  using s = scene();
  lchownSync(s.volume, -1, own);
  const stop = new AbortController();
  const done = ownVolume(s.volume, { gid, onRootMismatch: false }, () => stop.abort(), stop.signal);
  await assert.rejects(done, { name: 'AbortError' });
  assert.equal(s.look()[''], `${own} 755`);
});
