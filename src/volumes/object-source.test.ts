import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { ConfigMap, Secret } from '../api/core-v1.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { configMaps, secrets } from '../kubeapi/resources.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { ApiObjectSource } from './api-object-source.ts';
import { ManifestObjectSource } from './manifest-object-source.ts';
import { type ObjectRef, refKey } from './object-source.ts';

const never = new AbortController().signal;
const map = (name: string, value: string): ConfigMap => ({ metadata: { namespace: 'ns', name }, data: { value } });
const mapRef = (name: string): ObjectRef => ({ kind: 'ConfigMap', namespace: 'ns', name });

class Scene {
  readonly clock = new FakeClock();
  readonly api = new FakeKubeApi(this.clock);
  readonly source = new ApiObjectSource({ api: this.api, clock: this.clock, log: silentLog });
  readonly heard: string[] = [];

  constructor() {
    this.source.onChange((ref) => this.heard.push(refKey(ref)));
  }

  get(name: string) {
    return this.source.get('ConfigMap', { namespace: 'ns', name }, never);
  }

  count(verb: string): number {
    return this.api.calls.filter((call) => call.startsWith(`${verb} configmaps`)).length;
  }

  /** Lets the watches that have been started get going. */
  settle(): Promise<void> {
    return this.clock.advance(0);
  }
}

test('an object is there after one round trip, without what nobody reads', async () => {
  const scene = new Scene();
  const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': 'all over again' };
  await scene.api.create(configMaps, { ...map('a', '1'), metadata: { ...map('a', '1').metadata, annotations } }, never);
  scene.source.acquire('pod', [mapRef('a')]);
  const object = await scene.get('a');
  assert.deepEqual(object?.data, { value: '1' });
  assert.equal(object?.metadata.annotations, undefined);
  assert.equal(scene.count('get'), 1);
});

test('many pods that hold the same object cost one request and one watch, until the last lets go', async () => {
  const scene = new Scene();
  await scene.api.create(configMaps, map('a', '1'), never);
  for (let i = 0; i < 50; i++) scene.source.acquire(`pod-${i}`, [mapRef('a')]);
  await Promise.all(Array.from({ length: 50 }, () => scene.get('a')));
  await scene.settle();
  await scene.get('a');
  assert.equal(scene.count('get'), 1);
  assert.equal(scene.api.watchCount(configMaps), 1);
  for (let i = 0; i < 49; i++) scene.source.release(`pod-${i}`);
  await scene.settle();
  assert.equal(scene.api.watchCount(configMaps), 1);
  scene.source.release('pod-49');
  await scene.settle();
  assert.equal(scene.api.watchCount(configMaps), 0);
  assert.deepEqual(scene.source.counts, { held: 0, watched: 0 });
});

test('a pod that refers to something else lets go of the rest', async () => {
  const scene = new Scene();
  scene.source.acquire('pod', [mapRef('a'), mapRef('b')]);
  scene.source.acquire('pod', [mapRef('b'), mapRef('c')]);
  assert.equal(scene.source.counts.held, 2);
  await assert.rejects(scene.get('a'), /"ns"\/"a" not registered/);
});

test('changes are told and seen; what is known already is not told', async () => {
  const scene = new Scene();
  await scene.api.create(configMaps, map('a', '1'), never);
  scene.source.acquire('pod', [mapRef('a')]);
  await scene.get('a');
  await scene.settle();
  assert.deepEqual(scene.heard, []);
  await scene.api.patch(
    configMaps,
    { namespace: 'ns', name: 'a' },
    { type: 'merge', body: { data: { value: '2' } } },
    never,
  );
  await scene.settle();
  assert.deepEqual(scene.heard, ['ConfigMap/ns/a']);
  assert.equal((await scene.get('a'))?.data?.['value'], '2');
});

