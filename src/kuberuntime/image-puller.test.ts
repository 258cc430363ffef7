import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { FakeCri } from '../cri/fake-cri.ts';
import { CriError } from '../cri/services.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { CredentialSources } from './credential-sources.ts';
import { ImageAccess } from './image-access.ts';
import { ImagePuller, type ImagePullerOptions, volumeOwner } from './image-puller.ts';
import type { NodeDockerConfig } from './node-docker-config.ts';
import { ContainerError } from './sync-error.ts';

const signal = new AbortController().signal;
const name = 'registry.test/app:1';
const pod: Pod = deepFreeze({ metadata: { name: 'p', namespace: 'ns', uid: 'u1' }, spec: { containers: [] } });
const unauthorized = () => new CriError('PullImage', 'UNKNOWN', '401 Unauthorized');
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

interface SetUp extends Partial<ImagePullerOptions> {
  readonly present?: readonly string[];
  readonly remote?: readonly string[];
}

function setUp({ maxParallelPulls = 1, present = [], remote = [name], ...more }: SetUp = {}) {
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images: [...present] });
  for (const image of remote) fake.imageStore.addRemote(image, { size: 1234 });
  const puller = new ImagePuller({ images: fake.images, clock, log: silentLog, maxParallelPulls, ...more });
  const events: string[] = [];
  /** Resolves with the image's name, or with the waiting reason and message of a refusal. */
  const ensure = async (over: Partial<Container> = {}, secrets: readonly Secret[] = [], of = pod) => {
    const container: Container = deepFreeze({ name: 'c', image: name, ...over });
    const event = (type: string, reason: string, message: string) => events.push(`${type} ${reason}: ${message}`);
    const request = { pod: of, container, sandboxConfig: {}, secrets: async () => secrets, event };
    try {
      return (await puller.ensure(request, signal)).repoTags?.[0];
    } catch (error) {
      if (error instanceof ContainerError) return `${error.code}: ${error.message}`;
      throw error;
    }
  };
  return { clock, fake, puller, events, ensure };
}

const pulls = (fake: FakeCri) => fake.methods().filter((m) => m === 'PullImage').length;

const policies: Record<
  string,
  { image?: string; policy?: Container['imagePullPolicy']; present: boolean; pulls: number }
> = {
  'IfNotPresent takes what is there': { policy: 'IfNotPresent', present: true, pulls: 0 },
  'IfNotPresent pulls what is not': { policy: 'IfNotPresent', present: false, pulls: 1 },
  'Always pulls what is there': { policy: 'Always', present: true, pulls: 1 },
  'Never takes what is there': { policy: 'Never', present: true, pulls: 0 },
  'Never pulls nothing': { policy: 'Never', present: false, pulls: 0 },
  'without a policy a tag is pulled once': { present: true, pulls: 0 },
  'without a policy :latest is pulled always': { image: 'registry.test/app:latest', present: true, pulls: 1 },
  'without a policy no tag is :latest': { image: 'registry.test/app', present: true, pulls: 1 },
  'without a policy a digest, which cannot change, is pulled once': {
    image: `registry.test/app@sha256:${'0f'.repeat(32)}`,
    present: true,
    pulls: 0,
  },
};

for (const [sentence, { image = name, policy, present, pulls: expected }] of Object.entries(policies)) {
  test(sentence, async () => {
    const full = /[:@]/.test(image) ? image : `${image}:latest`;
    const o = setUp({ present: present ? [full] : [], remote: [full] });
    await o.ensure({ image, ...(policy ? { imagePullPolicy: policy } : {}) });
    assert.equal(pulls(o.fake), expected);
  });
}

const words: Record<
  string,
  { over?: Partial<Container>; present?: boolean; error?: CriError; answer: string; events: string[] }
