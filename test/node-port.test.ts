import assert from 'node:assert/strict';
import { globSync, readFileSync, statSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Pod } from '../src/api/core-v1.ts';
import type { DraftObject } from './apiserver/objects.ts';
import { Cluster, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';
import { type Credential, EXPIRED, Pki } from './pki/pki.ts';

/** Who gets what at the node's port, with the whole daemon and the API server's reviews. */

/** Every path that the port serves: a request, what it is answered with when it is let in, and under which subresources that is. */
const requests: Readonly<Record<string, readonly [status: number, ...subresources: string[]]>> = {
  'GET /healthz': [200, 'healthz', 'proxy'],
  'GET /healthz/ping': [200, 'healthz', 'proxy'],
  'GET /healthz/syncloop': [200, 'healthz', 'proxy'],
  'GET /healthz/log': [200, 'healthz', 'proxy'],
  'GET /healthz/nothing': [404, 'healthz', 'proxy'],
  'GET /configz': [200, 'configz', 'proxy'],
  'GET /pods': [200, 'pods', 'proxy'],
  'POST /pods': [405, 'pods', 'proxy'],
  'GET /runningpods/': [200, 'pods', 'proxy'],
  'GET /metrics': [200, 'metrics'],
  'GET /metrics/cadvisor': [200, 'metrics'],
  'GET /metrics/probes': [200, 'metrics'],
  'GET /metrics/resource': [200, 'metrics'],
  'GET /stats/summary': [200, 'stats'],
  'GET /logs/': [200, 'log'],
  'GET /debug/pprof/': [200, 'proxy'],
  'GET /containerLogs/default/nobody/c': [404, 'proxy'],
  'POST /exec/default/nobody/c?command=ls&output=1': [404, 'proxy'],
  'POST /attach/default/nobody/c?output=1': [404, 'proxy'],
  'POST /portForward/default/nobody': [404, 'proxy'],
  'POST /run/default/nobody/c?cmd=ls': [404, 'proxy'],
};

const notServed = ['GET /', 'GET /spec/', 'POST /checkpoint/default/p/c', 'GET /cri/exec/x', 'GET /api/v1/nodes'];

const names = Object.keys(requests);

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('port');
});
after(() => cluster[Symbol.asyncDispose]());

/** How to come: curl's arguments. */
type Caller = readonly string[];

let files = 0;
async function withCertificate({ cert, key }: Credential, at = cluster): Promise<Caller> {
  const file = `/tmp/caller-${++files}.pem`;
  await at.host.writeFile(file, cert + key);
  return ['--cert', file];
}

const withToken = (token: string): Caller => ['-H', `Authorization: Bearer ${token}`];

/** The statuses of all requests, in order. */
async function statuses(caller: Caller, asked: readonly string[] = names, at = cluster): Promise<number[]> {
  const each = asked.flatMap((name, i) => {
    const [method = '', path = ''] = name.split(' ');
    const answer = ['-o', '/dev/null', '-w', '%{http_code}\\n'];
    const next = i === 0 ? [] : ['--next'];
    return [...next, '-sk', '-X', method, ...caller, ...answer, `https://${at.host.nodeIp}:10250${path}`];
  });
  return (await at.host.exec('curl', each)).trim().split('\n').map(Number);
}

async function body(path: string, caller: Caller, at = cluster): Promise<string> {
  return at.host.exec('curl', ['-sk', ...caller, `https://${at.host.nodeIp}:10250${path}`]);
}

/** The message of the API Status with which a caller is refused. */
async function told(path: string, caller: Caller, at = cluster): Promise<string> {
  const { kind, status, message } = JSON.parse(await body(path, caller, at));
  assert.deepEqual([kind, status], ['Status', 'Failure']);
  return message;
}

/** Lets a user have these subresources of the node. */
function grant(
  name: string,
  user: { kind: string; name: string },
  subresources: readonly string[],
  at = cluster,
): void {
  const rules = [{ apiGroups: [''], resources: subresources.map((s) => `nodes/${s}`), verbs: ['get', 'create'] }];
  const rbac = 'rbac.authorization.k8s.io';
  at.api.create({ apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name }, rules } as unknown as DraftObject);
  at.api.create({
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
    subjects: [{ apiGroup: rbac, ...user }],
  } as unknown as DraftObject);
}

