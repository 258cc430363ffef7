import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import type { CredentialProvider } from '../config/credential-providers.ts';
import { ExecError } from '../host/exec.ts';
import { FakeExec } from '../host/fake-host.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import { serviceAccounts } from '../kubeapi/resources.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { CredentialPlugin } from './credential-plugin.ts';
import { ServiceAccountTokens } from './service-account-tokens.ts';

const signal = new AbortController().signal;
const minute = 60_000;
const base: CredentialProvider = deepFreeze({
  name: 'ecr',
  matchImages: ['*.test', '*.test:5000/team'],
  defaultCacheDuration: 10 * minute,
  apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
  args: ['get'],
  env: { REGION: 'eu' },
});
const pod: Pod = deepFreeze({
  metadata: { name: 'p', namespace: 'ns', uid: 'u1' },
  spec: { containers: [], serviceAccountName: 'builder' },
});

interface Answer {
  readonly kind?: string;
  readonly apiVersion?: string;
  readonly cacheKeyType?: unknown;
  readonly cacheDuration?: unknown;
  readonly auth?: unknown;
}

function setUp(over: Partial<CredentialProvider> = {}, answer: Answer | (() => string | Promise<string>) = {}) {
  const provider = { ...base, ...over };
  const clock = new FakeClock();
  const requests: Record<string, unknown>[] = [];
  const options: object[] = [];
  const program = async (_: readonly string[], given: { input?: string; env?: object; timeoutMs: number }) => {
    requests.push(JSON.parse(given.input ?? ''));
    options.push({ env: given.env, timeoutMs: given.timeoutMs });
    const { apiVersion } = provider;
    const good = { kind: 'CredentialProviderResponse', apiVersion, cacheKeyType: 'Image', auth: { 'a.test': bob } };
    const stdout = typeof answer === 'function' ? await answer() : JSON.stringify({ ...good, ...answer });
    return { stdout, stderr: '' };
  };
  const exec = new FakeExec({ '/bin-dir/ecr': program });
  const logged: string[] = [];
  const note = (level: string) => (fields: object, message: string) =>
    void logged.push(`${level} ${message} ${JSON.stringify(fields)}`);
  const log: Log = { ...silentLog, debug: note('debug'), warn: note('warn') };
  const tokens: string[] = [];
  const api = new FakeKubeApi(clock);
  const withTokens: KubeApi = Object.assign(Object.create(api), {
    get: api.get.bind(api),
    createSubresource: async (_: unknown, ref: { name: string }, __: string, body: { spec: object }) => {
      tokens.push(JSON.stringify(body.spec));
      return { ...body, spec: { expirationSeconds: 3600 }, status: { token: `${ref.name}-${tokens.length}` } };
    },
  });
  const plugin = new CredentialPlugin({
    ...{ provider, binDir: '/bin-dir', exec, clock, log },
    tokens: new ServiceAccountTokens({ api: withTokens, clock }),
  });
  const users = async (image: string, of = pod) =>
    Object.entries((await plugin.configFor(image, of, signal))?.config ?? {}).map(([k, v]) => `${k} ${v.username}`);
  return { plugin, clock, exec, requests, options, logged, tokens, api, users };
}

const bob = { username: 'bob', password: 'pw' };

test('the program is asked on its standard input, with its arguments, environment and a deadline of a minute', async () => {
  const o = setUp();
  assert.deepEqual(await o.plugin.configFor('a.test/app', pod, signal), { config: { 'a.test': bob } });
  assert.deepEqual(o.exec.calls, ['/bin-dir/ecr get']);
  assert.deepEqual(o.options, [{ env: { REGION: 'eu' }, timeoutMs: minute }]);
  assert.deepEqual(o.requests, [
    { kind: 'CredentialProviderRequest', apiVersion: base.apiVersion, image: 'a.test/app' },
  ]);
});

test('the program is not asked about images that are not its own', async () => {
  const o = setUp();
  for (const image of ['a.b.test/app', 'docker.io/library/busybox', 'a.test:5000/other']) {
    assert.equal(await o.plugin.configFor(image, pod, signal), undefined);
  }
  assert.deepEqual(o.exec.calls, []);
});

const caching: Record<
  string,
  { answer?: Answer; over?: Partial<CredentialProvider>; images: string[]; asked: number }
