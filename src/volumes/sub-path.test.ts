import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeMounts } from '../host/fake-host.ts';
import { bindSubPath } from './sub-path.ts';

const never = new AbortController().signal;

/** Notes which file a mount's source stands for at the moment of the mount. */
class ResolvingMounts extends FakeMounts {
  readonly bound: string[] = [];

  override async mount(...args: Parameters<FakeMounts['mount']>): Promise<void> {
    this.bound.push(readlinkSync(args[0]));
    await super.mount(...args);
  }
}

function scene(): Disposable & { root: string; volume: string; target: string; mounts: ResolvingMounts } {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'sub-path-')));
  const volume = join(root, 'volume');
  mkdirSync(volume);
  mkdirSync(join(root, 'host'));
  return {
    root,
    volume,
    target: join(root, 'pod/volume-subpaths/v/c/0'),
    mounts: new ResolvingMounts(),
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}

const cases: readonly {
  readonly name: string;
  readonly prepare?: (volume: string) => void;
  readonly subPath: string;
  readonly bound?: string;
  readonly error?: RegExp;
}[] = [
  { name: 'a folder', prepare: (v) => mkdirSync(join(v, 'a')), subPath: 'a', bound: 'a' },
  { name: 'a file', prepare: (v) => writeFileSync(join(v, 'f'), ''), subPath: 'f', bound: 'f' },
  { name: 'the volume itself', subPath: '.', bound: '' },
  { name: 'folders that are missing are made', subPath: 'a/b/c', bound: 'a/b/c' },
  {
    name: 'a link inside the volume is followed',
    prepare: (v) => {
      mkdirSync(join(v, 'real'));
      symlinkSync('real', join(v, 'link'));
    },
    subPath: 'link/new',
    bound: 'real/new',
  },
  {
    name: 'a link out of the volume',
    prepare: (v) => symlinkSync('../host', join(v, 'out')),
    subPath: 'out',
    error: /is not within the volume/,
  },
  {
    name: 'a folder to be made behind a link out of the volume',
    prepare: (v) => symlinkSync('../host', join(v, 'out')),
    subPath: 'out/new',
    error: /is not within the volume/,
  },
  {
    name: 'a link to nothing is not made a folder of',
    prepare: (v) => symlinkSync('../host/new', join(v, 'out')),
    subPath: 'out',
    error: /ENOTDIR|ELOOP/,
  },
  { name: 'steps back', subPath: 'a/../../host', error: /is not within the volume/ },
  { name: 'an absolute path', subPath: '/etc', error: /is not within the volume/ },
  {
    name: 'a folder in a file',
    prepare: (v) => writeFileSync(join(v, 'f'), ''),
    subPath: 'f/x',
    error: /ENOTDIR/,
  },
];
for (const { name, prepare, subPath, bound, error } of cases) {
  test(`subPath: ${name}${error ? ' is refused' : ''}`, async () => {
    using s = scene();
    prepare?.(s.volume);
    const done = bindSubPath({ volumePath: s.volume, subPath, target: s.target }, s.mounts, never);
    if (error) {
      await assert.rejects(done, error);
      assert.deepEqual(s.mounts.bound, []);
      assert.equal(statSync(join(s.root, 'host')).nlink, 2);
      return;
    }
    await done;
    assert.deepEqual(s.mounts.bound, [join(s.volume, bound ?? '')]);
    assert.equal(lstatSync(s.target).isDirectory(), statSync(join(s.volume, subPath)).isDirectory());
  });
}

test('a folder that is made has the mode and the group of the volume', async () => {
  using s = scene();
  chmodSync(s.volume, 0o2775);
  await bindSubPath({ volumePath: s.volume, subPath: 'a/b', target: s.target }, s.mounts, never);
  assert.equal(lstatSync(join(s.volume, 'a')).mode & 0o7777, 0o2775);
  assert.equal(lstatSync(join(s.volume, 'a/b')).mode & 0o7777, 0o2775);
});

test('what is mounted already stays, what has become another file is mounted anew', async () => {
  using s = scene();
  const wanted = { volumePath: s.volume, subPath: 'a', target: s.target };
  await bindSubPath(wanted, s.mounts, never);
  // The fake shows no file system: the target must look like what is mounted on it.
  rmSync(s.target, { recursive: true });
  symlinkSync(join(s.volume, 'a'), s.target);
  await bindSubPath(wanted, s.mounts, never);
  assert.equal(s.mounts.calls.length, 1);
  rmSync(s.target);
  mkdirSync(s.target);
  await bindSubPath(wanted, s.mounts, never);
  assert.deepEqual(s.mounts.calls, [`mount ${s.target}`, `unmount ${s.target}`, `mount ${s.target}`]);
});

test('somebody who turns a folder into a link and back all the time never gets more than the volume', async () => {
  using s = scene();
  mkdirSync(join(s.root, 'host/in'));
  // Between its turns there is no `a`, and we make one ourselves: then it begins anew.
  const flip = `const { mkdirSync, renameSync, rmSync, symlinkSync } = require('node:fs'); process.chdir(process.argv[1]);
    console.log('ready');
    for (;;) try {
      for (const name of ['a', 'real', 'link']) rmSync(name, { recursive: true, force: true });
      mkdirSync('real/in', { recursive: true }); symlinkSync('../host', 'link');
      for (;;) { renameSync('real', 'a'); renameSync('a', 'real'); renameSync('link', 'a'); renameSync('a', 'link'); }
    } catch {}`;
  const child = spawn(process.execPath, ['-e', flip, s.volume], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  try {
    await once(child.stdout, 'data');
    const refused = { count: 0 };
    for (let i = 0; i < 500; i++) {
      const target = join(s.root, `pod/volume-subpaths/v/c/${i}`);
      const subPath = i % 2 === 0 ? 'a/in' : `a/new-${i}`;
      await bindSubPath({ volumePath: s.volume, subPath, target }, s.mounts, never).catch(() => refused.count++);
    }
    assert.ok(refused.count > 0, 'the links were never in the way');
    for (const path of s.mounts.bound) assert.ok(path.startsWith(`${s.volume}/`), path);
    assert.equal(statSync(join(s.root, 'host')).nlink, 3, 'nothing was made outside');
  } finally {
    child.kill('SIGKILL');
    await closed;
  }
});