const user = (name: string) => ({ kind: 'User', name });
const forAll = (status: number) => names.map(() => status);
/** What somebody gets who has these subresources. */
const letIn = (...granted: string[]) =>
  Object.values(requests).map(([status, ...any]) => (any.some((s) => granted.includes(s)) ? status : 403));
const letInEverywhere = () => Object.values(requests).map(([status]) => status);
const table = (all: readonly number[]) => Object.fromEntries(names.map((name, i) => [name, all[i]]));

test('the table has every path that is served', () => {
  const folder = fileURLToPath(new URL('../src/server/', import.meta.url));
  const sources = globSync('*.ts', { cwd: folder }).filter((file) => !file.endsWith('.test.ts'));
  const paths = sources.flatMap((file) =>
    [...readFileSync(folder + file, 'utf8').matchAll(/path: [`'](\/\w+)/g)].map(([, root]) => root),
  );
  assert.ok(paths.length > 5);
  const known = new Set(names.map((name) => /\/\w+/.exec(name)?.[0]));
  assert.deepEqual(
    paths.filter((root) => !known.has(root)),
    [],
  );
});

test('every endpoint for every kind of caller', async () => {
  const { pki } = cluster.api;
  const cert = (name: string, groups: readonly string[] = []) => withCertificate(pki.client(name, groups));
  for (const s of ['healthz', 'configz', 'pods', 'metrics', 'stats', 'log', 'proxy'])
    grant(`only-${s}`, user(`only-${s}`), [s]);
  grant('prometheus', user('prometheus'), ['metrics', 'stats']);
  grant('watchers', { kind: 'Group', name: 'watchers' }, ['healthz']);
  const good = cluster.api.addToken('prometheus');
  const powerless = cluster.api.addToken('powerless');
  const callers: Record<string, readonly [Caller, readonly number[]]> = {
    'nobody in particular': [[], forAll(401)],
    'a certificate of another authority': [
      await withCertificate(Pki.create().client('x', ['system:masters'])),
      forAll(401),
    ],
    'an expired certificate': [await withCertificate(pki.client('x', ['system:masters'], EXPIRED)), forAll(401)],
    "a server's certificate": [await withCertificate(pki.serving(['system:masters'])), forAll(401)],
    'a known user who may nothing': [await cert('powerless'), letIn()],
    'the API server': [await cert('kube-apiserver-kubelet-client', ['system:masters']), letInEverywhere()],
    'a user of a group': [await cert('guard', ['watchers']), letIn('healthz')],
    'a good token': [withToken(good), letIn('metrics', 'stats')],
    'a good token of somebody who may nothing': [withToken(powerless), letIn()],
    'a bad token': [withToken('guessed'), forAll(401)],
    'no bearer token': [['-u', 'admin:admin'], forAll(401)],
    'a good certificate and a bad token': [
      [...(await cert('guard', ['watchers'])), ...withToken('guessed')],
      letIn('healthz'),
    ],
    ...Object.fromEntries(
      await Promise.all(
        ['healthz', 'configz', 'pods', 'metrics', 'stats', 'log', 'proxy'].map(async (s) => [
          `a user with nodes/${s} alone`,
          [await cert(`only-${s}`), letIn(s)],
        ]),
      ),
    ),
  };
  for (const [sentence, [caller, expected]] of Object.entries(callers)) {
    assert.deepEqual(table(await statuses(caller)), table(expected), sentence);
  }
});

test('what refused callers are told', async () => {
  assert.equal(await told('/pods', []), 'Unauthorized');
  assert.equal(
    await told('/pods', await withCertificate(cluster.api.pki.client('powerless'))),
    'Forbidden (user=powerless, verb=get, resource=nodes, subresource(s)=[pods proxy])',
  );
});

test('what is not served is not there for anybody', async () => {
  const admin = await withCertificate(cluster.api.pki.client('admin', ['system:masters']));
  for (const caller of [[], admin])
    assert.deepEqual(
      await statuses(caller, notServed),
      notServed.map(() => 404),
    );
});

test('without the API server, who was asked about is known, and others are not let in', async () => {
  const { api } = cluster;
  grant('seen', user('seen'), ['healthz']);
  const [seen, unseen] = [
    await withCertificate(api.pki.client('seen')),
    await withCertificate(api.pki.client('unseen')),
  ];
  assert.equal(await body('/healthz', seen), 'ok');
  const token = api.addToken('late');
  await api.close();
  try {
    assert.equal(await body('/healthz', seen), 'ok');
    assert.equal(
      await body('/healthz', unseen),
      'Authorization error (user=unseen, verb=get, resource=nodes, subresource=healthz)',
    );
    assert.equal(await told('/healthz', withToken(token)), 'Unauthorized');
    assert.deepEqual(await statuses(unseen, ['GET /pods']), [500]);
  } finally {
    await api.listen();
  }
});

test('health, configuration and pods say what they should', async () => {
  const { host } = cluster;
  const admin = await withCertificate(cluster.api.pki.client('admin', ['system:masters']));
  cluster.createPod('sleeper', { containers: [{ name: 'c', image: BUSYBOX_IMAGE, command: ['sleep', '1000'] }] });
  await cluster.whenPodReady('sleeper');

  assert.equal(await host.exec('curl', ['-s', 'http://127.0.0.1:10248/healthz']), 'ok');
  assert.match(
    await body('/healthz?verbose', admin),
    /^\[\+\]ping ok\n\[\+\]log ok\n\[\+\]syncloop ok\nhealthz check passed\n$/,
  );

  const { kubeletconfig } = JSON.parse(await body('/configz', admin));
  assert.equal(kubeletconfig.authentication.x509.clientCAFile, '/etc/kubernetes/pki/ca.crt');
  assert.equal(kubeletconfig.clusterDomain, 'cluster.local');

  const pods = JSON.parse(await body('/pods', admin));
  assert.deepEqual([pods.kind, pods.apiVersion], ['PodList', 'v1']);
  const sleeper = pods.items.find((pod: Pod) => pod.metadata.name === 'sleeper');
  assert.equal(sleeper.spec.nodeName, NODE);
  assert.equal(sleeper.status.phase, 'Running');

  const running = JSON.parse(await body('/runningpods/', admin));
  assert.deepEqual(
    running.items.map((pod: Pod) => [pod.metadata.name, pod.spec.containers.map((c) => c.name)]),
    [['sleeper', ['c']]],
  );

  const profile = JSON.parse(await body('/debug/pprof/profile?seconds=0.2', admin));
  assert.ok(profile.nodes.length > 0);
  const heap = JSON.parse(await body('/debug/pprof/heap?seconds=0.2', admin));
  assert.equal(heap.head.callFrame.functionName, '(root)');
  assert.match(await body('/debug/pprof/profile?seconds=9999', admin), /^seconds must be/);
});

test('the certificate that keelson made for itself is for the node, and its key for root', () => {
  assert.equal(statSync(cluster.host.path('/var/lib/kubelet/pki/kubelet.key')).mode & 0o777, 0o600);
  assert.match(readFileSync(cluster.host.path('/var/lib/kubelet/pki/kubelet.crt'), 'utf8'), /BEGIN CERTIFICATE/);
});

test('where strangers are let in they are system:anonymous, and bad credentials are no way to become that', async () => {
  await using open = await Cluster.boot('open-port', {
    authentication: ', anonymous: {enabled: true}',
    kubelet: 'enableDebuggingHandlers: false',
  });
  grant('anonymous', user('system:anonymous'), ['healthz'], open);
  const stranger = await withCertificate(Pki.create().client('x'), open);
  const asked = ['GET /healthz', 'GET /pods', 'GET /metrics'];
  assert.deepEqual(await statuses([], asked, open), [200, 403, 403]);
  assert.deepEqual(await statuses(stranger, asked, open), [401, 401, 401]);
  assert.deepEqual(await statuses(withToken('guessed'), asked, open), [401, 401, 401]);
  assert.equal(
    await told('/pods', [], open),
    'Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[pods proxy])',
  );
  const admin = await withCertificate(open.api.pki.client('admin', ['system:masters']), open);
  const closed = [
    'GET /configz',
    'POST /exec/default/p/c',
    'GET /containerLogs/default/p/c',
    'GET /logs/',
    'GET /debug/pprof/',
  ];
  assert.deepEqual(await statuses(admin, [...asked, ...closed], open), [200, 200, 200, 404, 405, 405, 405, 405]);
  assert.equal(await body('/logs/', admin, open), 'Debug endpoints are disabled.\n');
});
