import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type Answer, TestClient, take, type WatchedEvent } from './client.ts';
import { isFields } from './objects.ts';
import { StandInApiServer } from './server.ts';

/** A recorded answer of kube-apiserver: status, header names and values, body. */
function recording(name: string): { status: number; headers: Map<string, string>; text: string } {
  const content = readFileSync(new URL(`../wire/${name}.txt`, import.meta.url), 'utf8');
  const split = content.indexOf('\n\n');
  const [first = '', ...lines] = content.slice(0, split).replaceAll('\r', '').split('\n');
  const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
  return { status: Number(first.split(' ')[1]), headers, text: content.slice(split + 2).trimEnd() };
}

/** Replaces what differs from one run to the next; what the server keeps about field owners it does not have. */
function normal(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => normal(item));
  if (isFields(value)) {
    const kept = Object.entries(value).filter(([name]) => name !== 'managedFields');
    return Object.fromEntries(kept.map(([name, entry]) => [name, normal(entry, name)]));
  }
  if (VOLATILE.test(key) || /^X509SHA256=/.test(`${value}`)) return `<${key}>`;
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value)) return '<time>';
  return value;
}
const VOLATILE = /^(uid|resourceVersion|token)$/;

const HEADERS = ['cache-control', 'content-type', 'x-content-type-options'];

function assertSame(answer: Answer, name: string, edit: (text: string) => string = (text) => text): void {
  const expected = recording(name);
  assert.equal(answer.status, expected.status);
  for (const header of HEADERS) assert.equal(answer.headers[header], expected.headers.get(header), header);
  for (const header of expected.headers.keys()) assert.ok(header in answer.headers, `header ${header} is missing`);
  assert.deepEqual(normal(JSON.parse(edit(answer.text))), normal(JSON.parse(expected.text)));
}