> = {
  'an answer for an image': { images: ['a.test/x', 'a.test/x', 'a.test/y'], asked: 2 },
  'an answer for a registry': {
    answer: { cacheKeyType: 'Registry' },
    images: ['a.test/x', 'a.test/y', 'b.test/x'],
    asked: 2,
  },
  'an answer for everything': { answer: { cacheKeyType: 'Global' }, images: ['a.test/x', 'b.test/y'], asked: 1 },
  'an answer that is not to be kept': {
    answer: { cacheDuration: '0s' },
    images: ['a.test/x', 'a.test/x'],
    asked: 2,
  },
  'an answer without a duration, where the configuration keeps nothing': {
    over: { defaultCacheDuration: 0 },
    images: ['a.test/x', 'a.test/x'],
    asked: 2,
  },
};

for (const [sentence, { answer = {}, over = {}, images, asked }] of Object.entries(caching)) {
  test(`kept for later: ${sentence}`, async () => {
    const o = setUp(over, answer);
    for (const image of images) await o.users(image);
    assert.equal(o.requests.length, asked);
  });
}

const durations: Record<string, { answer: Answer; minutes: number }> = {
  'the duration of the answer': { answer: { cacheDuration: '2m' }, minutes: 2 },
  'without one that of the configuration': { answer: {}, minutes: 10 },
};

for (const [sentence, { answer, minutes }] of Object.entries(durations)) {
  test(`an answer is good for ${sentence}`, async () => {
    const o = setUp({}, answer);
    await o.users('a.test/x');
    await o.clock.advance(minutes * minute);
    await o.users('a.test/x');
    assert.equal(o.requests.length, 1);
    await o.clock.advance(1);
    await o.users('a.test/x');
    assert.equal(o.requests.length, 2);
  });
}

test('two pods that want the same at a time ask once', async () => {
  const gate = Promise.withResolvers<string>();
  const o = setUp({}, () => gate.promise);
  const both = Promise.all([o.users('a.test/x'), o.users('a.test/x')]);
  gate.resolve(
    JSON.stringify({
      ...{ kind: 'CredentialProviderResponse', apiVersion: base.apiVersion, cacheKeyType: 'Image' },
      auth: { 'a.test': bob },
    }),
  );
  assert.deepEqual(await both, [['a.test bob'], ['a.test bob']]);
  assert.equal(o.requests.length, 1);
});

test('who asked first may go away: the other one still gets the answer', async () => {
  const gate = Promise.withResolvers<string>();
  const o = setUp({}, () => gate.promise);
  const first = new AbortController();
  const gone = assert.rejects(o.plugin.configFor('a.test/x', pod, first.signal), { name: 'AbortError' });
  const other = o.users('a.test/x');
  first.abort();
  await gone;
  const answer = { kind: 'CredentialProviderResponse', apiVersion: base.apiVersion, cacheKeyType: 'Image' };
  gate.resolve(JSON.stringify({ ...answer, auth: { 'a.test': bob } }));
  assert.deepEqual(await other, ['a.test bob']);
});

const bad: Record<string, { answer: Answer | (() => string); says: string }> = {
  'no JSON': { answer: () => 'secret!', says: 'ecr: the answer is no JSON' },
  'another kind': { answer: { kind: 'Status' }, says: 'ecr: the answer is no CredentialProviderResponse' },
  'another version': {
    answer: { apiVersion: 'credentialprovider.kubelet.k8s.io/v1beta1' },
    says: 'ecr: the answer is not of apiVersion credentialprovider.kubelet.k8s.io/v1, in which it was asked',
  },
  'an unknown kind of key': {
    answer: { cacheKeyType: 'Pod' },
    says: 'ecr: cacheKeyType of the answer is not one of Image, Registry, Global',
  },
  'an odd duration': {
    answer: { cacheDuration: 5 },
    says: 'ecr: cacheDuration of the answer is no duration such as 10m',
  },
  'an odd credential': {
    answer: { auth: { 'a.test': { username: 'bob', password: 7 } } },
    says: 'ecr: an entry of auth of the answer has no username and password',
  },
};

for (const [sentence, { answer, says }] of Object.entries(bad)) {
  test(`an answer that is not understood gives nothing, and is said: ${sentence}`, async () => {
    const o = setUp({}, answer);
    assert.equal(await o.plugin.configFor('a.test/x', pod, signal), undefined);
    assert.equal(o.logged.length, 1);
    assert.ok(o.logged[0]?.includes(says), o.logged[0]);
    assert.doesNotMatch(o.logged[0] ?? '', /secret!|pw/);
  });
}

