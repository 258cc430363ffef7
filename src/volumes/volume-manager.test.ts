import assert from 'node:assert/strict';
import {
  existsSync,
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
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { ConfigMap, Pod, PodSpec, Secret, Volume } from '../api/core-v1.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { ExecError } from '../host/exec.ts';
import { FakeExec, FakeMounts } from '../host/fake-host.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { configMaps, persistentVolumeClaims, persistentVolumes, pods, secrets } from '../kubeapi/resources.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { ApiObjectSource } from './api-object-source.ts';
import { ManifestObjectSource } from './manifest-object-source.ts';
import { VolumeError } from './volume-error.ts';
import { VolumeManager } from './volume-manager.ts';

const never = new AbortController().signal;
const hour = 3600_000;
const base64 = (text: string) => Buffer.from(text).toString('base64');
const configMap = (name: string, value: string): ConfigMap => ({
  metadata: { namespace: 'ns', name },
  data: { value },
});
const secret = (name: string, value: string): Secret => ({
  metadata: { namespace: 'ns', name },
  data: { value: base64(value) },
});

/** The usual volume of every pod that an API server admits. */
const apiAccess: Volume = {
  name: 'kube-api-access',
  projected: {
    sources: [
      { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'value', path: 'ca.crt' }] } },
      { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
    ],
  },
};

class Scene implements AsyncDisposable {
  readonly root: string;
  readonly clock = new FakeClock();
  readonly api: FakeKubeApi;
  readonly mounts: FakeMounts;
  readonly exec = new FakeExec();
  readonly logged: string[] = [];
  readonly told: string[] = [];
  readonly woken: PodUid[] = [];
  #stop = new AbortController();
  manager: VolumeManager;

  constructor(before?: Scene, mounts: FakeMounts = before?.mounts ?? new FakeMounts()) {
    this.root = before?.root ?? mkdtempSync(join(tmpdir(), 'volume-manager-'));
    this.api = before?.api ?? new FakeKubeApi(this.clock);
    this.mounts = mounts;
    const { api, clock } = this;
    const say = (fields: object, message: string) => this.logged.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { ...silentLog, info: say, warn: say };
    const objects = new ApiObjectSource({ api, clock, log });
    this.manager = new VolumeManager({
      rootDir: this.root,
      api,
      objects,
      mounts,
      exec: this.exec,
      clock,
      log,
      events: { event: (about, type, reason, message) => this.told.push(`${about.name} ${type} ${reason} ${message}`) },
      node: () => ({ metadata: { name: 'n' } }),
      wake: (uid) => this.woken.push(uid),
      random: () => 0,
    });
  }