describe('answers are those of the recordings', () => {
  let server: StandInApiServer;
  let admin: TestClient;
  let node: TestClient;
  before(async () => {
    server = await StandInApiServer.start({ endpointSlices: false, podNetwork: false });
    admin = TestClient.admin(server);
    node = TestClient.node(server, 'peer-node');
    server.create({ kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'golden' } });
    server.create({ kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'cm', namespace: 'golden' } });
  });
  after(async () => {
    await admin[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
    await server.stop();
  });

  test('an anonymous list is forbidden', async () => {
    await using anonymous = new TestClient(server, 'anonymous');
    assertSame(await anonymous.get('/api/v1/nodes'), 'error-401-anonymous-403');
  });

  test('a bad token is unauthorized', async () => {
    await using stranger = new TestClient(server, { token: 'bad' });
    assertSame(await stranger.get('/api/v1/nodes'), 'error-401-bad-token');
  });

  test('a node that may read nodes through a role finds another one missing', async () => {
    const binding = {
      metadata: { name: 'nodes-proxy' },
      roleRef: { kind: 'ClusterRole', name: 'system:node-proxier' },
      subjects: [{ kind: 'Group', name: 'system:nodes' }],
    };
    const path = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
    assert.equal((await admin.post(path, binding)).status, 201);
    assertSame(await node.get('/api/v1/nodes/other'), 'error-403-other-node');
    assert.equal((await admin.delete(`${path}/nodes-proxy`)).status, 200);
    assert.equal((await node.get('/api/v1/nodes/other')).status, 403);
  });

  test('a node may not read a secret that none of its pods uses', async () => {
    assertSame(await node.get('/api/v1/namespaces/golden/secrets/nope'), 'error-403-secret-not-on-node');
  });

  test('a missing object is not found', async () => {
    assertSame(await admin.get('/api/v1/namespaces/golden/secrets/nope'), 'error-404');
  });

  test('a stale resourceVersion is a conflict', async () => {
    const stale = { metadata: { name: 'cm', resourceVersion: '1' }, data: { a: 'b' } };
    assertSame(await admin.send('PUT', '/api/v1/namespaces/golden/configmaps/cm', stale), 'error-409-conflict');
  });

  test('a name that is taken exists already', async () => {
    assertSame(await admin.post('/api/v1/namespaces', { metadata: { name: 'golden' } }), 'error-409-exists');
  });

  test('a pod without containers is invalid', async () => {
    const answer = await admin.post('/api/v1/namespaces/golden/pods', { metadata: { name: 'x' }, spec: {} });
    assertSame(answer, 'error-422-invalid');
  });

  test('curl gets the very bytes, indented', async () => {
    const agent = { 'user-agent': 'curl/8.0' };
    const answer = await admin.send('GET', '/api/v1/namespaces/golden/secrets/nope', undefined, agent);
    assert.equal(answer.text, recording('error-404').text);
    assert.equal(answer.headers['content-length'], recording('error-404').headers.get('content-length'));
  });

  test('a watch from a forgotten version expires with an event', async () => {
    server.store.compact();
    const events = await node.watch('/api/v1/pods?watch=1&resourceVersion=1&fieldSelector=spec.nodeName%3Dpeer-node');
    const [event] = await take(events, 1);
    const expected = recording('watch-expired');
    const numbers = (text: string) => text.replace(/version: 1 \(\d+\)/, 'version: 1 (N)');
    assert.deepEqual(JSON.parse(numbers(JSON.stringify(event))), JSON.parse(numbers(expected.text)));
    assert.equal(events.headers['content-type'], expected.headers.get('content-type'));
    assert.equal((await events.next()).done, true);
  });

  test('a streaming list is refused with an event when it is switched off', async () => {
    server.watches.options.watchList = false;
    const query = 'watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const events = await admin.watch(`/api/v1/pods?${query}`);
    assert.deepEqual(await take(events, 1), [JSON.parse(recording('watch-list-unsupported').text)]);
    assert.equal((await events.next()).done, true);
    server.watches.options.watchList = true;
  });

  test('a bad token is reviewed as such', async () => {
    const review = { kind: 'TokenReview', apiVersion: 'authentication.k8s.io/v1', spec: { token: 'bad' } };
    const recorded = JSON.parse(recording('tokenreview-bad').text);
    const answer = await admin.post('/apis/authentication.k8s.io/v1/tokenreviews', review);
    assertSame(answer, 'tokenreview-bad');
    assert.equal(answer.body.spec?.['token'], recorded.spec.token);
  });

  test('a review of a right somebody lacks denies it', async () => {
    const resourceAttributes = { verb: 'get', resource: 'nodes', subresource: 'metrics', name: 'peer-node' };
    const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
    assertSame(await node.post(path, { spec: { resourceAttributes, user: 'bob' } }), 'subjectaccessreview-denied');
  });

  test('a signing request gets its author written in', async () => {
    const { spec } = JSON.parse(recording('csr-create').text) as { spec: Record<string, unknown> };
    const { request, signerName, usages } = spec;
    const path = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
    const answer = await node.post(path, { metadata: { generateName: 'csr-' }, spec: { request, signerName, usages } });
    assert.match(answer.body.metadata.name, /^csr-[a-z0-9]{5}$/);
    assertSame(answer, 'csr-create', (text) => text.replace(/"csr-[a-z0-9]{5}"/, '"csr-wlnh8"'));
  });

  test('a token for a pod of the node has the recorded shape', async () => {
    const pod = server.create({
      kind: 'Pod',
      apiVersion: 'v1',
      metadata: { name: 'w2' },
      spec: { nodeName: 'peer-node', containers: [{ name: 'c', image: 'busybox' }] },
    });
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: 'w2', uid: pod.metadata.uid };
    const path = '/api/v1/namespaces/default/serviceaccounts/default/token';
    assertSame(await node.post(path, { spec: { expirationSeconds: 3607, boundObjectRef } }), 'tokenrequest');
  });

  test('the life of a pod is watched as recorded, bookmarks included', async () => {
    const recorded = recording('watch-pods')
      .text.split('\n')
      .map((line) => JSON.parse(line) as { type: string; object: Record<string, unknown> });
    const added = recorded[0]?.object as { spec: { containers: Record<string, unknown>[] } };
    server.watches.options.bookmarkIntervalMs = 20;
    const selector = 'fieldSelector=spec.nodeName%3Dpeer-node%2Cmetadata.name%3Dw1';
    const events = await node.watch(
      `/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=${server.store.version}&${selector}`,
    );
    const [container] = added.spec.containers;
    const created = await admin.post('/api/v1/namespaces/default/pods', {
      metadata: { name: 'w1', labels: { run: 'w1' } },
      spec: {
        nodeName: 'peer-node',
        restartPolicy: 'Never',
        containers: [{ name: 'w1', image: container?.['image'], args: container?.['args'] }],
      },
    });
    const path = '/api/v1/namespaces/default/pods/w1';
    await node.patch(`${path}/status`, 'strategic-merge', { status: { hostIP: '192.0.2.2' } });
    await node.patch(`${path}/status`, 'strategic-merge', { status: { phase: 'Running' } });
    await admin.delete(path, { gracePeriodSeconds: 1 });
    await node.patch(`${path}/status`, 'strategic-merge', { status: { phase: 'Failed' } });
    await node.delete(path, { gracePeriodSeconds: 0, preconditions: { uid: created.body.metadata.uid } });

    const seen: WatchedEvent[] = [];
    while (seen.at(-1)?.type !== 'DELETED') {
      seen.push(...(await take(events, 1)).filter((event) => event.type !== 'BOOKMARK'));
    }
    const outline = (event: { type: string; object: unknown }) => {
      const { metadata, status } = event.object as {
        metadata: { generation: number; deletionGracePeriodSeconds?: number };
        status: { phase: string };
      };
      return `${event.type} ${status.phase} generation ${metadata.generation} grace ${metadata.deletionGracePeriodSeconds}`;
    };
    // The recording has more status patches in between; the kinds of step are the same.
    const steps = recorded.filter((event) => event.type !== 'BOOKMARK').map(outline);
    assert.deepEqual(
      seen.map(outline),
      steps.filter((step, i) => step !== steps[i - 1]),
    );
    const withoutGenerated = (object: unknown) =>
      JSON.parse(
        JSON.stringify(normal(object))
          .replaceAll(/kube-api-access-[a-z0-9]{5}/g, 'kube-api-access')
          .replace(/,\{"configMap":\{"name":"openshift-service-ca.crt".*?\]\}\}/, ''),
      );
    assert.deepEqual(withoutGenerated(seen[0]?.object), withoutGenerated(added));
    const bookmark = recorded.find((event) => event.type === 'BOOKMARK');
    for await (const event of events) {
      if (event.type !== 'BOOKMARK') continue;
      assert.deepEqual(normal(event), normal(bookmark));
      break;
    }
  });
});