test('an object that is not there is undefined, and told when it comes and when it goes', async () => {
  const scene = new Scene();
  scene.source.acquire('pod', [mapRef('a')]);
  assert.equal(await scene.get('a'), undefined);
  await scene.settle();
  await scene.api.create(configMaps, map('a', '1'), never);
  await scene.settle();
  assert.equal((await scene.get('a'))?.data?.['value'], '1');
  await scene.api.delete(configMaps, { namespace: 'ns', name: 'a' }, {}, never);
  await scene.settle();
  assert.equal(await scene.get('a'), undefined);
  assert.deepEqual(scene.heard, ['ConfigMap/ns/a', 'ConfigMap/ns/a']);
  assert.equal(scene.count('get'), 1);
});

test('what comes before anybody has asked is no change, what comes after is', async () => {
  const scene = new Scene();
  await scene.api.create(configMaps, map('a', '1'), never);
  scene.source.acquire('pod', [mapRef('a'), mapRef('b')]);
  await scene.settle();
  assert.deepEqual([(await scene.get('a'))?.data?.['value'], await scene.get('b')], ['1', undefined]);
  assert.equal(scene.count('get'), 0);
  assert.deepEqual(scene.heard, []);
  await scene.api.create(configMaps, map('b', '1'), never);
  await scene.settle();
  assert.deepEqual(scene.heard, ['ConfigMap/ns/b']);
});

test("a refusal is the server's own, and the next question is asked anew", async () => {
  const scene = new Scene();
  await scene.api.create(secrets, { metadata: { namespace: 'ns', name: 's' } } satisfies Secret, never);
  const refusal = new ApiError(403, { reason: 'Forbidden', message: 'secrets "s" is forbidden: no relationship' });
  for (const verb of ['get', 'list', 'watch'] as const) scene.api.injectError(verb, 'secrets', refusal);
  const ref: ObjectRef = { kind: 'Secret', namespace: 'ns', name: 's' };
  scene.source.acquire('pod', [ref]);
  await assert.rejects(scene.source.get('Secret', ref, never), { message: refusal.message });
  assert.equal((await scene.source.get('Secret', ref, never))?.metadata.name, 's');
  scene.source.release('pod');
});

test('an immutable object is not watched', async () => {
  const scene = new Scene();
  await scene.api.create(configMaps, { ...map('a', '1'), immutable: true }, never);
  scene.source.acquire('pod', [mapRef('a')]);
  await scene.get('a');
  await scene.settle();
  assert.deepEqual(scene.source.counts, { held: 1, watched: 0 });
  assert.equal(scene.api.watchCount(configMaps), 0);
  assert.equal((await scene.get('a'))?.data?.['value'], '1');
});

test('who gives up waiting does not take the answer from others', async () => {
  const scene = new Scene();
  await scene.api.create(configMaps, map('a', '1'), never);
  scene.source.acquire('pod', [mapRef('a')]);
  const impatient = new AbortController();
  const first = scene.source.get('ConfigMap', mapRef('a'), impatient.signal);
  const second = scene.get('a');
  impatient.abort();
  await assert.rejects(first, { name: 'AbortError' });
  assert.equal((await second)?.data?.['value'], '1');
});

test('the manifest directory: what is there, and what differs after a change', async () => {
  let current = { configMaps: [map('a', '1'), map('b', '1')], secrets: [] as Secret[] };
  const source = new ManifestObjectSource(() => current);
  const heard: string[] = [];
  const get = (name: string) => source.get('ConfigMap', { namespace: 'ns', name }, never);
  using _ = source.onChange((ref) => heard.push(refKey(ref)));
  assert.equal((await get('a'))?.data?.['value'], '1');
  assert.equal(await get('c'), undefined);
  const secret: Secret = { metadata: { name: 's' } };
  current = { configMaps: [current.configMaps[0] ?? map('a', '?'), map('c', '1')], secrets: [secret] };
  source.changed();
  await setImmediate();
  assert.deepEqual(heard.sort(), ['ConfigMap/ns/b', 'ConfigMap/ns/c', 'Secret/default/s']);
  assert.equal(await get('b'), undefined);
  assert.equal(await source.get('Secret', { namespace: 'default', name: 's' }, never), secret);
});
