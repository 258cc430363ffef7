import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { ManifestDir } from './manifest-dir.ts';

const root = await mkdtemp(join(tmpdir(), 'keelson-manifests-'));
after(() => rm(root, { recursive: true }));
let dirs = 0;

const pod = (name: string, image = 'busybox') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: c, image: "${image}"}]}\n`;

interface Fixture extends AsyncDisposable {
  readonly path: string;
  readonly manifests: ManifestDir;
  readonly logged: { message: string; fields: Record<string, unknown> }[];
  write(name: string, text: string): Promise<void>;
  /** Waits until the names of the pods, without the node's, are these. */
  pods(...names: string[]): Promise<void>;
  /** Waits until this holds. */
  until(holds: () => boolean): Promise<void>;
}

/** A directory that is watched with a rescan once a minute: what tests see in time, inotify has told. */
async function watched(options: { missing?: boolean; rescanMs?: number } = {}): Promise<Fixture> {
  const path = join(root, String(dirs++));
  if (!options.missing) await mkdir(path);
  const logged: Fixture['logged'] = [];
  const log: Log = { ...silentLog, warn: (fields, message) => logged.push({ message, fields: { ...fields } }) };
  const manifests = new ManifestDir({
    dir: path,
    nodeName: 'node',
    fileCheckFrequencyMs: options.rescanMs ?? 60_000,
    clock: systemClock,
    log,
  });
  const stop = new AbortController();
  const running = manifests.run(stop.signal);
  const until = (holds: () => boolean) =>
    new Promise<void>((resolve) => {
      const subscription = manifests.onChange(() => look());
      const look = () => {
        if (!holds()) return;
        subscription[Symbol.dispose]();
        resolve();
      };
      look();
    });
  const names = () => manifests.snapshot().pods.map((p) => p.metadata.name.replace(/-node$/, ''));
  return {
    path,
    manifests,
    logged,
    until,
    write: (name, text) => writeFile(join(path, name), text),
    pods: (...expected) => until(() => JSON.stringify(names()) === JSON.stringify(expected)),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await running;
    },
  };
}

const deadline = { timeout: 20_000 };

test('files that are there, added, changed and removed are noticed', deadline, async () => {
  await using t = await watched();
  await t.manifests.synced;
  assert.deepEqual(t.manifests.snapshot().pods, []);
  await t.write('b.yaml', pod('two'));
  await t.pods('two');
  await t.write('a.yaml', `${pod('one')}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n`);
  await t.pods('one', 'two');
  assert.equal(t.manifests.snapshot().configMaps[0]?.metadata.name, 'c');
  const before = t.manifests.snapshot().pods[1]?.metadata.uid;
  await t.write('b.yaml', pod('two', 'nginx'));
  await t.until(() => t.manifests.snapshot().pods[1]?.spec.containers[0]?.image === 'nginx');
  assert.notEqual(t.manifests.snapshot().pods[1]?.metadata.uid, before);
  await rm(join(t.path, 'a.yaml'));
  await t.pods('two');
  assert.deepEqual(t.manifests.snapshot().configMaps, []);
});

test('an atomic replacement and a symbolic link that is turned are noticed', deadline, async () => {
  await using t = await watched();
  await t.write('.new', pod('one', 'nginx'));
  await t.write('a.yaml', pod('one'));
  await t.pods('one');
  await rename(join(t.path, '.new'), join(t.path, 'a.yaml'));
  await t.until(() => t.manifests.snapshot().pods[0]?.spec.containers[0]?.image === 'nginx');
  await mkdir(join(t.path, '.v1'));
  await mkdir(join(t.path, '.v2'));
  await t.write('.v1/b.yaml', pod('two'));
  await t.write('.v2/b.yaml', pod('three'));
  await symlink('.v1', join(t.path, '..data'));
  await symlink('..data/b.yaml', join(t.path, 'b.yaml'));
  await t.pods('one', 'two');
  await symlink('.v2', join(t.path, '..tmp'));
  await rename(join(t.path, '..tmp'), join(t.path, '..data'));
  await t.pods('one', 'three');
});

test("hidden files, editors' leavings and directories are none of ours", deadline, async () => {
  await using t = await watched();
  for (const name of ['.a.yaml.swp', 'a.yaml~', '#a.yaml#']) await t.write(name, pod('no'));
  await mkdir(join(t.path, 'folder'));
  await t.write('a.yaml', pod('one'));
  await t.pods('one');
  assert.deepEqual(t.manifests.problems(), []);
});

test('a bad save is named, and kills nothing', deadline, async () => {
  await using t = await watched();
  await t.write('a.yaml', `${pod('one')}---\n${pod('two')}`);
  await t.pods('one', 'two');
  const [one] = t.manifests.snapshot().pods;
  const bad = pod('two').replace('busybox', ' bad ');
  await t.write('a.yaml', `${pod('three')}---\n${pod('one')}---\n${bad}`);
  await t.pods('three', 'one', 'two');
  assert.equal(t.manifests.snapshot().pods[1], one);
  const file = join(t.path, 'a.yaml');
  assert.deepEqual(t.manifests.problems(), [
    {
      file,
      line: 14,
      column: 38,
      path: 'spec.containers[0].image',
      message: 'Invalid value: " bad ": must not have leading or trailing whitespace',
      severity: 'refused',
    },
  ]);
  assert.deepEqual(
    t.logged.map((l) => l.message),
    ['manifest refused', 'manifest is broken: what it held before goes on'],
  );
  await truncate(file);
  await t.until(() => t.manifests.problems()[0]?.message === 'holds no object');
  assert.equal(t.manifests.snapshot().pods.length, 3);
  await t.write('a.yaml', pod('one'));
  await t.pods('one');
  assert.deepEqual(t.manifests.problems(), []);
});

test('a save that changes nothing keeps the same objects', deadline, async () => {
  await using t = await watched();
  await t.write('a.yaml', pod('one'));
  await t.pods('one');
  const [one] = t.manifests.snapshot().pods;
  await t.write('a.yaml', `# said again\n${pod('one')}`);
  await t.write('b.yaml', pod('two'));
  await t.pods('one', 'two');
  assert.equal(t.manifests.snapshot().pods[0], one);
});

