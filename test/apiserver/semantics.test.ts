import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Answer, TestClient } from './client.ts';
import { type ApiObject, type DraftObject, listAt } from './objects.ts';
import { StandInApiServer } from './server.ts';

const PODS = '/api/v1/namespaces/default/pods';
const pod = (name: string, spec: object = {}, labels: Record<string, string> = {}): DraftObject => ({
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { name, labels },
  spec: { containers: [{ name: 'c', image: 'busybox:1.35' }], ...spec },
});

describe('what happens to objects', () => {
  let server: StandInApiServer;
  let admin: TestClient;
  before(async () => {
    server = await StandInApiServer.start();
    admin = TestClient.admin(server);
  });
  after(async () => {
    await admin[Symbol.asyncDispose]();
    await server.stop();
  });

  test('of two writers with one version the second is refused and the first one stays', async () => {
    const path = '/api/v1/namespaces/default/configmaps';
    const { body } = await admin.post(path, { metadata: { name: 'race' }, data: { n: '0' } });
    const write = (n: string) => admin.send('PUT', `${path}/race`, { ...body, data: { n } });
    const statuses = (await Promise.all(['1', '2', '3'].map(write))).map((answer) => answer.status);
    assert.deepEqual(statuses.sort(), [200, 409, 409]);
  });

  test('a write that changes nothing keeps the version', async () => {
    const { body } = await admin.post('/api/v1/namespaces/default/configmaps', {
      metadata: { name: 'same' },
      data: { a: 'b' },
    });
    const again = await admin.patch('/api/v1/namespaces/default/configmaps/same', 'merge', { data: { a: 'b' } });
    assert.equal(again.body.metadata.resourceVersion, body.metadata.resourceVersion);
  });

  test('a resize changes resources and nothing else, and not the class', async () => {
    const resources = (cpu: string) => ({ requests: { cpu }, limits: { cpu: '1' } });
    await admin.post(PODS, pod('sized', { containers: [{ name: 'c', image: 'i', resources: resources('100m') }] }));
    const resize = (container: object) =>
      admin.patch(`${PODS}/sized/resize`, 'strategic-merge', { spec: { containers: [{ name: 'c', ...container }] } });
    const { body } = await resize({ image: 'other', resources: resources('200m') });
    const [sized] = listAt(body.spec, 'containers');
    assert.deepEqual(sized?.['resources'], resources('200m'));
    assert.deepEqual([sized?.['image'], body.metadata.generation], ['i', 2]);
    const refused = await resize({ resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1' } } });
    assert.match(refused.body.message ?? '', /Pod QOS Class may not change as a result of resizing/);
    const main = { spec: { containers: [{ name: 'c', resources: resources('300m') }] } };
    assert.equal((await admin.patch(`${PODS}/sized`, 'strategic-merge', main)).status, 422);
  });

  test('ephemeral containers are added through their subresource, and stay as they are', async () => {
    await admin.post(PODS, pod('debugged'));
    const add = (path: string, container: object) =>
      admin.patch(`${PODS}/debugged${path}`, 'strategic-merge', { spec: { ephemeralContainers: [container] } });
    const { body } = await add('/ephemeralcontainers', { name: 'eye', image: 'busybox:1.36' });
    const [eye] = listAt(body.spec, 'ephemeralContainers');
    assert.deepEqual([eye?.['imagePullPolicy'], body.metadata.generation], ['IfNotPresent', 2]);
    const changed = await add('/ephemeralcontainers', { name: 'eye', image: 'other' });
    assert.match(changed.body.message ?? '', /existing ephemeral containers may not be changed or removed/);
    assert.equal((await add('', { name: 'ear', image: 'busybox:1.36' })).status, 422);
  });

  test('the main resource leaves the status alone and the status subresource the spec', async () => {
    await admin.post(PODS, pod('split'));
    const main = await admin.patch(`${PODS}/split`, 'merge', {
      metadata: { labels: { a: 'b' } },
      status: { phase: 'Running' },
    });
    assert.equal(main.body.status?.['phase'], 'Pending');
    assert.equal(main.body.metadata.labels?.['a'], 'b');
    const status = await admin.patch(`${PODS}/split/status`, 'merge', {
      spec: { nodeName: 'elsewhere' },
      status: { phase: 'Running' },
    });
    assert.equal(status.body.status?.['phase'], 'Running');
    assert.equal(status.body.spec?.['nodeName'], undefined);
    assert.equal(status.body.metadata.generation, 1);
  });

  const patches: Record<
    string,
    {
      type: 'strategic-merge' | 'merge' | 'json';
      body: unknown;
      status: number;
      finalizers?: unknown;
      labels?: unknown;
    }
  > = {
    'a strategic patch adds to a list of values': {
      type: 'strategic-merge',
      body: { metadata: { finalizers: ['test/b'] } },
      status: 200,
      finalizers: ['test/a', 'test/b'],
    },
    'a merge patch replaces the list': {
      type: 'merge',
      body: { metadata: { finalizers: ['test/b'] } },
      status: 200,
      finalizers: ['test/b'],
    },
    'null removes a key': { type: 'merge', body: { metadata: { labels: { x: null } } }, status: 200, labels: {} },
    'a JSON patch adds at the end': {
      type: 'json',
      body: [{ op: 'add', path: '/metadata/finalizers/-', value: 'test/c' }],
      status: 200,
      finalizers: ['test/a', 'test/c'],
    },
    'a JSON patch whose test fails is invalid': {
      type: 'json',
      body: [{ op: 'test', path: '/metadata/name', value: 'other' }],
      status: 422,
    },
    'a JSON patch that is no list is a bad request': { type: 'json', body: {}, status: 400 },
    'a stale resourceVersion in a patch is a conflict': {
      type: 'merge',
      body: { metadata: { resourceVersion: '1' } },
      status: 409,
    },
    'a foreign uid in a patch is invalid': {
      type: 'strategic-merge',
      body: { metadata: { uid: 'other' } },
      status: 422,
    },
    'an unknown directive is a bad request': {
      type: 'strategic-merge',
      body: { metadata: { $patch: 'nonsense' } },
      status: 400,
    },
  };
  for (const [sentence, expected] of Object.entries(patches)) {
    test(`patch: ${sentence}`, async () => {
      const created = await admin.post('/api/v1/namespaces/default/secrets', {
        metadata: { generateName: 'patched-', labels: { x: 'y' }, finalizers: ['test/a'] },
      });
      const path = `/api/v1/namespaces/default/secrets/${created.body.metadata.name}`;
      const answer = await admin.patch(path, expected.type, expected.body);
      assert.equal(answer.status, expected.status, answer.text);
      if (expected.finalizers) assert.deepEqual(answer.body.metadata.finalizers, expected.finalizers);
      if (expected.labels) assert.deepEqual(answer.body.metadata.labels, expected.labels);
    });
  }

  test('an unknown media type of a patch is refused with those that are known', async () => {
    const headers = { 'content-type': 'application/apply-patch+yaml' };
    const answer = await admin.send('PATCH', `${PODS}/split`, {}, headers);
    assert.equal(answer.status, 415);
    assert.match(answer.body.message ?? '', /application\/strategic-merge-patch\+json/);
  });

  test('the spec of a pod cannot be changed beyond its images', async () => {
    await admin.post(PODS, pod('fixed'));
    const image = { spec: { containers: [{ name: 'c', image: 'busybox:1.36' }] } };
    assert.equal((await admin.patch(`${PODS}/fixed`, 'strategic-merge', image)).body.metadata.generation, 2);
    const command = { spec: { containers: [{ name: 'c', command: ['sh'] }] } };
    const refused = await admin.patch(`${PODS}/fixed`, 'strategic-merge', command);
    assert.equal(refused.status, 422);
    assert.match(refused.body.message ?? '', /pod updates may not change fields other than/);
  });

  interface DeletionCase {
    spec?: object;
    status?: object;
    /** The options of each DELETE in turn. */
    deletes: object[];
    /** What each of them answers with: the grace that is left, or gone. */
    expected: ('gone' | number | 404 | 409)[];
  }
  const deletions: Record<string, DeletionCase> = {
    'a pod without a node goes at once': { deletes: [{}], expected: ['gone'] },
    'a pod on a node gets its own grace period': {
      spec: { nodeName: 'n', terminationGracePeriodSeconds: 7 },
      deletes: [{}],
      expected: [7],
    },
    'the grace period may shrink, not grow, and a plain delete changes nothing': {
      spec: { nodeName: 'n' },
      deletes: [{ gracePeriodSeconds: 20 }, { gracePeriodSeconds: 25 }, {}, { gracePeriodSeconds: 3 }],
      expected: [20, 20, 20, 3],
    },
    'no grace means gone, and the second delete finds nothing': {
      spec: { nodeName: 'n' },
      deletes: [{ gracePeriodSeconds: 10 }, { gracePeriodSeconds: 0 }, {}],
      expected: [10, 'gone', 404],
    },
    'a pod that has ended goes at once': {
      spec: { nodeName: 'n' },
      status: { phase: 'Succeeded' },
      deletes: [{}],
      expected: ['gone'],
    },
    'another uid as precondition is a conflict': {
      spec: { nodeName: 'n' },
      deletes: [{ preconditions: { uid: 'other' } }, { gracePeriodSeconds: 0 }],
      expected: [409, 'gone'],
    },
  };
  for (const [sentence, { spec, status, deletes, expected }] of Object.entries(deletions)) {
    test(`delete: ${sentence}`, async () => {
      await admin.post(PODS, pod('doomed', spec));
      if (status) await admin.patch(`${PODS}/doomed/status`, 'merge', { status });
      const results: unknown[] = [];
      for (const options of deletes) results.push(await deletionResult(await admin.delete(`${PODS}/doomed`, options)));
      assert.deepEqual(results, expected);
      await admin.delete(`${PODS}/doomed`, { gracePeriodSeconds: 0 });
    });
  }
  async function deletionResult(answer: Answer): Promise<unknown> {
    if (answer.status !== 200) return answer.status;
    const gone = (await admin.get(`${PODS}/doomed`)).status === 404;
    return gone ? 'gone' : answer.body.metadata.deletionGracePeriodSeconds;
  }

  test('a finalizer keeps an object until it is taken away', async () => {
    const path = '/api/v1/namespaces/default/configmaps';
    await admin.post(path, { metadata: { name: 'held', finalizers: ['test/hold'] } });
    await admin.delete(`${path}/held`);
    assert.ok((await admin.get(`${path}/held`)).body.metadata.deletionTimestamp);
    await admin.patch(`${path}/held`, 'merge', { metadata: { finalizers: null } });
    assert.equal((await admin.get(`${path}/held`)).status, 404);
  });

  test('a namespace takes what is in it along, waiting for pods on nodes', async () => {
    server.create({ kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'leaving' } });
    await admin.get('/version');
    const inside = '/api/v1/namespaces/leaving/pods';
    assert.equal((await admin.post(inside, pod('last', { nodeName: 'n' }))).status, 201);
    await admin.delete('/api/v1/namespaces/leaving');
    assert.equal((await admin.get('/api/v1/namespaces/leaving')).body.status?.['phase'], 'Terminating');
    assert.equal((await admin.post(inside, pod('late'))).status, 403);
    await admin.delete(`${inside}/last`, { gracePeriodSeconds: 0 });
    assert.equal((await admin.get('/api/v1/namespaces/leaving')).status, 404);
  });

  test('a binding gives a pod its node, once', async () => {
    await admin.post(PODS, pod('free'));
    const target = { target: { kind: 'Node', name: 'n1' } };
    assert.equal((await admin.post(`${PODS}/free/binding`, target)).status, 201);
    const bound = await admin.get(`${PODS}/free`);
    assert.equal(bound.body.spec?.['nodeName'], 'n1');
    assert.equal((await admin.post(`${PODS}/free/binding`, target)).status, 409);
  });

  const selectors: Record<string, [query: string, names: string[]]> = {
    'a label that equals': ['labelSelector=tier=web', ['s-a', 's-b']],
    'a label that differs, or is missing': ['labelSelector=set=1,tier!=web', ['s-c', 's-d']],
    'one of a set': ['labelSelector=env in (dev,prod)', ['s-a', 's-c']],
    'none of a set': ['labelSelector=set=1,env notin (dev)', ['s-b', 's-c', 's-d']],
    'a label that is there, and one that is not': ['labelSelector=tier,!env', ['s-b']],
    'a name': ['fieldSelector=metadata.name=s-b', ['s-b']],
    'a node': ['fieldSelector=spec.nodeName=n1&labelSelector=set=1', ['s-a']],
    'a phase that differs, on no node': [
      'fieldSelector=status.phase!=Running,spec.nodeName=&labelSelector=set=1',
      ['s-b', 's-c', 's-d'],
    ],
  };
  test('selectors', async (t) => {
    await admin.post(PODS, pod('s-a', { nodeName: 'n1' }, { set: '1', tier: 'web', env: 'dev' }));
    await admin.post(PODS, pod('s-b', {}, { set: '1', tier: 'web' }));
    await admin.post(PODS, pod('s-c', {}, { set: '1', tier: 'db', env: 'prod' }));
    await admin.post(PODS, pod('s-d', {}, { set: '1' }));
    for (const [sentence, [query, names]] of Object.entries(selectors)) {
      await t.test(sentence, async () => {
        const { body } = await admin.get(`${PODS}?${query.replaceAll(' ', '%20').replaceAll('!', '%21')}`);
        assert.deepEqual(
          body.items.map((item) => item.metadata.name),
          names,
        );
      });
    }
    await t.test('a field that the kind does not offer is refused', async () => {
      const answer = await admin.get(`${PODS}?fieldSelector=spec.unknown=1`);
      assert.equal(answer.body.message, 'field label not supported: spec.unknown');
    });
  });

  test('pages follow each other until the list is complete, and expire with the history', async () => {
    const path = '/api/v1/namespaces/default/secrets?labelSelector=page%3D1&limit=2';
    for (let i = 0; i < 5; i++) {
      const metadata = { name: `page-${i}`, labels: { page: '1' } };
      server.create({ kind: 'Secret', apiVersion: 'v1', metadata });
    }
    const seen: string[] = [];
    let token = '';
    do {
      const { body } = await admin.get(`${path}&continue=${token}`);
      const items = body.items as ApiObject[];
      seen.push(...items.map((item) => item.metadata.name));
      token = (body.metadata as unknown as { continue?: string }).continue ?? '';
      if (seen.length === 2)
        assert.equal((body.metadata as unknown as { remainingItemCount: number }).remainingItemCount, 3);
    } while (token);
    assert.deepEqual(seen, ['page-0', 'page-1', 'page-2', 'page-3', 'page-4']);
    const first = await admin.get(path);
    server.store.compact();
    server.create({ kind: 'Secret', apiVersion: 'v1', metadata: { name: 'later' } });
    server.store.compact();
    const late = (first.body.metadata as unknown as { continue: string }).continue;
    assert.equal((await admin.get(`${path}&continue=${late}`)).status, 410);
  });

  test('items of a list say no kind of their own', async () => {
    const { body } = await admin.get('/api/v1/namespaces');
    assert.equal(body.kind, 'NamespaceList');
    assert.ok(body.items.length >= 4);
    assert.ok(body.items.every((item) => !('kind' in item) && !('apiVersion' in item)));
  });

  test('a version from the future is answered with a timeout', async () => {
    const answer = await admin.get(`${PODS}?resourceVersion=999999999`);
    assert.equal(answer.status, 504);
    assert.match(answer.body.message ?? '', /^Too large resource version: 999999999, current: \d+$/);
  });

  test('a service gets an address, keeps it over an update, and nobody else gets it', async () => {
    const path = '/api/v1/namespaces/default/services';
    const service = (name: string, spec: object = {}) => ({
      metadata: { name },
      spec: { ports: [{ port: 80 }], ...spec },
    });
    const { body } = await admin.post(path, service('one'));
    const address = body.spec?.['clusterIP'];
    assert.match(`${address}`, /^10\.96\./);
    assert.notEqual((await admin.post(path, service('two'))).body.spec?.['clusterIP'], address);
    assert.equal((await admin.post(path, service('three', { clusterIP: address }))).status, 422);
    const updated = await admin.send('PUT', `${path}/one`, {
      ...service('one'),
      metadata: { name: 'one', labels: { a: 'b' } },
    });
    assert.equal(updated.body.spec?.['clusterIP'], address);
    const ports = (await admin.post(path, service('four', { type: 'NodePort' }))).body.spec?.['ports'] as {
      nodePort: number;
    }[];
    assert.ok((ports[0]?.nodePort ?? 0) >= 30000);
    assert.equal((await admin.post(path, service('none', { clusterIP: 'None' }))).body.spec?.['clusterIP'], 'None');
  });

  test('a new namespace has its default account and the authority, a new node its pod network', async () => {
    await admin.post('/api/v1/namespaces', { metadata: { name: 'fresh' } });
    const ca = await admin.get('/api/v1/namespaces/fresh/configmaps/kube-root-ca.crt');
    assert.deepEqual(ca.body['data'], { 'ca.crt': server.pki.ca });
    assert.equal((await admin.get('/api/v1/namespaces/fresh/serviceaccounts/default')).status, 200);
    await admin.post('/api/v1/nodes', { metadata: { name: 'a' } });
    await admin.post('/api/v1/nodes', { metadata: { name: 'b' } });
    assert.deepEqual((await admin.get('/api/v1/nodes/b')).body.spec?.['podCIDRs'], ['10.244.1.0/24']);
  });

  test('endpoint slices follow addresses and readiness of the pods a service selects', async () => {
    await admin.post('/api/v1/namespaces/default/services', {
      metadata: { name: 'backed' },
      spec: { selector: { app: 'backed' }, ports: [{ name: 'http', port: 80, targetPort: 'web' }] },
    });
    const ports = [{ name: 'web', containerPort: 8080 }];
    await admin.post(
      PODS,
      pod('back', { nodeName: 'n1', containers: [{ name: 'c', image: 'x', ports }] }, { app: 'backed' }),
    );
    const slice = async () => {
      const path = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices';
      const { body } = await admin.get(`${path}?labelSelector=kubernetes.io/service-name%3Dbacked`);
      const [only] = body.items;
      const endpoints = only?.['endpoints'] as { addresses: string[]; conditions: { ready: boolean } }[];
      return { ports: only?.['ports'], endpoints: endpoints.map((e) => [e.addresses[0], e.conditions.ready]) };
    };
    assert.deepEqual((await slice()).endpoints, []);
    const status = (ready: string) => ({
      status: { podIP: '10.1.1.1', conditions: [{ type: 'Ready', status: ready }] },
    });
    await admin.patch(`${PODS}/back/status`, 'merge', status('False'));
    assert.deepEqual((await slice()).endpoints, [['10.1.1.1', false]]);
    await admin.patch(`${PODS}/back/status`, 'merge', status('True'));
    assert.deepEqual(await slice(), {
      ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
      endpoints: [['10.1.1.1', true]],
    });
    await admin.delete(`${PODS}/back`, { gracePeriodSeconds: 0 });
    assert.deepEqual((await slice()).endpoints, []);
  });

  test('pods without a node are bound where they shall be', async () => {
    server.autoBind = 'n7';
    await admin.post(PODS, pod('loose'));
    assert.equal((await admin.get(`${PODS}/loose`)).body.spec?.['nodeName'], 'n7');
    server.autoBind = undefined;
  });

  const requests: Record<string, [method: string, path: string, body: unknown, status: number]> = {
    'a path that is none': ['GET', '/nonsense', undefined, 404],
    'a resource that is none': ['GET', '/api/v1/nonsenses', undefined, 404],
    'a body that is no JSON': ['POST', PODS, '{', 400],
    'a body of another kind': ['POST', PODS, { kind: 'Node', apiVersion: 'v1' }, 400],
    'another namespace in the body': ['POST', PODS, { metadata: { name: 'x', namespace: 'y' } }, 400],
    'a namespace that is missing': ['POST', '/api/v1/namespaces/none/configmaps', { metadata: { name: 'x' } }, 404],
    'a pod whose service account is missing': ['POST', PODS, pod('x', { serviceAccountName: 'none' }), 403],
    'a name with capitals': ['POST', PODS, pod('Xx'), 422],
    'a lease update without a version': [
      'PUT',
      '/apis/coordination.k8s.io/v1/namespaces/default/leases/l',
      { metadata: { name: 'l' } },
      422,
    ],
    'a log of less than nothing': ['GET', `${PODS}/split/log?tailLines=-1`, undefined, 422],
    'a command without a stream': ['POST', `${PODS}/split/exec?command=ls`, undefined, 501],
    'a POST to an object': ['POST', `${PODS}/split`, {}, 405],
  };
  for (const [sentence, [method, path, body, status]] of Object.entries(requests)) {
    test(`refused: ${sentence}`, async () => {
      if (path.endsWith('/l')) await admin.post(path.slice(0, -2), { metadata: { name: 'l' } });
      const answer = await admin.send(method, path, body);
      assert.equal(answer.status, status, answer.text);
    });
  }
});