test('a program that fails is warned of once, until it works again', async () => {
  let fails = true;
  const good = { kind: 'CredentialProviderResponse', apiVersion: base.apiVersion, cacheKeyType: 'Image' };
  const o = setUp({ defaultCacheDuration: 0 }, () => {
    if (!fails) return JSON.stringify(good);
    const facts = { code: 'ExecFailed', exitCode: 1, stderr: 'no cloud', timedOut: false } as const;
    throw new ExecError('ecr', 'exited with status 1: no cloud', facts);
  });
  for (let i = 0; i < 3; i++) assert.equal(await o.plugin.configFor('a.test/x', pod, signal), undefined);
  fails = false;
  assert.deepEqual(await o.users('a.test/x'), []);
  fails = true;
  await o.users('a.test/x');
  assert.deepEqual(
    o.logged.map((line) => line.split(' ')[0]),
    ['warn', 'debug', 'debug', 'warn'],
  );
  assert.match(o.logged[0] ?? '', /no cloud/);
});

// --- Service accounts ---

const tokenAttributes = {
  audience: 'ecr',
  cacheType: 'ServiceAccount',
  requireServiceAccount: true,
  requiredAnnotationKeys: ['ecr.test/role'],
  optionalAnnotationKeys: ['ecr.test/team'],
} as const;

const account = (annotations: Record<string, string>) => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name: 'builder', namespace: 'ns', annotations },
});

test("the program gets the pod's token and the annotations it asked for, and the answer is the account's", async () => {
  const o = setUp({ tokenAttributes });
  const annotations = { 'ecr.test/role': 'r', 'ecr.test/team': 't', other: 'o' };
  const { metadata } = await o.api.create(serviceAccounts, account(annotations), signal);
  const answer = await o.plugin.configFor('a.test/x', pod, signal);
  assert.deepEqual(answer?.serviceAccount, { uid: metadata.uid, namespace: 'ns', name: 'builder' });
  assert.deepEqual(o.requests, [
    {
      ...{ kind: 'CredentialProviderRequest', apiVersion: base.apiVersion, image: 'a.test/x' },
      serviceAccountToken: 'builder-1',
      serviceAccountAnnotations: { 'ecr.test/role': 'r', 'ecr.test/team': 't' },
    },
  ]);
  assert.deepEqual(
    o.tokens.map((spec) => JSON.parse(spec)),
    [{ audiences: ['ecr'], boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: 'u1' } }],
  );
});

test('an account that lacks a required annotation does not want the program, which is no failure', async () => {
  const o = setUp({ tokenAttributes });
  await o.api.create(serviceAccounts, account({ 'ecr.test/team': 't' }), signal);
  assert.equal(await o.plugin.configFor('a.test/x', pod, signal), undefined);
  assert.deepEqual([o.requests, o.logged], [[], []]);
});

const without: Record<string, { requireServiceAccount: boolean; asked: number }> = {
  'is not asked when it needs one': { requireServiceAccount: true, asked: 0 },
  'is asked without a token when it does not': { requireServiceAccount: false, asked: 1 },
};

for (const [sentence, { requireServiceAccount, asked }] of Object.entries(without)) {
  test(`for a pod without a service account the program ${sentence}`, async () => {
    const o = setUp({ tokenAttributes: { ...tokenAttributes, requiredAnnotationKeys: [], requireServiceAccount } });
    await o.plugin.configFor('a.test/x', { ...pod, spec: { containers: [] } }, signal);
    assert.deepEqual([o.requests.length, o.requests[0]?.['serviceAccountToken']], [asked, undefined]);
  });
}

const shared: Record<string, { cacheType: 'ServiceAccount' | 'Token'; asked: number }> = {
  'by account, for all its pods': { cacheType: 'ServiceAccount', asked: 1 },
  'by token, for one pod': { cacheType: 'Token', asked: 2 },
};

for (const [sentence, { cacheType, asked }] of Object.entries(shared)) {
  test(`an answer is kept ${sentence}`, async () => {
    const o = setUp({ tokenAttributes: { ...tokenAttributes, cacheType } });
    await o.api.create(serviceAccounts, account({ 'ecr.test/role': 'r' }), signal);
    const other: Pod = { ...pod, metadata: { ...pod.metadata, name: 'q', uid: 'u2' } };
    for (const asking of [pod, other, pod, other]) await o.users('a.test/x', asking);
    assert.equal(o.requests.length, asked);
  });
}

test('a program that gives the token back may not have it kept for other pods', async () => {
  const echo = { auth: { 'a.test': { username: 'x', password: 'builder-1' } } };
  const o = setUp({ tokenAttributes }, echo);
  await o.api.create(serviceAccounts, account({ 'ecr.test/role': 'r' }), signal);
  assert.equal(await o.plugin.configFor('a.test/x', pod, signal), undefined);
  assert.match(o.logged[0] ?? '', /cacheType to Token/);
  assert.doesNotMatch(o.logged[0] ?? '', /builder-1/);
});