  async start(): Promise<this> {
    await this.manager.start(this.#stop.signal);
    return this;
  }

  /** What a kill and a new start are to the volumes. */
  async restart(): Promise<Scene> {
    this.#stop.abort();
    return new Scene(this).start();
  }

  async pod(name: string, volumes: readonly Volume[], spec: Partial<PodSpec> = {}): Promise<Pod> {
    const volumeMounts = volumes.map((volume) => ({ name: volume.name, mountPath: `/${volume.name}` }));
    const whole = { containers: [{ name: 'c', image: 'i', volumeMounts }], volumes, ...spec };
    return this.api.create(pods, { metadata: { namespace: 'ns', name }, spec: whole }, never);
  }

  setUp(pod: Pod) {
    return this.manager.setUp(pod, uidOf(pod), never);
  }

  async failure(pod: Pod): Promise<VolumeError> {
    const error = await this.setUp(pod).then(
      () => undefined,
      (e) => e,
    );
    assert.ok(error instanceof VolumeError, String(error));
    return error;
  }

  path(pod: Pod, ...rest: string[]): string {
    return join(this.root, 'pods', uidOf(pod), 'volumes', ...rest);
  }

  memory(...rest: string[]): string {
    return join(this.root, 'keelson/memory', ...rest);
  }

  calls(what: RegExp): number {
    return this.api.calls.filter((call) => what.test(call)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    // Comes after what is still being written in the background.
    for (const uid of await this.manager.podsOnDisk()) await this.manager.tearDown(uid, never);
    rmSync(this.root, { recursive: true, force: true });
  }
}

const uidOf = (pod: Pod) => podUid(pod.metadata.uid ?? '');
const read = (path: string) => readFileSync(path, 'utf8');

/** Waits for what a watch event sets going: file operations that nobody hands out a promise for. */
async function eventually(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await delay(5);
  assert.ok(condition(), condition.toString());
}

test('the volumes of a usual pod: where they are, what is in them, and that secrets are only linked to', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('kube-root-ca.crt', 'CA'), never);
  await scene.api.create(configMaps, configMap('cm', 'blue'), never);
  await scene.api.create(secrets, secret('sec', 'bob'), never);
  const pod = await scene.pod('p', [
    apiAccess,
    { name: 'e' },
    { name: 'h', hostPath: { path: join(scene.root, 'made'), type: 'DirectoryOrCreate' } },
    { name: 'c', configMap: { name: 'cm' } },
    { name: 's', secret: { secretName: 'sec' } },
  ]);
  const volumes = await scene.setUp(pod);
  assert.deepEqual(Object.fromEntries(volumes), {
    'kube-api-access': { hostPath: scene.path(pod, 'kubernetes.io~projected/kube-api-access'), readOnly: true },
    e: { hostPath: scene.path(pod, 'kubernetes.io~empty-dir/e'), readOnly: false },
    h: { hostPath: join(scene.root, 'made'), readOnly: false },
    c: { hostPath: scene.path(pod, 'kubernetes.io~configmap/c'), readOnly: true },
    s: { hostPath: scene.path(pod, 'kubernetes.io~secret/s'), readOnly: true },
  });
  assert.equal(read(scene.path(pod, 'kubernetes.io~configmap/c/value')), 'blue');
  assert.equal(read(scene.path(pod, 'kubernetes.io~secret/s/value')), 'bob');
  assert.equal(read(scene.path(pod, 'kubernetes.io~projected/kube-api-access/ca.crt')), 'CA');
  assert.equal(read(scene.path(pod, 'kubernetes.io~projected/kube-api-access/namespace')), 'ns');
  assert.ok(read(scene.path(pod, 'kubernetes.io~projected/kube-api-access/token')).length > 10);
  const target = scene.memory(uidOf(pod), 'kubernetes.io~secret/s');
  assert.equal(readlinkSync(scene.path(pod, 'kubernetes.io~secret/s')), target);
  assert.equal(lstatSync(scene.path(pod, 'kubernetes.io~empty-dir/e')).mode & 0o7777, 0o777);
  assert.equal(lstatSync(scene.path(pod, 'kubernetes.io~configmap/c')).mode & 0o7777, 0o777);
  assert.equal(lstatSync(target).mode & 0o7777, 0o1777);
  assert.deepEqual(scene.mounts.calls, [`mount ${scene.memory()}`]);
});

test('setting up again asks nobody and writes nothing', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('kube-root-ca.crt', 'CA'), never);
  const pod = await scene.pod('p', [apiAccess]);
  const first = await scene.setUp(pod);
  await scene.clock.advance(0);
  const calls = scene.api.calls.length;
  const link = readlinkSync(scene.path(pod, 'kubernetes.io~projected/kube-api-access/..data'));
  assert.equal(await scene.setUp(pod), first);
  // A new version of the pod, such as its own status coming back.
  const again = await scene.setUp({ ...pod, metadata: { ...pod.metadata, resourceVersion: 'later' } });
  assert.deepEqual(again, first);
  assert.equal(scene.api.calls.length, calls);
  assert.equal(readlinkSync(scene.path(pod, 'kubernetes.io~projected/kube-api-access/..data')), link);
});

test('pods share the requests for what they share', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('kube-root-ca.crt', 'CA'), never);
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => scene.pod(`p${i}`, [apiAccess])));
  await Promise.all(all.map((pod) => scene.setUp(pod)));
  // The watch, and a plain GET unless that was quicker.
  assert.ok(scene.calls(/^(get|list|watch) configmaps/) <= 2);
  assert.equal(scene.api.watchCount(configMaps), 1);
});

