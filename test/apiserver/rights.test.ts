import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EXPIRED, Pki } from '../pki/pki.ts';
import { TestClient } from './client.ts';
import { type ApiObject, stringAt } from './objects.ts';
import { StandInApiServer } from './server.ts';

const V1 = '/api/v1';
const DEFAULT = `${V1}/namespaces/default`;
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';

describe('who may do what', () => {
  let server: StandInApiServer;
  let node: TestClient;
  let mine: ApiObject;
  before(async () => {
    server = await StandInApiServer.start({ tokens: { 'static-token': { user: 'bob', groups: ['system:masters'] } } });
    node = TestClient.node(server, 'n1');
    const config = (kind: string, name: string) =>
      server.create({ kind, apiVersion: 'v1', metadata: { name, namespace: 'default' } });
    for (const name of ['used', 'unused', 'projected', 'pull', 'env']) {
      config('Secret', name);
      config('ConfigMap', name);
    }
    server.create({ kind: 'Node', apiVersion: 'v1', metadata: { name: 'n1' } });
    const pod = (name: string, nodeName: string, spec: object = {}) =>
      server.create({
        kind: 'Pod',
        apiVersion: 'v1',
        metadata: { name },
        spec: { nodeName, containers: [{ name: 'c', image: 'x' }], ...spec },
      });
    mine = pod('mine', 'n1', {
      imagePullSecrets: [{ name: 'pull' }],
      volumes: [
        { name: 'a', secret: { secretName: 'used' } },
        { name: 'b', projected: { sources: [{ configMap: { name: 'projected' } }] } },
      ],
      containers: [{ name: 'c', image: 'x', envFrom: [{ configMapRef: { name: 'env' } }] }],
    });
    pod('theirs', 'n2');
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    await server.stop();
  });

  const mirror = (overrides: object = {}) => ({
    metadata: {
      name: 'static-n1',
      annotations: { 'kubernetes.io/config.mirror': 'hash', 'kubernetes.io/config.source': 'file' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'n1', uid: nodeUid(), controller: true }],
    },
    spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }], ...overrides },
  });
  const nodeUid = () => [...server.store.snapshot().objects].find((o) => o.kind === 'Node')?.metadata.uid;
  const token = (name: string, uid: string) => ({
    spec: { boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name, uid } },
  });

  /** What a node asks, and what it gets. */
  const questions: Record<string, [method: string, path: string, status: number, body?: () => object]> = {
    'reads itself': ['GET', `${V1}/nodes/n1`, 200],
    'does not read another node': ['GET', `${V1}/nodes/n2`, 403],
    'lists itself by name': ['GET', `${V1}/nodes?fieldSelector=metadata.name%3Dn1`, 200],
    'does not list all nodes': ['GET', `${V1}/nodes`, 403],
    'does not create another node': ['POST', `${V1}/nodes`, 403, () => ({ metadata: { name: 'n2' } })],
    'does not give itself the role of a control plane': [
      'PATCH',
      `${V1}/nodes/n1`,
      403,
      () => ({ metadata: { labels: { 'node-role.kubernetes.io/control-plane': '' } } }),
    ],
    'labels itself': ['PATCH', `${V1}/nodes/n1`, 200, () => ({ metadata: { labels: { 'example.com/a': 'b' } } })],
    'does not change its taints': [
      'PATCH',
      `${V1}/nodes/n1`,
      403,
      () => ({ spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } }),
    ],
    'updates its status': ['PATCH', `${V1}/nodes/n1/status`, 200, () => ({ status: { capacity: { cpu: '1' } } })],
    'lists the pods bound to it': ['GET', `${V1}/pods?fieldSelector=spec.nodeName%3Dn1`, 200],
    'does not list the pods of another node': ['GET', `${V1}/pods?fieldSelector=spec.nodeName%3Dn2`, 403],
    'does not list all pods': ['GET', `${V1}/pods`, 403],
    'reads a pod of its own': ['GET', `${DEFAULT}/pods/mine`, 200],
    'does not read a pod of another node': ['GET', `${DEFAULT}/pods/theirs`, 403],
    'writes the status of its pod': [
      'PATCH',
      `${DEFAULT}/pods/mine/status`,
      200,
      () => ({ status: { hostIP: '1.2.3.4' } }),
    ],
    'does not write the status of another pod': ['PATCH', `${DEFAULT}/pods/theirs/status`, 403, () => ({ status: {} })],
    'does not patch pods themselves': ['PATCH', `${DEFAULT}/pods/mine`, 403, () => ({})],
    'does not delete the pod of another node': ['DELETE', `${DEFAULT}/pods/theirs`, 403],
    'reads a secret that a volume uses': ['GET', `${DEFAULT}/secrets/used`, 200],
    'reads a pull secret': ['GET', `${DEFAULT}/secrets/pull`, 200],
    'does not read an unused secret': ['GET', `${DEFAULT}/secrets/unused`, 403],
    'reads a projected config map': ['GET', `${DEFAULT}/configmaps/projected`, 200],
    'reads a config map of the environment': ['GET', `${DEFAULT}/configmaps/env`, 200],
    'lists exactly one config map': ['GET', `${DEFAULT}/configmaps?fieldSelector=metadata.name%3Denv`, 200],
    'does not list all config maps': ['GET', `${DEFAULT}/configmaps`, 403],
    'does not list all secrets of the cluster': ['GET', `${V1}/secrets`, 403],
    'lists services': ['GET', `${V1}/services`, 200],
    'does not list endpoint slices': ['GET', '/apis/discovery.k8s.io/v1/endpointslices', 403],
    'creates its lease': ['POST', LEASES, 201, () => ({ metadata: { name: 'n1' }, spec: { holderIdentity: 'n1' } })],
    'does not create the lease of another': ['POST', LEASES, 403, () => ({ metadata: { name: 'n2' } })],
    'does not read the lease of another': ['GET', `${LEASES}/n2`, 403],
    'creates its CSINode': [
      'POST',
      '/apis/storage.k8s.io/v1/csinodes',
      201,
      () => ({ metadata: { name: 'n1' }, spec: { drivers: null } }),
    ],
    'writes events': [
      'POST',
      `${DEFAULT}/events`,
      201,
      () => ({ metadata: { generateName: 'e-' }, involvedObject: { kind: 'Pod', namespace: 'default' } }),
    ],
    'creates a mirror pod bound to itself': ['POST', `${DEFAULT}/pods`, 201, mirror],
    'does not create a mirror pod for another': ['POST', `${DEFAULT}/pods`, 403, () => mirror({ nodeName: 'n2' })],
    'does not create a mirror pod with a secret': [
      'POST',
      `${DEFAULT}/pods`,
      403,
      () => mirror({ volumes: [{ name: 'v', secret: { secretName: 'unused' } }] }),
    ],
    'does not create an ordinary pod': [
      'POST',
      `${DEFAULT}/pods`,
      403,
      () => ({ ...mirror(), metadata: { name: 'x' } }),
    ],
    'gets a token for the account of its pod': [
      'POST',
      `${DEFAULT}/serviceaccounts/default/token`,
      201,
      () => token('mine', mine.metadata.uid),
    ],
    'gets no token bound to a pod that was replaced': [
      'POST',
      `${DEFAULT}/serviceaccounts/default/token`,
      403,
      () => token('mine', 'other'),
    ],
    'gets no token that is bound to nothing': [
      'POST',
      `${DEFAULT}/serviceaccounts/default/token`,
      403,
      () => ({ spec: {} }),
    ],
    'deletes its own pod': ['DELETE', `${DEFAULT}/pods/static-n1`, 200],
  };
  for (const [sentence, [method, path, status, body]] of Object.entries(questions)) {
    test(`a node ${sentence}`, async () => {
      const type = method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json';
      const answer = await node.send(method, path, body?.(), { 'content-type': type });
      assert.equal(answer.status, status, answer.text);
    });
  }

  test('a mirror pod has neither account nor token', async () => {
    await node.post(`${DEFAULT}/pods`, mirror());
    const { body } = await node.get(`${DEFAULT}/pods/static-n1`);
    assert.equal(body.spec?.['serviceAccountName'], undefined);
    assert.equal(body.spec?.['volumes'], undefined);
  });

  test('what a node lacks for services is one role binding away', async () => {
    const path = '/apis/discovery.k8s.io/v1/endpointslices';
    assert.equal((await node.get(path)).status, 403);
    server.create({
      kind: 'ClusterRoleBinding',
      apiVersion: 'rbac.authorization.k8s.io/v1',
      metadata: { name: 'remedy' },
      roleRef: { kind: 'ClusterRole', name: 'system:node-proxier' },
      subjects: [{ kind: 'User', name: 'system:node:n1' }],
    });
    assert.equal((await node.get(path)).status, 200);
  });

  test('the proxy sees services and their endpoints, and no pods', async () => {
    await using proxy = new TestClient(server, server.pki.client('system:kube-proxy'));
    assert.equal((await proxy.get('/apis/discovery.k8s.io/v1/endpointslices')).status, 200);
    assert.equal((await proxy.get(`${V1}/services`)).status, 200);
    assert.equal((await proxy.get(`${V1}/pods`)).status, 403);
  });

  test('credentials that do not hold are unauthorized', async () => {
    for (const credential of [
      server.pki.client('admin', ['system:masters'], EXPIRED),
      Pki.create().client('admin', ['system:masters']),
    ]) {
      await using client = new TestClient(server, credential);
      assert.equal((await client.get('/version')).status, 401);
    }
  });

  test('a static token is good until it is revoked', async () => {
    await using bob = new TestClient(server, { token: 'static-token' });
    assert.equal((await bob.get(`${V1}/pods`)).status, 200);
    server.revokeToken('static-token');
    assert.equal((await bob.get(`${V1}/pods`)).status, 401);
  });

  test("a pod's token names its account, and dies with the pod", async () => {
    const made = server.create({
      kind: 'Pod',
      apiVersion: 'v1',
      metadata: { name: 'short' },
      spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }] },
    });
    const path = `${DEFAULT}/serviceaccounts/default/token`;
    const { body } = await node.post(path, token('short', made.metadata.uid));
    const review = async () => {
      const spec = { token: body.status?.['token'] };
      return (await node.post('/apis/authentication.k8s.io/v1/tokenreviews', { spec })).body.status;
    };
    const good = await review();
    assert.equal(good?.['authenticated'], true);
    assert.equal(stringAt(good, 'user.username'), 'system:serviceaccount:default:default');
    await using account = new TestClient(server, { token: `${body.status?.['token']}` });
    assert.equal((await account.get('/api')).status, 200);
    assert.equal((await account.get(`${V1}/pods`)).status, 403);
    await node.delete(`${DEFAULT}/pods/short`, { gracePeriodSeconds: 0 });
    assert.equal((await account.get('/api')).status, 401);
    assert.equal((await review())?.['error'], 'invalid bearer token');
  });

  test('anybody may ask how the server is', async () => {
    await using anonymous = new TestClient(server, 'anonymous');
    assert.equal((await anonymous.get('/readyz')).text, 'ok');
    assert.equal((await anonymous.get('/version')).status, 200);
    assert.equal((await anonymous.get('/api')).status, 403);
  });
});