> = {
  'an image that is there': {
    present: true,
    answer: name,
    events: [`Normal Pulled: Container image "${name}" already present on machine and can be accessed by the pod`],
  },
  'an image that is pulled': {
    answer: name,
    events: [
      `Normal Pulling: Pulling image "${name}"`,
      `Normal Pulled: Successfully pulled image "${name}" in 0s (0s including waiting). Image size: 1234 bytes.`,
    ],
  },
  'an image that must not be pulled': {
    over: { imagePullPolicy: 'Never' },
    answer: `ErrImageNeverPull: Container image "${name}" is not present with pull policy of Never`,
    events: [
      `Warning ErrImageNeverPull: Container image "${name}" is not present with pull policy of Never`,
      'Warning Failed: Error: ErrImageNeverPull',
    ],
  },
  'a pull that fails': {
    error: unauthorized(),
    answer: 'ErrImagePull: 401 Unauthorized',
    events: [
      `Normal Pulling: Pulling image "${name}"`,
      `Warning Failed: Failed to pull image "${name}": 401 Unauthorized`,
      'Warning Failed: Error: ErrImagePull',
    ],
  },
  'a pull that fails for a reason that the runtime has a code for': {
    error: new CriError('PullImage', 'NOT_FOUND', 'no such thing'),
    answer: 'ErrImagePull: rpc error: code = NotFound desc = no such thing',
    events: [
      `Normal Pulling: Pulling image "${name}"`,
      `Warning Failed: Failed to pull image "${name}": rpc error: code = NotFound desc = no such thing`,
      'Warning Failed: Error: ErrImagePull',
    ],
  },
  'a registry that is down': {
    error: new CriError('PullImage', 'UNKNOWN', 'RegistryUnavailable: 503 from registry.test'),
    answer: `RegistryUnavailable: image pull failed for ${name} because the registry is unavailable: 503 from registry.test`,
    events: [
      `Normal Pulling: Pulling image "${name}"`,
      `Warning Failed: Failed to pull image "${name}": RegistryUnavailable: 503 from registry.test`,
      'Warning Failed: Error: RegistryUnavailable',
    ],
  },
  'a signature that is not good': {
    error: new CriError('PullImage', 'UNKNOWN', 'SignatureValidationFailed: no key'),
    answer: `SignatureValidationFailed: image pull failed for ${name} because the signature validation failed: no key`,
    events: [
      `Normal Pulling: Pulling image "${name}"`,
      `Warning Failed: Failed to pull image "${name}": SignatureValidationFailed: no key`,
      'Warning Failed: Error: SignatureValidationFailed',
    ],
  },
  'a name that is none': {
    over: { image: 'App' },
    answer: `InvalidImageName: Failed to apply default image tag "App": couldn't parse image name "App": invalid reference format: repository name (library/App) must be lowercase`,
    events: [
      `Warning InspectFailed: Failed to apply default image tag "App": couldn't parse image name "App": invalid reference format: repository name (library/App) must be lowercase`,
      'Warning Failed: Error: InvalidImageName',
    ],
  },
};

for (const [sentence, { over = {}, present = false, error, answer, events }] of Object.entries(words)) {
  test(`what is said of ${sentence}`, async () => {
    const o = setUp({ present: present ? [name] : [] });
    if (error) o.fake.injectError('PullImage', error);
    assert.equal(await o.ensure(over), answer);
    assert.deepEqual(o.events, events);
  });
}

test('an image that cannot be inspected is not pulled', async () => {
  const o = setUp();
  o.fake.injectError('ImageStatus', new CriError('ImageStatus', 'UNKNOWN', 'disk broken'));
  const message = `Failed to inspect image "${name}": disk broken`;
  assert.equal(await o.ensure(), `ImageInspectError: ${message}`);
  const told = [`Warning InspectFailed: ${message}`, 'Warning Failed: Error: ImageInspectError'];
  assert.deepEqual([o.events, pulls(o.fake)], [told, 0]);
});

test('a runtime that went away while an image was inspected is no fault of the image', async () => {
  const o = setUp();
  o.fake.injectError('ImageStatus', new CriError('ImageStatus', 'UNAVAILABLE', 'connection refused'));
  await assert.rejects(o.ensure(), { code: 'CriUNAVAILABLE' });
  assert.deepEqual(o.events, []);
});

// --- Back-off ---

test('a failed pull is not repeated before its back-off is over, which is said with the reason', async () => {
  const o = setUp({ remote: [] });
  await o.ensure();
  o.events.length = 0;
  await o.clock.advance(9_999);
  const failure = `rpc error: code = NotFound desc = failed to pull and unpack image "${name}": failed to resolve reference "${name}": ${name}: not found`;
  assert.equal(await o.ensure(), `ImagePullBackOff: Back-off pulling image "${name}": ErrImagePull: ${failure}`);
  assert.deepEqual(o.events, [
    `Normal BackOff: Back-off pulling image "${name}"`,
    'Warning Failed: Error: ImagePullBackOff',
  ]);
  assert.equal(pulls(o.fake), 1);
  await o.clock.advance(1);
  await o.ensure();
  assert.equal(pulls(o.fake), 2);
});