test('a changed object is written at once, in place', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('cm', 'old'), never);
  const pod = await scene.pod('p', [{ name: 'c', configMap: { name: 'cm' } }]);
  await scene.setUp(pod);
  await scene.clock.advance(0);
  await scene.api.patch(
    configMaps,
    { namespace: 'ns', name: 'cm' },
    { type: 'merge', body: { data: { value: 'new' } } },
    never,
  );
  await eventually(() => read(scene.path(pod, 'kubernetes.io~configmap/c/value')) === 'new');
});

test('labels that change are written at the next set-up', async () => {
  await using scene = await new Scene().start();
  const items = [{ path: 'l', fieldRef: { fieldPath: 'metadata.labels' } }];
  const pod = await scene.pod('p', [{ name: 'd', downwardAPI: { items } }]);
  await scene.setUp(pod);
  await scene.setUp({ ...pod, metadata: { ...pod.metadata, labels: { a: 'b' } } });
  assert.equal(read(scene.path(pod, 'kubernetes.io~downward-api/d/l')), 'a="b"');
});

test('tokens rotate in place without anybody asking', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('kube-root-ca.crt', 'CA'), never);
  const pod = await scene.pod('p', [apiAccess]);
  await scene.setUp(pod);
  const path = scene.path(pod, 'kubernetes.io~projected/kube-api-access/token');
  const first = read(path);
  await scene.clock.advance(hour);
  await eventually(() => read(path) !== first);
});

test('everything that is missing is said, volume by volume, in words that people search for', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('cm', 'v'), never);
  const pod = await scene.pod('p', [
    { name: 'fine', emptyDir: {} },
    { name: 'a', configMap: { name: 'no' } },
    { name: 'b', secret: { secretName: 'nope' } },
    { name: 'c', configMap: { name: 'cm', items: [{ key: 'k', path: 'k' }] } },
    { name: 'd', iscsi: {} },
  ]);
  const error = await scene.failure(pod);
  assert.equal(error.reason, 'FailedMount');
  assert.deepEqual(error.volumes, ['a', 'b', 'c', 'd']);
  assert.deepEqual(
    error.failures.map(({ message }) => message),
    [
      'MountVolume.SetUp failed for volume "a" : configmap "no" not found',
      'MountVolume.SetUp failed for volume "b" : secret "nope" not found',
      'MountVolume.SetUp failed for volume "c" : configmap references non-existent config key: k',
      'MountVolume.SetUp failed for volume "d" : volume source iscsi is not supported by keelson',
    ],
  );
});

test('a pod that waits for an object is woken when it comes', async () => {
  await using scene = await new Scene().start();
  const pod = await scene.pod('p', [{ name: 'c', configMap: { name: 'late' } }]);
  await scene.failure(pod);
  await scene.clock.advance(0);
  assert.deepEqual(scene.woken, []);
  await scene.api.create(configMaps, configMap('late', 'v'), never);
  await eventually(() => scene.woken.length === 1);
  await scene.setUp(pod);
  assert.equal(read(scene.path(pod, 'kubernetes.io~configmap/c/value')), 'v');
});

test('a pod that has its volume keeps it when the object goes; that is logged once', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('cm', 'v'), never);
  const pod = await scene.pod('p', [{ name: 'c', configMap: { name: 'cm' } }]);
  await scene.setUp(pod);
  await scene.clock.advance(0);
  await scene.api.delete(configMaps, { namespace: 'ns', name: 'cm' }, {}, never);
  await eventually(() => scene.logged.length === 1);
  await scene.setUp(pod);
  await scene.setUp({ ...pod });
  assert.equal(read(scene.path(pod, 'kubernetes.io~configmap/c/value')), 'v');
  assert.equal(scene.logged.length, 1);
  assert.match(scene.logged[0] ?? '', /configmap \\"cm\\" not found/);
});

