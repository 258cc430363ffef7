import assert from 'node:assert/strict';
import { mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { FakeMounts } from './fake-host.ts';
import type { MountPoint } from './mounts.ts';
import { mountOf, RemoteFiles } from './remote-files.ts';

const never = new AbortController().signal;
const silent = { code: 'FileSystemSilent' };

/** Two servers and a disk, and work that lasts until it is told to end. */
async function scene(rootDir = '/root-dir') {
  const clock = new FakeClock();
  const mounts = new FakeMounts();
  for (const target of ['/nfs/a', '/nfs/b', '/nfs/c'])
    await mounts.mount(`server:${target}`, target, 'nfs4', [], never);
  await mounts.mount('/dev/vda1', '/disk', 'ext4', [], never);
  const files = new RemoteFiles({ mounts, rootDir, clock });
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const use = (path: string, signal = never) =>
    files.use(path, signal, () => {
      begun.push(path);
      return new Promise<string>((resolve) => ends.set(path, () => resolve(path)));
    });
  return { clock, mounts, files, begun, end: (path: string) => ends.get(path)?.(), use };
}

const places: Record<string, { path: string; expect: string | undefined }> = {
  'the mount point itself': { path: '/a', expect: 'a' },
  'below it': { path: '/a/x/y', expect: 'a' },
  'the deepest one counts': { path: '/a/b/y', expect: 'ab, later' },
  'a name that begins alike is another': { path: '/ab', expect: 'root' },
};

for (const [sentence, { path, expect }] of Object.entries(places)) {
  test(`the mount of a path: ${sentence}`, () => {
    const point = (target: string, source: string): MountPoint => ({
      target,
      source,
      type: '',
      options: [],
      device: '',
    });
    const table = [point('/', 'root'), point('/a', 'a'), point('/a/b', 'ab'), point('/a/b', 'ab, later')];
    assert.equal(mountOf(table, path)?.source, expect);
  });
}

test('files of the host itself are worked on at once, any number, for as long as it takes', async () => {
  const { use, clock, begun, end } = await scene();
  const paths = Array.from({ length: 8 }, (_, i) => `/disk/${i}`);
  const working = Promise.all(paths.map((path) => use(path)));
  await clock.advance(60_000);
  assert.deepEqual(begun, paths);
  for (const path of paths) end(path);
  assert.deepEqual(await working, paths);
});

test('servers that do not answer hold two threads, and never more', async () => {
  const { use, clock, begun } = await scene();
  const paths = ['/nfs/a/1', '/nfs/b/1', '/nfs/c/1', '/nfs/a/2', '/nfs/b/2'];
  for (let round = 0; round < 3; round++) {
    const failures = paths.map((path) => assert.rejects(use(path), silent));
    await clock.advance(10_000);
    await Promise.all(failures);
  }
  assert.deepEqual(begun, ['/nfs/a/1', '/nfs/b/1']);
});

test('one that does not answer is not asked again until it has; others are', async () => {
  const { use, clock, begun, end } = await scene();
  const first = assert.rejects(use('/nfs/a/1'), { ...silent, message: /\/nfs\/a\/1: .* server:\/nfs\/a \(nfs4\)/ });
  await clock.advance(10_000);
  await first;
  await assert.rejects(use('/nfs/a/2'), silent);
  const other = use('/nfs/b/1');
  await clock.advance(0);
  end('/nfs/b/1');
  assert.equal(await other, '/nfs/b/1');
  end('/nfs/a/1');
  await clock.advance(0);
  const again = use('/nfs/a/3');
  await clock.advance(0);
  end('/nfs/a/3');
  assert.equal(await again, '/nfs/a/3');
  assert.deepEqual(begun, ['/nfs/a/1', '/nfs/b/1', '/nfs/a/3']);
});

test('whoever is asked to stop does not wait for the answer, and the work is told', async () => {
  const { files } = await scene();
  const stop = new AbortController();
  let told: AbortSignal | undefined;
  const begun = Promise.withResolvers<void>();
  const used = files.use('/nfs/a', stop.signal, (signal) => {
    told = signal;
    begun.resolve();
    return new Promise<void>(() => {});
  });
  await begun.promise;
  stop.abort();
  await assert.rejects(used, { name: 'AbortError' });
  assert.equal(told?.aborted, true);
});

test('what goes wrong in the work is told as it is', async () => {
  const { files } = await scene();
  const error = new Error('no such file');
  await assert.rejects(
    files.use('/nfs/a', never, () => Promise.reject(error)),
    error,
  );
});

test('a root directory that is a link is no way around', async () => {
  const base = realpathSync(mkdtempSync(join(tmpdir(), 'remote-files-')));
  try {
    symlinkSync(base, join(base, 'link'));
    const { mounts, clock, use } = await scene(join(base, 'link'));
    await mounts.mount('server:/x', join(base, 'pods/u/v'), 'nfs', [], never);
    const used = assert.rejects(use(join(base, 'link/pods/u/v')), silent);
    // The link is read by a thread: the deadline begins after that.
    while (clock.pending === 0) await new Promise(setImmediate);
    await clock.advance(10_000);
    await used;
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
});
