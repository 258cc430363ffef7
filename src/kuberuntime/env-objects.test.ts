import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConfigMap, Container, Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { type ObjectOf, type ObjectRef, type ObjectSource, refKey } from '../volumes/object-source.ts';
import { EnvObjects, type EnvObjectValues, envReferences } from './env-objects.ts';

const signal = AbortSignal.timeout(10_000);
const uid = podUid('u');
const container: Container = {
  name: 'c',
  envFrom: [{ configMapRef: { name: 'cm' } }, { secretRef: { name: 'sec', optional: true } }],
  env: [
    { name: 'A', valueFrom: { configMapKeyRef: { name: 'cm', key: 'a' } } },
    { name: 'B', valueFrom: { secretKeyRef: { name: 'other', key: 'b' } } },
    { name: 'C', value: '1' },
  ],
};
const sidecar: Container = { name: 's', envFrom: [{ configMapRef: { name: 'side' } }] };
const pod: Pod = deepFreeze({
  metadata: { name: 'p', namespace: 'ns', uid },
  spec: { containers: [container, { name: 'plain' }], initContainers: [sidecar] },
});

/** Objects of one namespace, in memory. */
class TestObjects implements ObjectSource {
  readonly held = new Map<string, readonly string[]>();
  readonly there = new Map<string, ConfigMap>();
  readonly listeners = new Set<(ref: ObjectRef) => void>();

  acquire(owner: string, refs: readonly ObjectRef[]): void {
    this.held.set(owner, refs.map(refKey));
  }

  release(owner: string): void {
    this.held.delete(owner);
  }

  async get<K extends ObjectRef['kind']>(
    kind: K,
    ref: { readonly namespace: string; readonly name: string },
    _signal?: AbortSignal,
  ): Promise<ObjectOf[K] | undefined> {
    const key = refKey({ kind, ...ref });
    assert.ok([...this.held.values()].flat().includes(key), `${key} is held`);
    return this.there.get(key) as ObjectOf[K] | undefined;
  }

  onChange(listener: (ref: ObjectRef) => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => this.listeners.delete(listener) };
  }

  put(name: string): void {
    const ref = { kind: 'ConfigMap' as const, namespace: 'ns', name };
    this.there.set(refKey(ref), { metadata: { name, namespace: 'ns' }, data: { a: '1' } });
    for (const listener of this.listeners) listener(ref);
  }
}

function parts() {
  const objects = new TestObjects();
  const woken: string[] = [];
  const env = new EnvObjects({ objects, wake: (who) => woken.push(who) });
  const names = ({ configMaps, secrets }: EnvObjectValues) => [...configMaps.keys(), ...secrets.keys()];
  const needs = (name: string) => (values: EnvObjectValues) => {
    if (!values.configMaps.has(name)) throw new Error(`${name} is missing`);
    return names(values);
  };
  return { objects, woken, env, needs, names };
}

test('each object that a container refers to is named once', () => {
  const keys = envReferences(container, 'ns').map(refKey);
  assert.deepEqual(keys, ['ConfigMap/ns/cm', 'Secret/ns/sec', 'Secret/ns/other']);
});

test('a container that refers to none costs nothing', async () => {
  const { env, objects, names } = parts();
  assert.deepEqual(await env.use({ uid, pod, container: { name: 'plain' } }, names, signal), []);
  assert.equal(objects.held.size, 0);
});

test("the objects of the whole pod are held beside the volumes', until the pod stops", async () => {
  const { env, objects, needs } = parts();
  objects.put('cm');
  assert.deepEqual(await env.use({ uid, pod, container }, needs('cm'), signal), ['cm']);
  assert.deepEqual([...objects.held.keys()], ['u/env']);
  assert.ok(objects.held.get('u/env')?.includes('ConfigMap/ns/side'));
  assert.equal(objects.listeners.size, 0, 'nobody waits');
  env.release(uid);
  assert.equal(objects.held.size, 0);
});

test('a missing object wakes its pod when it appears, and no other object does', async () => {
  const { env, objects, woken, needs } = parts();
  await assert.rejects(env.use({ uid, pod, container }, needs('cm'), signal), { message: 'cm is missing' });
  objects.put('side');
  assert.deepEqual(woken, []);
  objects.put('cm');
  assert.deepEqual(woken, ['u']);
  await env.use({ uid, pod, container }, needs('cm'), signal);
  objects.put('cm');
  assert.deepEqual(woken, ['u'], 'it runs: later changes are nothing to it');
});

test('a pod that stopped is not woken', async () => {
  const { env, objects, woken, needs } = parts();
  await assert.rejects(env.use({ uid, pod, container }, needs('cm'), signal));
  env.release(uid);
  objects.put('cm');
  assert.deepEqual([woken, objects.listeners.size], [[], 0]);
});

test('a change while the objects are being read is not missed', async () => {
  const { env, objects, woken, needs } = parts();
  const failing = env.use(
    { uid, pod, container },
    (values) => {
      objects.put('cm');
      return needs('cm')(values);
    },
    signal,
  );
  await assert.rejects(failing);
  assert.deepEqual(woken, ['u']);
});

test("an object that nobody answers for is given up in upstream's words", async () => {
  const { objects, needs } = parts();
  objects.get = (_kind, _ref, inTime?: AbortSignal) =>
    new Promise((_, reject) => inTime?.addEventListener('abort', () => reject(inTime.reason)));
  const env = new EnvObjects({ objects, wake: () => {}, readTimeoutMs: 1 });
  await assert.rejects(env.use({ uid, pod, container }, needs('cm'), signal), {
    message: /^failed to sync (configmap|secret) cache: timed out waiting for the condition$/,
  });
});