test('after a restart volumes are adopted: no write, no new token, no new mount', async () => {
  await using before = await new Scene().start();
  await before.api.create(configMaps, configMap('kube-root-ca.crt', 'CA'), never);
  const pod = await before.pod('p', [apiAccess, { name: 'e' }]);
  await before.setUp(pod);
  const volume = before.path(pod, 'kubernetes.io~projected/kube-api-access');
  // A token as a real server makes it: the fake's own say nothing of themselves.
  const claims = { iat: before.clock.now() / 1000 - 60, exp: before.clock.now() / 1000 + 3547 };
  const bound = { pod: { uid: uidOf(pod) }, serviceaccount: { name: 'default' } };
  const token = `x.${Buffer.from(JSON.stringify({ ...claims, 'kubernetes.io': bound })).toString('base64url')}.y`;
  writeFileSync(join(volume, 'token'), token);
  const link = readlinkSync(join(volume, '..data'));
  const requests = before.calls(/serviceaccounts/);
  await using scene = await before.restart();
  await scene.setUp(pod);
  assert.equal(readlinkSync(join(volume, '..data')), link);
  assert.equal(read(join(volume, 'token')), token);
  assert.equal(scene.calls(/serviceaccounts/), requests);
  assert.deepEqual(scene.mounts.calls, [`mount ${scene.memory()}`]);
});

test('after a restart without an API server running pods keep what they have, new ones are told', async () => {
  await using before = await new Scene().start();
  await before.api.create(secrets, secret('sec', 'v'), never);
  const old = await before.pod('old', [{ name: 's', secret: { secretName: 'sec' } }]);
  const fresh = await before.pod('fresh', [{ name: 's', secret: { secretName: 'sec' } }]);
  await before.setUp(old);
  await using scene = await before.restart();
  for (const verb of ['get', 'list', 'watch'] as const) {
    scene.api.injectError(verb, 'secrets', new ApiError(503, { message: 'away' }), 1000);
  }
  await scene.setUp(old);
  assert.equal(read(scene.path(old, 'kubernetes.io~secret/s/value')), 'v');
  assert.equal((await scene.failure(fresh)).message, 'MountVolume.SetUp failed for volume "s" : away');
});

test('what could not be renewed is tried again until it can', async () => {
  await using before = await new Scene().start();
  await before.api.create(configMaps, configMap('kube-root-ca.crt', 'CA'), never);
  const pod = await before.pod('p', [apiAccess]);
  await before.setUp(pod);
  const path = before.path(pod, 'kubernetes.io~projected/kube-api-access/token');
  const old = read(path);
  await using scene = await before.restart();
  // The fake's tokens do not tell their age: the new life wants one of its own, and is refused.
  scene.api.injectError('create', 'serviceaccounts', new ApiError(503, { message: 'away' }));
  await scene.setUp(pod);
  assert.equal(read(path), old);
  assert.equal(scene.logged.length, 1);
  await scene.clock.advance(30_000);
  await eventually(() => read(path) !== old);
  await scene.clock.advance(30_000);
  // The renewal of the new token is the only thing that is waited for.
  assert.equal(scene.clock.pending, 1);
});

test('after a reboot the tmpfs is empty, and everything is rendered again', async () => {
  await using before = await new Scene().start();
  await before.api.create(secrets, secret('sec', 'v'), never);
  const pod = await before.pod('p', [{ name: 's', secret: { secretName: 'sec' } }]);
  await before.setUp(pod);
  await before.mounts.unmount(before.memory(), never);
  rmSync(before.memory(), { recursive: true });
  await using scene = await before.restart();
  await scene.setUp(pod);
  assert.equal(read(scene.path(pod, 'kubernetes.io~secret/s/value')), 'v');
  assert.equal(scene.mounts.calls.filter((call) => call === `mount ${scene.memory()}`).length, 2);
});

test("a kubelet's own tmpfs is used as it is, and unmounted in the end", async () => {
  await using scene = await new Scene().start();
  await scene.api.create(secrets, secret('sec', 'v'), never);
  const pod = await scene.pod('p', [{ name: 's', secret: { secretName: 'sec' } }]);
  const path = scene.path(pod, 'kubernetes.io~secret/s');
  mkdirSync(path, { recursive: true });
  await scene.mounts.mount('tmpfs', path, 'tmpfs', [], never);
  await scene.setUp(pod);
  assert.ok(lstatSync(path).isDirectory());
  assert.equal(read(join(path, 'value')), 'v');
  await scene.manager.tearDown(uidOf(pod), never);
  assert.equal(scene.mounts.calls.at(-1), `unmount ${path}`);
  assert.equal(existsSync(path), false);
});