test('of two objects of one name the first by file name counts, until it goes', deadline, async () => {
  await using t = await watched();
  await t.write('b.yaml', pod('same', 'from-b'));
  await t.pods('same');
  await t.write('a.yaml', pod('same', 'from-a'));
  const image = () => t.manifests.snapshot().pods[0]?.spec.containers[0]?.image;
  await t.until(() => image() === 'from-a');
  const [problem] = t.manifests.problems();
  assert.equal(problem?.file, join(t.path, 'b.yaml'));
  assert.equal(problem?.message, `Pod default/same-node is in ${join(t.path, 'a.yaml')} already`);
  await rm(join(t.path, 'a.yaml'));
  await t.until(() => image() === 'from-b');
  assert.deepEqual(t.manifests.problems(), []);
});

test('two Services cannot have one address', deadline, async () => {
  await using t = await watched();
  const service = (name: string) =>
    `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {clusterIP: 10.96.0.9, ports: [{port: 1}]}\n`;
  await t.write('a.yaml', `${service('one')}---\n${service('two')}`);
  await t.until(() => t.manifests.problems().length === 1);
  assert.match(t.manifests.problems()[0]?.message ?? '', /a Service with the address 10\.96\.0\.9 is in/);
  assert.deepEqual(
    t.manifests.snapshot().services.map((s) => s.metadata.name),
    ['one'],
  );
});

test('a huge file is refused unread', deadline, async () => {
  await using t = await watched();
  await t.write('a.yaml', `${pod('one')}${'# filler\n'.repeat(1_200_000)}`);
  await t.until(() => t.manifests.problems().length === 1);
  assert.match(t.manifests.problems()[0]?.message ?? '', /^is \d+ bytes long: more than the 1048576/);
});

test('a directory that is missing, made, removed and made again', deadline, async () => {
  await using t = await watched({ missing: true });
  await t.manifests.synced;
  assert.equal(t.manifests.hasSynced, true);
  assert.deepEqual(
    t.logged.map((l) => l.message),
    ['the manifest directory is missing: there are no static pods'],
  );
  for (const name of ['one', 'two']) {
    await mkdir(t.path);
    await t.write('a.yaml', pod(name));
    await t.pods(name);
    await rm(t.path, { recursive: true });
    await t.pods();
  }
});

test('what inotify does not tell is found by the rescan', deadline, async () => {
  const elsewhere = join(root, 'elsewhere.yaml');
  await writeFile(elsewhere, pod('one'));
  await using t = await watched({ rescanMs: 50 });
  await symlink(elsewhere, join(t.path, 'a.yaml'));
  await t.pods('one');
  await writeFile(elsewhere, pod('two'));
  await t.pods('two');
});

test('the path may be a single file', deadline, async () => {
  const file = join(root, 'single.yaml');
  await writeFile(file, pod('one'));
  const manifests = new ManifestDir({
    dir: file,
    nodeName: 'node',
    fileCheckFrequencyMs: 1,
    clock: systemClock,
    log: silentLog,
  });
  await manifests.scanOnce();
  assert.deepEqual(
    manifests.snapshot().pods.map((p) => p.metadata.name),
    ['one-node'],
  );
});
