import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { hostExec } from '../src/host/exec.ts';
import { atomicWrite, readIfExists, removeTree } from '../src/host/files.ts';
import { HostMounts } from '../src/host/mount-table.ts';
import { lockRootDir } from '../src/host/root-lock.ts';
import { AgentError } from '../src/lib/errors.ts';

const signal = AbortSignal.timeout(60_000);
const mounts = new HostMounts(hostExec);
let dir = '';

beforeEach(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'keelson-host-')));
});
afterEach(async () => {
  const left = (await mounts.list()).filter((m) => m.target.startsWith(`${dir}/`)).reverse();
  for (const m of left) await mounts.unmount(m.target, signal);
  await rm(dir, { recursive: true, force: true });
});

const coded = (code: string) => (error: unknown) => error instanceof AgentError && error.code === code;

test('an atomic write sets content, mode and owner, whatever the umask, and leaves no temporary file', async () => {
  const umask = process.umask(0o077);
  try {
    await atomicWrite(join(dir, 'f'), 'one');
    await atomicWrite(join(dir, 'f'), 'two', { mode: 0o640, uid: 1234, gid: 4321 });
  } finally {
    process.umask(umask);
  }
  const facts = await stat(join(dir, 'f'));
  assert.equal(await readFile(join(dir, 'f'), 'utf8'), 'two');
  assert.deepEqual([facts.mode & 0o7777, facts.uid, facts.gid], [0o640, 1234, 4321]);
  assert.deepEqual(await readdir(dir), ['f']);
});

test('a full disk leaves the old file, no rest, and says so', async () => {
  const full = join(dir, 'full');
  await mkdir(full);
  await mounts.mount('tmpfs', full, 'tmpfs', ['size=64k'], signal);
  await atomicWrite(join(full, 'f'), 'old');
  await assert.rejects(atomicWrite(join(full, 'f'), Buffer.alloc(256 * 1024)), coded('DiskFull'));
  assert.equal(await readFile(join(full, 'f'), 'utf8'), 'old');
  assert.deepEqual(await readdir(full), ['f']);
});

test('a file that is not there reads as undefined', async () => {
  await writeFile(join(dir, 'file'), 'x');
  assert.equal(await readIfExists(join(dir, 'none')), undefined);
  assert.equal(await readIfExists(join(dir, 'file', 'below')), undefined);
  assert.equal(await readIfExists(join(dir, 'file')), 'x');
});

test('a tree is removed, and removing it again is a success', async () => {
  await mkdir(join(dir, 'tree', 'a', 'b'), { recursive: true });
  await writeFile(join(dir, 'tree', 'a', 'b', 'f'), 'x');
  await removeTree(join(dir, 'tree'));
  await removeTree(join(dir, 'tree'));
  assert.deepEqual(await readdir(dir), []);
});

test('a symbolic link is removed, what it leads to stays', async () => {
  await mkdir(join(dir, 'kept'));
  await writeFile(join(dir, 'kept', 'f'), 'x');
  await symlink(join(dir, 'kept'), join(dir, 'link'));
  await removeTree(join(dir, 'link'));
  assert.deepEqual(await readdir(join(dir, 'kept')), ['f']);
});

test('nothing below a mount is removed, even a bind mount of the same file system or through a link', async () => {
  await mkdir(join(dir, 'data'));
  await writeFile(join(dir, 'data', 'precious'), 'x');
  await mkdir(join(dir, 'pod', 'volumes', 'with space'), { recursive: true });
  const target = join(dir, 'pod', 'volumes', 'with space');
  await mounts.mount(join(dir, 'data'), target, '', ['bind'], signal);
  await symlink(dir, join(dir, 'self'));
  for (const path of [join(dir, 'pod'), target, join(dir, 'self', 'pod')]) {
    await assert.rejects(removeTree(path), coded('MountedBelow'));
  }
  assert.equal(await readFile(join(dir, 'data', 'precious'), 'utf8'), 'x');
  await mounts.unmount(target, signal);
  await removeTree(join(dir, 'pod'));
  assert.equal(await readFile(join(dir, 'data', 'precious'), 'utf8'), 'x');
});

test('a mount appears in the table and goes; unmounting twice is a success, also of stacked mounts', async () => {
  const target = join(dir, 'mnt #1');
  await mkdir(target);
  await mounts.mount('tmpfs', target, 'tmpfs', ['size=1m', 'noexec'], signal);
  await mounts.mount('tmpfs', target, 'tmpfs', ['size=1m'], signal);
  const [first] = (await mounts.list()).filter((m) => m.target === target);
  assert.equal(first?.type, 'tmpfs');
  assert.ok(first?.options.includes('noexec'));
  await mounts.unmount(target, signal);
  await mounts.unmount(target, signal);
  assert.equal((await mounts.list()).filter((m) => m.target === target).length, 0);
});

test('a busy mount is an error that names the target', async () => {
  const target = join(dir, 'busy');
  await mkdir(target);
  await mounts.mount('tmpfs', target, 'tmpfs', [], signal);
  const child = spawn('sleep', ['60'], { cwd: target });
  await once(child, 'spawn');
  try {
    await assert.rejects(mounts.unmount(target, signal), /busy/);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

const holder = `
  import { lockRootDir } from ${JSON.stringify(new URL('../src/host/root-lock.ts', import.meta.url).href)};
  await lockRootDir(process.argv[1]);
  console.log('locked');
  setInterval(() => {}, 1000);
`;

test('a root directory is locked by one process, refused to a second, and free at once after kill -9', async () => {
  const root = join(dir, 'root');
  const child = spawn(process.execPath, ['--input-type=module', '-e', holder, root], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(child.stdout, 'data');
    await assert.rejects(
      lockRootDir(root),
      (e) => coded('RootDirLocked')(e) && String(e).includes(`(process ${child.pid})`),
    );
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  const lock = await lockRootDir(root);
  await assert.rejects(lockRootDir(root), coded('RootDirLocked'));
  await lock[Symbol.asyncDispose]();
  await (await lockRootDir(root))[Symbol.asyncDispose]();
});

test('a program started while the lock is held does not keep it', async () => {
  const lock = await lockRootDir(dir);
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  try {
    await lock[Symbol.asyncDispose]();
    await (await lockRootDir(dir))[Symbol.asyncDispose]();
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

test('a root directory that cannot be used is refused in one sentence', async () => {
  const readOnly = join(dir, 'read-only');
  await mkdir(readOnly);
  await mounts.mount('tmpfs', readOnly, 'tmpfs', ['ro'], signal);
  try {
    await assert.rejects(
      lockRootDir(readOnly),
      (e) => coded('RootDirUnusable')(e) && /cannot be used: its file system is read-only/.test(String(e)),
    );
  } finally {
    await mounts.unmount(readOnly, signal);
  }
  const file = join(dir, 'a-file');
  await writeFile(file, '');
  await assert.rejects(
    lockRootDir(file),
    (e) => coded('RootDirUnusable')(e) && /cannot be used: a file is in its place/.test(String(e)),
  );
});

test('a root directory on a full disk is locked all the same', async () => {
  const full = join(dir, 'full');
  await mkdir(full);
  await mounts.mount('tmpfs', full, 'tmpfs', ['size=64k'], signal);
  try {
    await assert.rejects(writeFile(join(full, 'filler'), Buffer.alloc(128 * 1024)), /ENOSPC/);
    const lock = await lockRootDir(full);
    await assert.rejects(lockRootDir(full), coded('RootDirLocked'));
    await lock[Symbol.asyncDispose]();
  } finally {
    await mounts.unmount(full, signal);
  }
});