test('a folder on disk in the place of a secret is replaced when empty, refused when not', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(secrets, secret('sec', 'v'), never);
  const pod = await scene.pod('p', [{ name: 's', secret: { secretName: 'sec' } }]);
  const path = scene.path(pod, 'kubernetes.io~secret/s');
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'mine'), '');
  assert.match((await scene.failure(pod)).message, /is a folder on disk with something in it/);
  rmSync(join(path, 'mine'));
  await scene.setUp(pod);
  assert.ok(lstatSync(path).isSymbolicLink());
});

test('an emptyDir is made once: what the pod does to it stays', async () => {
  await using before = await new Scene().start();
  const pod = await before.pod('p', [{ name: 'e' }], { securityContext: { fsGroup: 2000 } });
  await before.setUp(pod);
  const path = before.path(pod, 'kubernetes.io~empty-dir/e');
  const { mode, gid } = lstatSync(path);
  assert.deepEqual([mode & 0o7777, gid], [0o2777, 2000]);
  writeFileSync(join(path, 'kept'), 'x');
  rmSync(path, { recursive: true });
  mkdirSync(path, { mode: 0o700 });
  await using scene = await before.restart();
  await scene.setUp(pod);
  assert.equal(lstatSync(path).mode & 0o7777, 0o700);
  assert.deepEqual(readdirSync(join(path, '..')), ['e']);
});

test('an emptyDir in memory is a tmpfs of its own, mounted once', async () => {
  await using scene = await new Scene().start();
  const volume = { name: 'm', emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } };
  const pod = await scene.pod('p', [volume], { securityContext: { fsGroup: 2000 } });
  await scene.setUp(pod);
  await (await scene.restart()).setUp(pod);
  const path = scene.path(pod, 'kubernetes.io~empty-dir/m');
  const mounted = (await scene.mounts.list()).filter((mount) => mount.target === path);
  assert.equal(mounted.length, 1);
  assert.partialDeepStrictEqual(mounted[0], { type: 'tmpfs' });
  for (const option of ['size=16777216', 'mode=3777', 'gid=2000'])
    assert.ok(mounted[0]?.options.includes(option), option);
});

test('tearing down removes everything of the pod and nothing else', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(secrets, secret('sec', 'v'), never);
  const data = join(scene.root, 'data');
  mkdirSync(data);
  writeFileSync(join(data, 'kept'), '');
  const volumes: Volume[] = [
    { name: 's', secret: { secretName: 'sec' } },
    { name: 'm', emptyDir: { medium: 'Memory' } },
    { name: 'e' },
    { name: 'h', hostPath: { path: data } },
  ];
  const [pod, other] = [await scene.pod('p', volumes), await scene.pod('other', volumes)];
  await scene.setUp(pod);
  await scene.setUp(other);
  // A container may leave a link that leads out of its volume.
  symlinkSync(data, scene.path(pod, 'kubernetes.io~empty-dir/e/link'));
  assert.deepEqual(new Set(await scene.manager.podsOnDisk()), new Set([uidOf(pod), uidOf(other)]));
  await scene.manager.tearDown(uidOf(pod), never);
  await scene.manager.tearDown(uidOf(pod), never);
  assert.equal(existsSync(scene.path(pod)), false);
  assert.equal(existsSync(scene.memory(uidOf(pod))), false);
  await scene.manager.removePodDir(uidOf(pod));
  assert.deepEqual(await scene.manager.podsOnDisk(), [uidOf(other)]);
  assert.ok(existsSync(join(data, 'kept')));
  assert.equal(read(scene.path(other, 'kubernetes.io~secret/s/value')), 'v');
  assert.equal(scene.api.watchCount(secrets), 1);
  await scene.manager.tearDown(uidOf(other), never);
  await scene.clock.advance(0);
  assert.equal(scene.api.watchCount(secrets), 0);
  assert.deepEqual(
    (await scene.mounts.list()).map((mount) => mount.target),
    [scene.memory()],
  );
});