test('the back-off doubles up to five minutes', async () => {
  const o = setUp({ remote: [] });
  const delays: number[] = [];
  for (let i = 0; i < 7; i++) {
    await o.ensure();
    const due = o.puller.retryAt(pod, { name: 'c', image: name }) ?? 0;
    delays.push((due - o.clock.now()) / 1000);
    await o.clock.advance(due - o.clock.now());
  }
  assert.deepEqual(delays, [10, 20, 40, 80, 160, 300, 300]);
});

test('a success ends the back-off', async () => {
  const o = setUp();
  o.fake.injectError('PullImage', unauthorized());
  await o.ensure();
  await o.clock.advance(10_000);
  assert.equal(await o.ensure(), name);
  assert.equal(o.puller.retryAt(pod, { name: 'c', image: name }), undefined);
});

test('an image that somebody else brought in is taken at once, unless the policy is Always', async () => {
  const o = setUp({ remote: [] });
  await o.ensure();
  o.fake.imageStore.add(name);
  assert.equal(await o.ensure(), name);
  assert.match((await o.ensure({ imagePullPolicy: 'Always' })) ?? '', /^ImagePullBackOff/);
});

test('pods back off each for themselves, and so do the images of a pod', async () => {
  const o = setUp({ remote: [] });
  const other: Pod = { ...pod, metadata: { ...pod.metadata, uid: 'u2' } };
  await o.ensure();
  await o.ensure({}, [], other);
  await o.ensure({ image: 'registry.test/app:2' });
  assert.equal(pulls(o.fake), 3);
});

test('remembered failures are bounded, the oldest is forgotten first', async () => {
  const o = setUp({ remote: [] });
  for (let i = 0; i <= 1000; i++) await o.ensure({ image: `registry.test/app:${i}` });
  const remembered = (i: number) => o.puller.retryAt(pod, { name: 'c', image: `registry.test/app:${i}` }) !== undefined;
  assert.deepEqual([0, 1, 1000].map(remembered), [false, true, true]);
});

test('a failure soon after a success goes on with the back-off, one after ten minutes begins anew', async () => {
  const o = setUp();
  const failOnce = async () => {
    o.fake.injectError('PullImage', unauthorized());
    await o.ensure({ imagePullPolicy: 'Always' });
    return (o.puller.retryAt(pod, { name: 'c', image: name }) ?? 0) - o.clock.now();
  };
  assert.equal(await failOnce(), 10_000);
  await o.clock.advance(10_000);
  await o.ensure({ imagePullPolicy: 'Always' });
  assert.equal(await failOnce(), 20_000);
  await o.clock.advance(600_001);
  assert.equal(await failOnce(), 10_000);
});

test('a wall clock that is set does not shorten or lengthen the back-off', async () => {
  const o = setUp({ remote: [] });
  await o.ensure();
  o.clock.setWallClock(o.clock.now() - 3600_000);
  assert.equal((o.puller.retryAt(pod, { name: 'c', image: name }) ?? 0) - o.clock.now(), 10_000);
});

test('a runtime that went away while it pulled is no fault of the image', async () => {
  const o = setUp();
  o.fake.injectError('PullImage', new CriError('PullImage', 'UNAVAILABLE', 'connection refused'));
  await assert.rejects(o.ensure(), { code: 'CriUNAVAILABLE' });
  assert.equal(o.puller.retryAt(pod, { name: 'c', image: name }), undefined);
  assert.deepEqual(o.events, [`Normal Pulling: Pulling image "${name}"`]);
});

test('with policy Always nothing is inspected before the pull', async () => {
  const o = setUp({ present: [name] });
  o.fake.injectError('PullImage', unauthorized());
  await o.ensure({ imagePullPolicy: 'Always' });
  assert.deepEqual(o.fake.methods(true), ['PullImage']);
});

// --- Whose images ---

