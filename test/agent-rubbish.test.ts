import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PODS, SERVICES } from './apiserver/kinds.ts';
import { Cluster, containerOf, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxImage } from './images/images.ts';

/** What the API server could send if it had lost its mind, over its watches: each object costs only itself. */

const loop = { command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'] };
const container = { name: 'c', image: BUSYBOX_IMAGE, ...loop };
let cluster: Cluster;
before(async () => {
  cluster = await Cluster.create('rubbish', { images: [busyboxImage()] });
  cluster.createPod('steady', { containers: [container] });
  await cluster.startKeelson();
  await cluster.whenPodReady('steady');
});
after(() => cluster[Symbol.asyncDispose]());

const meta = (name: unknown, more: object = {}) => ({ namespace: 'default', name, uid: `uid-${name}`, ...more });
const spec = { nodeName: NODE, containers: [container] };

/** By the part of the log line that tells of it. */
const oddPods: Record<string, unknown> = {
  'the object null is not an object': null,
  'the object \\"x\\" is not an object': 'x',
  'metadata is absent': { spec },
  'metadata null is not an object': { metadata: null, spec },
  'metadata.name is absent': { metadata: { namespace: 'default', uid: 'u' }, spec },
  'metadata.name \\"../../../etc\\" is no name': { metadata: meta('../../../etc', { uid: 'u' }), spec },
  'metadata.name 7 is no name': { metadata: meta(7), spec },
  'metadata.namespace \\"a/b\\" is no namespace': { metadata: { ...meta('slash'), namespace: 'a/b' }, spec },
  'metadata.uid \\"../../x\\" is no UID': { metadata: meta('path', { uid: '../../x' }), spec },
  'metadata.uid is missing': { metadata: { namespace: 'default', name: 'nobody' }, spec },
  'metadata.labels \\"x\\" is not a map': { metadata: meta('labels', { labels: 'x' }), spec },
  'metadata.annotations.a (number) is not a text': { metadata: meta('notes', { annotations: { a: 5 } }), spec },
  'metadata.deletionTimestamp \\"soon\\" is not a time': {
    metadata: meta('going', { deletionTimestamp: 'soon' }),
    spec,
  },
  'spec.containers is missing': { metadata: meta('no-spec'), spec: null },
  'spec.containers[0] null is not a map': { metadata: meta('no-container'), spec: { ...spec, containers: [null] } },
  'spec.containers[0].image 5 is not a string': {
    metadata: meta('image'),
    spec: { ...spec, containers: [{ ...container, image: 5 }] },
  },
  'spec.containers[0].name \\"../c\\" is not a name': {
    metadata: meta('container'),
    spec: { ...spec, containers: [{ ...container, name: '../c' }] },
  },
  'status 5 is not a map': { metadata: meta('status'), spec, status: 5 },
};
const oddServices: Record<string, unknown> = {
  'the object [] is not an object': [],
  'metadata \\"x\\" is not an object': { metadata: 'x' },
  'spec is absent and is no specification': { metadata: meta('no-spec'), spec: null },
  'spec.ports[0].port \\"80\\" is not a port number': {
    metadata: meta('text-port'),
    spec: { clusterIP: '10.96.1.1', ports: [{ port: '80' }] },
  },
};

test('rubbish in the watches is said once each, and nobody else is disturbed', async () => {
  const { api, keelson } = cluster;
  const { watches } = api;
  const before = containerOf(await cluster.whenPodReady('steady'), 'c')?.containerID;
  api.requests.length = 0;
  const send = (resource: string, line: object) => watches.sendRaw({ resource }, JSON.stringify(line));
  for (const type of ['ADDED', 'MODIFIED']) {
    for (const object of Object.values(oddPods)) assert.ok(send('pods', { type, object }) > 0);
    for (const object of Object.values(oddServices)) assert.ok(send('services', { type, object }) > 0);
  }
  for (const line of [{}, { type: 'WEIRD', object: {} }, { type: 'BOOKMARK', object: null }, { type: 'DELETED' }])
    send('pods', line);
  const steady = cluster.pod('steady');
  send('pods', { type: 'MODIFIED', object: { ...steady, status: 'x' } });
  send('pods', { type: 'ADDED', object: { ...steady, metadata: { ...steady?.metadata, name: 'twin' } } });
  send('pods', {
    type: 'ADDED',
    object: { metadata: meta('huge', { labels: { a: 'x'.repeat(5_000_000) } }), spec: 'x' },
  });

  for (const words of [...Object.keys(oddPods), ...Object.keys(oddServices), 'is that of default/steady']) {
    await keelson.waitForLog((line) => line.includes(words) && line.includes('"warn"'));
    const said = keelson.lines.filter((line) => line.includes(words));
    assert.equal(said.length, 1, said.join('\n'));
  }
  cluster.createPod('after', { containers: [container] });
  await cluster.whenPodReady('after');
  const [now] = [containerOf(await cluster.whenPodReady('steady'), 'c')];
  assert.deepEqual([now?.containerID, now?.restartCount], [before, 0]);
  const again = api.requests.filter(
    ({ verb, resource }) => /list|watch/.test(verb) && /^(pods|services)$/.test(resource),
  );
  assert.deepEqual(again, [], 'nothing is asked for anew');

  // The storage itself is damaged: the next list has it too, beside the healthy ones.
  const stored = structuredClone(api.store.get(PODS, 'default', 'after'));
  assert.ok(stored);
  api.store.put(PODS, { ...stored, metadata: { ...stored.metadata, labels: 5 } } as never);
  api.store.put(SERVICES, { apiVersion: 'v1', kind: 'Service', metadata: meta('stored'), spec: null } as never);
  api.store.compact();
  api.watches.expire({ resource: 'pods' });
  await keelson.waitForLog(/metadata\.labels 5 is not a map.*"isKept":true/);
  cluster.createPod('last', { containers: [container] });
  await cluster.whenPodReady('last');
  assert.equal(containerOf(await cluster.whenPodReady('after'), 'c')?.restartCount, 0);
  const errors = keelson.lines.filter((line) => line.includes('"level":"error"'));
  assert.deepEqual(errors, []);
});