/** What lies in the folder has no line in the mount table: it came after that was read. */
const lateMounts: Record<string, string> = {
  'an NFS export': 'volumes/kubernetes.io~nfs/v',
  'a local volume': 'volumes/kubernetes.io~local-volume/pv-data',
  'a part of a volume': 'volume-subpaths/v/c/0',
};

for (const [what, place] of Object.entries(lateMounts)) {
  test(`tearing down does not walk into ${what} that is mounted while it is under way`, async () => {
    await using scene = await new Scene().start();
    const pod = await scene.pod('p', [{ name: 'e' }]);
    await scene.setUp(pod);
    const folder = join(scene.root, 'pods', uidOf(pod), place);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'data'), 'kept');
    await assert.rejects(scene.manager.tearDown(uidOf(pod), never), { code: 'MountedBelow' });
    assert.equal(read(join(folder, 'data')), 'kept');
    rmSync(join(folder, 'data'));
    await scene.manager.tearDown(uidOf(pod), never);
    assert.equal(existsSync(folder), false);
  });
}

test('a pod whose UID would lead out of the folder is refused', async () => {
  await using scene = await new Scene().start();
  const pod = await scene.pod('p', [{ name: 'e' }]);
  for (const uid of ['..', '../x', 'a/b', '']) {
    await assert.rejects(scene.manager.setUp(pod, podUid(uid), never), { code: 'BadPodUid' });
    await assert.rejects(scene.manager.tearDown(podUid(uid), never), { code: 'BadPodUid' });
    await assert.rejects(scene.manager.removePodDir(podUid(uid)), { code: 'BadPodUid' });
  }
});

test('an aborted set-up rejects and can be tried again', async () => {
  await using scene = await new Scene().start();
  await scene.api.create(configMaps, configMap('cm', 'v'), never);
  const pod = await scene.pod('p', [{ name: 'c', configMap: { name: 'cm' } }]);
  await assert.rejects(scene.manager.setUp(pod, uidOf(pod), AbortSignal.abort()), { name: 'AbortError' });
  await scene.setUp(pod);
});

/** A claim, and the local volume that is meant for it. */
async function createClaim(scene: Scene, name: string, source: object): Promise<void> {
  const claim = await scene.api.create(persistentVolumeClaims, { metadata: { namespace: 'ns', name } }, never);
  const spec = { claimRef: { uid: claim.metadata.uid ?? '' }, ...source };
  await scene.api.create(persistentVolumes, { metadata: { name: `pv-${name}` }, spec }, never);
}
const bind = (scene: Scene, name: string) => {
  const body = { spec: { volumeName: `pv-${name}` }, status: { phase: 'Bound' } };
  return scene.api.patch(persistentVolumeClaims, { namespace: 'ns', name }, { type: 'merge', body }, never);
};
const claimed = (claimName: string): Volume => ({ name: 'v', persistentVolumeClaim: { claimName } });
const makeDisk = (scene: Scene): string => {
  const disk = join(scene.root, 'disk');
  mkdirSync(disk);
  return disk;
};

test('a pod waits for its claim, is woken when it is bound, and asks no more once it has the volume', async () => {
  await using scene = await new Scene().start();
  await createClaim(scene, 'data', { local: { path: makeDisk(scene) } });
  const pod = await scene.pod('p', [claimed('data')]);
  assert.match((await scene.failure(pod)).message, /error processing PVC ns\/data: PVC is not bound$/);
  await bind(scene, 'data');
  // A node may not watch claims: it looks again.
  await scene.clock.advance(1_000);
  await eventually(() => scene.woken.length === 1);
  const path = scene.path(pod, 'kubernetes.io~local-volume/pv-data');
  assert.deepEqual(Object.fromEntries(await scene.setUp(pod)), { v: { hostPath: path, readOnly: false } });
  assert.ok(scene.mounts.calls.includes(`mount ${path}`));
  const calls = scene.api.calls.length;
  await scene.clock.advance(hour);
  await scene.setUp({ ...pod });
  assert.equal(scene.api.calls.length, calls);
});