class Access extends ImageAccess {
  allowed = true;
  readonly calls: string[] = [];
  constructor() {
    super({} as ConstructorParameters<typeof ImageAccess>[0]);
  }
  override async isAllowed(): Promise<boolean> {
    return this.allowed;
  }
  override async begin(image: string): Promise<void> {
    this.calls.push(`begin ${image}`);
  }
  override async end(image: string, _: unknown, result: { imageRef: string } | undefined): Promise<void> {
    this.calls.push(`end ${image} ${result !== undefined}`);
  }
}

test("an image that is another tenant's is pulled again, and told of as absent where it must not be", async () => {
  const access = Object.assign(new Access(), { allowed: false });
  const o = setUp({ present: [name], access });
  assert.equal(await o.ensure(), name);
  assert.equal(pulls(o.fake), 1);
  assert.match((await o.ensure({ imagePullPolicy: 'Never' })) ?? '', /^ErrImageNeverPull: .* is not present/);
});

test('pulls are recorded from their beginning to their end, good or bad', async () => {
  const access = new Access();
  const o = setUp({ access });
  o.fake.injectError('PullImage', unauthorized());
  await o.ensure();
  await o.clock.advance(10_000);
  await o.ensure();
  assert.deepEqual(access.calls, [`begin ${name}`, `end ${name} false`, `begin ${name}`, `end ${name} true`]);
});

// --- Image volumes ---

test("an image volume's image is pulled by the same rules, and the caller tells of the containers", async () => {
  const o = setUp({ remote: [] });
  const event = (type: string, reason: string) => void o.events.push(`${type} ${reason}`);
  const request = { pod, volume: 'v', reference: name, policy: 'IfNotPresent' as const, sandboxConfig: {}, event };
  const ensure = () => o.puller.ensureVolumeImage({ ...request, secrets: async () => [] }, signal);
  await assert.rejects(ensure(), { code: 'ErrImagePull' });
  await assert.rejects(ensure(), { code: 'ImagePullBackOff' });
  assert.deepEqual(o.events, ['Normal Pulling', 'Warning Failed', 'Normal BackOff']);
  assert.equal(o.puller.progress('u1', volumeOwner('v'))?.phase, 'backOff');
});

// --- How far ---

test('who waits for an image is told what for, until it is there', async () => {
  const o = setUp();
  const release = o.fake.block('PullImage');
  const first = o.ensure();
  const second = o.ensure({ name: 'd' });
  await settled();
  const since = o.clock.now();
  assert.deepEqual(o.puller.progress('u1', 'c'), { image: name, phase: 'pulling', since });
  assert.deepEqual(o.puller.progress('u1', 'd'), { image: name, phase: 'waiting', since });
  release();
  await Promise.all([first, second]);
  assert.deepEqual([o.puller.progress('u1', 'c'), o.puller.progress('u1', 'd')], [undefined, undefined]);
});

test('a back-off is told with its end', async () => {
  const o = setUp({ remote: [] });
  await o.ensure();
  const since = o.clock.now();
  assert.deepEqual(o.puller.progress('u1', 'c'), {
    ...{ image: name, phase: 'backOff', since, retryAt: since + 10_000 },
  });
});

// --- Credentials ---

const users = (fake: FakeCri) =>
  fake.calls
    .filter((c) => c.method === 'PullImage')
    .map(({ args }) => (args[1] as cri.AuthConfig | undefined)?.username);
const secret = (...entries: string[]): Secret => ({
  metadata: { name: 's', namespace: 'ns' },
  type: 'kubernetes.io/dockerconfigjson',
  data: {
    '.dockerconfigjson': Buffer.from(
      JSON.stringify({ auths: Object.fromEntries(entries.map((e) => [e, { username: e, password: 'pw' }])) }),
    ).toString('base64'),
  },
});

test('without a secret that fits the pull is anonymous', async () => {
  const o = setUp();
  await o.ensure({}, [secret('other.test')]);
  assert.deepEqual(users(o.fake), [undefined]);
});

test('secrets are tried most specific first until one is let in', async () => {
  const o = setUp();
  o.fake.injectError('PullImage', unauthorized());
  assert.equal(await o.ensure({}, [secret('*.test', 'registry.test'), secret('registry.test/app')]), name);
  assert.deepEqual(users(o.fake), ['registry.test/app', 'registry.test']);
});

