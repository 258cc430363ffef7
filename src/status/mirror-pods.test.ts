import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, Pod } from '../api/core-v1.ts';
import { mirrorPodUid } from '../api/ids.ts';
import { configHashAnnotation, configMirrorAnnotation, configSourceAnnotation } from '../api/pod.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { pods } from '../kubeapi/resources.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { silentLog } from '../lib/log.ts';
import { type MirrorPod, PodManager } from '../pod/pod-manager.ts';
import { computeMirrorActions, MirrorPods, mirrorPodOf } from './mirror-pods.ts';

const signal = new AbortController().signal;
const node: Node = deepFreeze({ metadata: { name: 'n', uid: 'node-uid' } });

const staticPod = (name: string, hash = 'h1'): Pod =>
  deepFreeze({
    metadata: {
      ...{ name, namespace: 'ns', uid: `${name}-${hash}`, labels: { app: name } },
      annotations: { [configHashAnnotation]: hash, [configSourceAnnotation]: 'file' },
    },
    spec: { nodeName: 'n', containers: [{ name: 'a', image: 'i' }] },
  });
const mirror = (name: string, hash = 'h1', over: Partial<Pod['metadata']> = {}): MirrorPod => {
  const pod = mirrorPodOf(staticPod(name, hash), node);
  return deepFreeze({
    uid: mirrorPodUid(`mirror-of-${name}`),
    pod: { ...pod, metadata: { ...pod.metadata, uid: `mirror-of-${name}`, ...over } },
  });
};

const decisions: Record<string, { pods: Pod[]; mirrors: MirrorPod[]; create?: string[]; remove?: string[] }> = {
  'a static pod without a mirror gets one': { pods: [staticPod('a')], mirrors: [], create: ['a'] },
  'a mirror that fits is left alone': { pods: [staticPod('a')], mirrors: [mirror('a')] },
  'a mirror without its pod goes': { pods: [], mirrors: [mirror('a')], remove: ['a'] },
  'a mirror of older content goes first; the new one is made when it is gone': {
    pods: [staticPod('a', 'h2')],
    mirrors: [mirror('a', 'h1')],
    remove: ['a'],
  },
  'a mirror that somebody deleted goes at once, to come back': {
    pods: [staticPod('a')],
    mirrors: [mirror('a', 'h1', { deletionTimestamp: 't' })],
    remove: ['a'],
  },
  'namesakes in other namespaces are others': {
    pods: [staticPod('a')],
    mirrors: [mirror('a', 'h1', { namespace: 'other' })],
    create: ['a'],
    remove: ['a'],
  },
};

for (const [sentence, { pods: wanted, mirrors, create = [], remove = [] }] of Object.entries(decisions)) {
  test(sentence, () => {
    const actions = computeMirrorActions(deepFreeze(wanted), deepFreeze(mirrors));
    assert.deepEqual(
      actions.create.map((p) => p.metadata.name),
      create,
    );
    assert.deepEqual(
      actions.remove.map((m) => m.pod.metadata.name),
      remove,
    );
  });
}

test('a mirror is the pod, marked, and owned by the node', () => {
  const { metadata, spec } = mirrorPodOf(staticPod('a'), node);
  assert.equal(metadata.uid, undefined);
  assert.equal(metadata.annotations?.[configMirrorAnnotation], 'h1');
  assert.equal(metadata.annotations?.[configSourceAnnotation], 'file');
  assert.deepEqual(metadata.labels, { app: 'a' });
  assert.deepEqual(metadata.ownerReferences, [
    { apiVersion: 'v1', kind: 'Node', name: 'n', uid: 'node-uid', controller: true },
  ]);
  assert.deepEqual(spec, staticPod('a').spec);
});

// --- Carried out ---

function setUp(owner: Node | undefined) {
  const api = new FakeKubeApi();
  const manager = new PodManager(
    () => 0,
    () => {},
  );
  const mirrors = new MirrorPods({ api, manager, node: () => owner, log: silentLog });
  const pass = () => mirrors.syncOnce(signal);
  /** The watch delivers what the server has now. */
  const deliver = async () => {
    const { items } = await api.list(pods, {}, signal);
    const there = new Map(items.map((p) => [`${p.metadata.namespace}/${p.metadata.name}`, p]));
    for (const key of new Set([...[...manager.mirrors()].map((m) => `ns/${m.pod.metadata.name}`), ...there.keys()]))
      manager.setFromApi(key, there.get(key));
  };
  const stored = async () =>
    (await api.list(pods, {}, signal)).items.map(
      ({ metadata: m }) => `${m.name} ${m.annotations?.[configMirrorAnnotation]}`,
    );
  const writes = () => api.calls.filter((c) => !c.startsWith('list'));
  return { api, manager, pass, deliver, stored, writes };
}

test('mirrors follow the manifest directory', async () => {
  const o = setUp(node);
  o.manager.setFromFiles([staticPod('a'), staticPod('b')]);
  assert.equal(await o.pass(), true);
  await o.deliver();
  assert.deepEqual(await o.stored(), ['a h1', 'b h1']);
  o.manager.setFromFiles([staticPod('b', 'h2')]);
  for (let i = 0; i < 2; i++) {
    await o.pass();
    await o.deliver();
  }
  assert.deepEqual(await o.stored(), ['b h2']);
  o.api.calls.length = 0;
  assert.equal(await o.pass(), true);
  assert.deepEqual(o.writes(), []);
});

test('before the node is registered there is no owner, and nothing is made', async () => {
  const o = setUp(undefined);
  o.manager.setFromFiles([staticPod('a')]);
  assert.equal(await o.pass(), false);
  assert.deepEqual(o.writes(), []);
});

test('a pod that the watch has not shown yet is there all the same', async () => {
  const o = setUp(node);
  o.manager.setFromFiles([staticPod('a')]);
  await o.pass();
  assert.equal(await o.pass(), true);
  assert.deepEqual(await o.stored(), ['a h1']);
});

test('a mirror that another took the name of is not removed', async () => {
  const o = setUp(node);
  o.manager.setFromApi('ns/a', mirror('a').pod);
  await o.api.create(pods, { ...staticPod('a'), metadata: { name: 'a', namespace: 'ns', uid: 'other' } }, signal);
  assert.equal(await o.pass(), true);
  assert.equal((await o.api.get(pods, { namespace: 'ns', name: 'a' }, signal)).metadata.uid, 'other');
});

test('a pass that fails says so, has done the rest, and is made good by the next', async () => {
  const o = setUp(node);
  o.manager.setFromFiles([staticPod('a'), staticPod('b')]);
  o.api.injectError('create', 'pods', new ApiError(500, { message: 'etcd is away' }));
  assert.equal(await o.pass(), false);
  assert.deepEqual(await o.stored(), ['b h1']);
  await o.deliver();
  assert.equal(await o.pass(), true);
  assert.deepEqual(await o.stored(), ['a h1', 'b h1']);
});

test('a static pod that has to end gets no new mirror', async () => {
  const o = setUp(node);
  o.manager.setFromFiles([staticPod('a')]);
  for (const { uid } of o.manager.all()) o.manager.terminate(uid, { reason: 'Evicted', message: 'memory' });
  await o.pass();
  assert.deepEqual(await o.stored(), []);
});