test('after a restart a claimed volume is adopted as it is mounted, and taken down with the pod', async () => {
  await using before = await new Scene().start();
  await createClaim(before, 'data', { local: { path: makeDisk(before) } });
  await bind(before, 'data');
  const pod = await before.pod('p', [claimed('data')]);
  await before.setUp(pod);
  await using scene = await before.restart();
  const mounted = scene.mounts.calls.length;
  await scene.setUp(pod);
  assert.equal(scene.mounts.calls.length, mounted);
  await scene.manager.tearDown(uidOf(pod), never);
  assert.equal(scene.mounts.calls.at(-1), `unmount ${scene.path(pod, 'kubernetes.io~local-volume/pv-data')}`);
  assert.ok(existsSync(join(scene.root, 'disk')));
});

test('a claim whose volume comes late is waited for too', async () => {
  await using scene = await new Scene().start();
  const claim = { metadata: { namespace: 'ns', name: 'data' }, spec: { volumeName: 'pv' }, status: { phase: 'Bound' } };
  const { metadata } = await scene.api.create(persistentVolumeClaims, claim, never);
  const pod = await scene.pod('p', [claimed('data')]);
  assert.match((await scene.failure(pod)).message, /failed to fetch PV pv from API server: .*"pv" not found$/);
  const spec = { claimRef: { uid: metadata.uid ?? '' }, hostPath: { path: scene.root } };
  await scene.api.create(persistentVolumes, { metadata: { name: 'pv' }, spec }, never);
  await scene.clock.advance(1_000);
  await eventually(() => scene.woken.length === 1);
  assert.deepEqual((await scene.setUp(pod)).get('v'), { hostPath: scene.root, readOnly: false });
});

test('an API server that is away is said of a claim', async () => {
  await using scene = await new Scene().start();
  scene.api.injectError('get', 'persistentvolumeclaims', new ApiError(503, { message: 'away' }));
  const pod = await scene.pod('p', [claimed('data')]);
  assert.match(
    (await scene.failure(pod)).message,
    /error processing PVC ns\/data: failed to fetch PVC from API server: away$/,
  );
});

test('pods that share a volume but not its group are told so', async () => {
  await using scene = await new Scene().start();
  await createClaim(scene, 'data', { local: { path: makeDisk(scene) } });
  await bind(scene, 'data');
  const gid = process.getgid?.() ?? 0;
  const pod = await scene.pod('p', [claimed('data')], { securityContext: { fsGroup: gid } });
  await scene.setUp(pod);
  assert.deepEqual(scene.told, []);
  const other = await scene.pod('other', [claimed('data')], { securityContext: { fsGroup: gid + 1 } });
  // Only root can give the volume to another group.
  await scene.setUp(other).catch(() => {});
  assert.deepEqual(scene.told, [
    `other Warning AlreadyMountedVolume The requested fsGroup is ${gid + 1}, but the volume pv-data has GID ${gid}. The volume may not be shareable.`,
  ]);
});

/** mount(8) of NFS as it ends on the machine of this test. */
class NfsMounts extends FakeMounts {
  readonly options: string[] = [];
  stderr = '';

  override async mount(...args: Parameters<FakeMounts['mount']>): Promise<void> {
    const [source, , type, options] = args;
    if (type === 'nfs' && this.stderr) {
      const { stderr } = this;
      throw new ExecError('mount', stderr, { code: 'ExecFailed', exitCode: 32, stderr, timedOut: false });
    }
    this.options.push(`${type} ${source} ${options}`);
    await super.mount(...args);
  }
}