test('of secrets that are all refused every error is told, and it is one failure', async () => {
  const o = setUp();
  o.fake.injectError('PullImage', unauthorized());
  o.fake.injectError('PullImage', new CriError('PullImage', 'UNKNOWN', '403 Forbidden'));
  const answer = await o.ensure({}, [secret('registry.test', '*.test')]);
  assert.equal(answer, 'ErrImagePull: [401 Unauthorized, 403 Forbidden]');
  assert.equal((o.puller.retryAt(pod, { name: 'c', image: name }) ?? 0) - o.clock.now(), 10_000);
});

test('secrets are not asked for when nothing is pulled', async () => {
  const o = setUp({ present: [name] });
  const request = {
    ...{ pod, container: { name: 'c', image: name }, sandboxConfig: {}, event: () => {} },
    secrets: () => assert.fail('asked for secrets'),
  };
  await o.puller.ensure(request, signal);
});

test('missing secrets are told of early, even where nothing is pulled', async () => {
  const o = setUp({ present: [name] });
  let asked = 0;
  const secrets = async () => {
    asked++;
    return [];
  };
  const container = { name: 'c', image: name };
  const withSecrets: Pod = { ...pod, spec: { ...pod.spec, imagePullSecrets: [{ name: 's' }] } };
  await o.puller.ensure({ pod: withSecrets, container, sandboxConfig: {}, secrets, event: () => {} }, signal);
  assert.equal(asked, 1);
});

test('the node has credentials, too, which come after those of the pod', async () => {
  const node = { current: async () => ({ 'registry.test': { username: 'node', password: 'pw' } }) };
  const o = setUp({ credentials: new CredentialSources({ node: node as unknown as NodeDockerConfig, plugins: [] }) });
  o.fake.injectError('PullImage', unauthorized());
  assert.equal(await o.ensure({}, [secret('registry.test')]), name);
  assert.deepEqual(users(o.fake), ['registry.test', 'node']);
});

// --- Limits ---

test("pulls beyond the rate fail in upstream's words", async () => {
  const o = setUp({ pullQps: 1, pullBurst: 1 });
  await o.ensure({ imagePullPolicy: 'Always' });
  assert.equal(await o.ensure({ imagePullPolicy: 'Always' }), 'ErrImagePull: pull QPS exceeded');
  assert.ok(o.events.includes(`Warning Failed: Failed to pull image "${name}": pull QPS exceeded`));
});

const limits: Record<string, { maxParallelPulls: number; atOnce: number }> = {
  'serial pulls run one at a time': { maxParallelPulls: 1, atOnce: 1 },
  'parallel ones up to their limit': { maxParallelPulls: 2, atOnce: 2 },
  'unbounded ones all together': { maxParallelPulls: Number.POSITIVE_INFINITY, atOnce: 3 },
};

for (const [sentence, { maxParallelPulls, atOnce }] of Object.entries(limits)) {
  test(sentence, async () => {
    const images = ['a', 'b', 'c'].map((tag) => `registry.test/app:${tag}`);
    const o = setUp({ maxParallelPulls, remote: images });
    const release = o.fake.block('PullImage');
    const all = Promise.all(images.map((image) => o.ensure({ image })));
    await settled();
    assert.equal(pulls(o.fake), atOnce);
    release();
    assert.deepEqual(await all, images);
  });
}

test('the time that a pull waited for others is told apart', async () => {
  const o = setUp({ remote: ['registry.test/app:a', 'registry.test/app:b'] });
  const release = o.fake.block('PullImage');
  const all = Promise.all(['a', 'b'].map((tag) => o.ensure({ image: `registry.test/app:${tag}` })));
  await o.clock.advance(1500);
  release();
  await all;
  assert.deepEqual(
    o.events.filter((e) => e.includes('Successfully')).map((e) => /in (.*)\. Image/.exec(e)?.[1]),
    ['1.5s (1.5s including waiting)', '0s (1.5s including waiting)'],
  );
});

test('a pull that is given up is no failure', async () => {
  const o = setUp();
  o.fake.block('PullImage');
  const caller = new AbortController();
  const request = {
    ...{ pod, container: { name: 'c', image: name }, sandboxConfig: {}, event: () => {} },
    secrets: async () => [],
  };
  const given = assert.rejects(o.puller.ensure(request, caller.signal), { name: 'AbortError' });
  await settled();
  caller.abort();
  await given;
  assert.equal(o.puller.retryAt(pod, request.container), undefined);
});