test('an NFS export is mounted with its options; a server that refuses is quoted, a helper that is missing explained', async () => {
  const mounts = new NfsMounts();
  await using scene = await new Scene(undefined, mounts).start();
  await createClaim(scene, 'data', { nfs: { server: 's', path: '/x' }, mountOptions: ['vers=4.2'] });
  await bind(scene, 'data');
  const volumes = [claimed('data'), { name: 'w', nfs: { server: 's', path: '/y', readOnly: true } }];
  const pod = await scene.pod('p', volumes);
  mounts.stderr = 'mount.nfs: access denied by server while mounting s:/x';
  assert.deepEqual(
    (await scene.failure(pod)).failures.map(({ message }) => message),
    [
      'MountVolume.SetUp failed for volume "pv-data" : mount: mount.nfs: access denied by server while mounting s:/x',
      'MountVolume.SetUp failed for volume "w" : mount: mount.nfs: access denied by server while mounting s:/x',
    ],
  );
  assert.deepEqual(readdirSync(scene.path(pod, 'kubernetes.io~nfs')), []);
  mounts.stderr = 'you might need a /sbin/mount.<type> helper program.';
  assert.equal((await scene.failure(pod)).hint, 'install it: apt-get install nfs-common');
  mounts.stderr = '';
  assert.deepEqual(Object.fromEntries(await scene.setUp(pod)), {
    v: { hostPath: scene.path(pod, 'kubernetes.io~nfs/pv-data'), readOnly: false },
    w: { hostPath: scene.path(pod, 'kubernetes.io~nfs/w'), readOnly: true },
  });
  assert.deepEqual(mounts.options.slice(1).sort(), ['nfs s:/x vers=4.2', 'nfs s:/y ro']);
});

test('an image is handed on to the runtime', async () => {
  await using scene = await new Scene().start();
  const pod = await scene.pod('p', [{ name: 'i', image: { reference: 'registry.test/files:1', pullPolicy: 'Never' } }]);
  assert.deepEqual((await scene.setUp(pod)).get('i'), {
    hostPath: '',
    readOnly: true,
    image: { image: 'registry.test/files:1' },
    pullPolicy: 'Never',
  });
});

test('a part of a volume is found again after a restart, goes with the pod, and tells its owner nothing of the host', async () => {
  await using before = await new Scene().start();
  const pod = await before.pod('p', [{ name: 'e', emptyDir: {} }]);
  const volumePath = (await before.setUp(pod)).get('e')?.hostPath ?? '';
  const part = { uid: uidOf(pod), volume: 'e', volumePath, container: 'c', index: 2, subPath: 'a/b' };
  const path = await before.manager.subPath(part, never);
  assert.equal(path, join(before.root, 'pods', uidOf(pod), 'volume-subpaths/e/c/2'));
  await assert.rejects(before.manager.subPath({ ...part, index: 3, subPath: '../../x' }, never), {
    message: 'failed to prepare subPath for volumeMount "e" of container "c"',
  });
  assert.match(before.logged.at(-1) ?? '', /subPath not prepared .*is not within the volume/);
  await using scene = await before.restart();
  await scene.manager.tearDown(uidOf(pod), never);
  assert.equal(scene.mounts.calls.at(-1), `unmount ${path}`);
  assert.ok(!existsSync(path));
});

test('on a node by itself, what only an API server can tell is refused with the remedy', async () => {
  await using scene = await new Scene().start();
  const trust = { clusterTrustBundle: { name: 'one', path: 'ca' } };
  const pod = await scene.pod('p', [claimed('data'), { name: 't', projected: { sources: [trust] } }]);
  const { mounts, clock, exec } = scene;
  const objects = new ManifestObjectSource(() => ({ configMaps: [], secrets: [] }));
  const alone = new VolumeManager({ rootDir: scene.root, objects, mounts, exec, clock, log: silentLog });
  await alone.start(never);
  await assert.rejects(alone.setUp(pod, uidOf(pod), never), (error: VolumeError) => {
    assert.deepEqual(
      error.failures.map(({ message, hint }) => [message.split(': ').at(-1), hint]),
      [
        [
          'there is no API server to tell what the claim is bound to',
          'use hostPath in pods of a node by itself, or join a cluster',
        ],
        [
          'there is no API server to ask for ClusterTrustBundle "one"',
          'leave it out of pods of a node by itself, or join a cluster',
        ],
      ],
    );
    return true;
  });
});
