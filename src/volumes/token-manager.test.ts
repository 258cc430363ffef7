import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { pods, serviceAccounts } from '../kubeapi/resources.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { renewAfter, TokenManager } from './token-manager.ts';

const never = new AbortController().signal;
const hour = 3600_000;
const projection = { path: 'token', expirationSeconds: 3600 };

class Scene {
  readonly clock = new FakeClock();
  readonly api = new FakeKubeApi(this.clock);
  readonly logged: string[] = [];
  readonly due: string[] = [];
  readonly stop = new AbortController();
  readonly manager: TokenManager;
  /** Whether a pod that falls due asks again, as the volume manager does. */
  asksAgain = true;

  constructor() {
    const say = (fields: object, message: string) => this.logged.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { ...silentLog, info: say, warn: say, debug: say, error: say };
    this.manager = new TokenManager({ api: this.api, clock: this.clock, log, random: () => 0 });
    this.manager.start((uid) => {
      this.due.push(uid);
      if (this.asksAgain)
        void this.manager.get(this.#pods.get(uid) ?? ({} as Pod), uid, projection, never).catch(() => {});
    }, this.stop.signal);
  }

  readonly #pods = new Map<string, Pod>();

  async pod(name: string): Promise<Pod> {
    const account = { metadata: { namespace: 'ns', name: 'robot' } };
    await this.api.create(serviceAccounts, account, never).catch(() => {});
    const spec = { containers: [{ name: 'c', image: 'i' }], serviceAccountName: 'robot' };
    const pod = await this.api.create(pods, { metadata: { namespace: 'ns', name }, spec }, never);
    this.#pods.set(pod.metadata.uid ?? '', pod);
    return pod;
  }

  get(pod: Pod, change: object = {}): Promise<string> {
    return this.manager.get(pod, podUid(pod.metadata.uid ?? ''), { ...projection, ...change }, never);
  }

  get requests(): number {
    return this.api.calls.filter((call) => call.includes('serviceaccounts') && call.includes('token')).length;
  }
}

const renewals: Record<string, [lifetimeMs: number, jitter: number, expected: number]> = {
  'an hour is renewed after four fifths': [hour, 0, 0.8 * hour],
  'a year is renewed after a day': [365 * 24 * hour, 0, 24 * hour],
  'jitter brings it forward by ten seconds at most': [hour, 1, 0.8 * hour - 10_000],
  'the jitter of a short token is short': [10_000, 1, 7_000],
};
for (const [sentence, [lifetime, jitter, expected]] of Object.entries(renewals)) {
  test(sentence, () => assert.equal(renewAfter(lifetime, jitter), expected));
}

test('a token is asked for once and kept', async () => {
  const scene = new Scene();
  const pod = await scene.pod('a');
  assert.equal(await scene.get(pod), await scene.get(pod));
  assert.equal(scene.requests, 1);
});

test('audience and lifetime make other tokens', async () => {
  const scene = new Scene();
  const pod = await scene.pod('a');
  await scene.get(pod);
  await scene.get(pod, { audience: 'vault' });
  await scene.get(pod, { expirationSeconds: 7200 });
  assert.equal(scene.requests, 3);
});

test('a token is renewed when it falls due, with one timer for all pods', async () => {
  const scene = new Scene();
  const [a, b] = [await scene.pod('a'), await scene.pod('b')];
  const first = await scene.get(a);
  await scene.clock.advance(1000);
  await scene.get(b);
  assert.equal(scene.clock.pending, 1);
  await scene.clock.advance(0.8 * hour - 1001);
  assert.deepEqual(scene.due, []);
  await scene.clock.advance(1);
  assert.deepEqual(scene.due, [a.metadata.uid]);
  await scene.clock.advance(10_000);
  assert.deepEqual(scene.due, [a.metadata.uid, b.metadata.uid]);
  assert.notEqual(await scene.get(a), first);
  assert.equal(scene.requests, 4);
  assert.equal(scene.clock.pending, 1);
});

test('renewal goes on for days', async () => {
  const scene = new Scene();
  const pod = await scene.pod('a');
  await scene.get(pod);
  await scene.clock.advance(48 * hour);
  assert.equal(scene.requests, 1 + 48 / 0.8);
});

test('the wall clock may jump: lifetimes are counted', async () => {
  const scene = new Scene();
  const pod = await scene.pod('a');
  const token = await scene.get(pod);
  scene.clock.setWallClock(scene.clock.now() + 48 * hour);
  assert.equal(await scene.get(pod), token);
});

test('while renewal fails the old token serves until it expires; no token is ever logged', async () => {
  const scene = new Scene();
  const pod = await scene.pod('a');
  const token = await scene.get(pod);
  scene.api.injectError('create', 'serviceaccounts', new ApiError(503, { message: 'away' }), 10_000);
  await scene.clock.advance(0.9 * hour);
  assert.equal(await scene.get(pod), token);
  assert.ok(scene.requests > 1 && scene.requests < 20, `${scene.requests} requests`);
  await scene.clock.advance(0.2 * hour);
  await assert.rejects(scene.get(pod), { message: 'failed to fetch token: away' });
  assert.ok(scene.logged.length > 0);
  assert.ok(!scene.logged.some((line) => line.includes(token)));
});

test('a deadline that passes is a failed renewal, a caller that goes away is none', async () => {
  const scene = new Scene();
  scene.asksAgain = false;
  const pod = await scene.pod('a');
  const uid = podUid(pod.metadata.uid ?? '');
  const token = await scene.get(pod);
  await scene.clock.advance(0.9 * hour);
  const late = AbortSignal.abort(new Error('too late'));
  assert.equal(await scene.manager.get(pod, uid, projection, late), token);
  await scene.clock.advance(60_000);
  await assert.rejects(scene.manager.get(pod, uid, projection, AbortSignal.abort()), { name: 'AbortError' });
});

test('a pod that does not ask again is called again, but not without end in between', async () => {
  const scene = new Scene();
  scene.asksAgain = false;
  const pod = await scene.pod('a');
  await scene.get(pod);
  await scene.clock.advance(0.8 * hour + 60_000);
  assert.ok(scene.due.length > 1 && scene.due.length < 20, `${scene.due.length} calls`);
});

test('a released pod is forgotten', async () => {
  const scene = new Scene();
  const pod = await scene.pod('a');
  await scene.get(pod);
  scene.manager.release(podUid(pod.metadata.uid ?? ''));
  await scene.clock.advance(2 * hour);
  assert.deepEqual(scene.due, []);
  assert.equal(scene.clock.pending, 0);
});

test('stopping stops the timer', async () => {
  const scene = new Scene();
  await scene.get(await scene.pod('a'));
  scene.stop.abort();
  assert.equal(scene.clock.pending, 0);
});

test("the server's refusal is given in its own words", async () => {
  const scene = new Scene();
  const pod = await scene.pod('a');
  const message = 'serviceaccounts "robot" not found';
  scene.api.injectError('create', 'serviceaccounts', new ApiError(404, { reason: 'NotFound', message }));
  await assert.rejects(scene.get(pod), { message: `failed to fetch token: ${message}` });
});

test('without an API server there are no tokens', async () => {
  const manager = new TokenManager({ api: undefined, clock: new FakeClock(), log: silentLog });
  const pod: Pod = { metadata: { name: 'p' }, spec: { containers: [] } };
  await assert.rejects(manager.get(pod, podUid('u'), projection, never), {
    message: 'failed to fetch token: there is no API server to issue it',
  });
});

const jwt = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.y`;
const start = Date.UTC(2026, 0, 1) / 1000;
const bound = { pod: { uid: 'UID' }, serviceaccount: { name: 'robot' } };
const adoptions: Record<string, { token: (uid: string) => string; projection?: object; adopted: boolean }> = {
  'a fresh one is': { token: (uid) => jwt(claimsOf(uid)), adopted: true },
  'one that should have been renewed is not': {
    token: (uid) => jwt({ ...claimsOf(uid), iat: start - 3000, exp: start + 600 }),
    adopted: false,
  },
  'an extended one is renewed at the time it was asked for': {
    token: (uid) => jwt({ ...claimsOf(uid, { warnafter: start + 100 }), iat: start - 3500, exp: start + 10 ** 7 }),
    adopted: false,
  },
  'an expired one is not': {
    token: (uid) => jwt({ ...claimsOf(uid), iat: start - 9000, exp: start - 1 }),
    adopted: false,
  },
  'one of another pod is not': { token: () => jwt(claimsOf('other')), adopted: false },
  'one for another audience is not': {
    token: (uid) => jwt(claimsOf(uid)),
    projection: { audience: 'vault' },
    adopted: false,
  },
  'one from the future is not': { token: (uid) => jwt({ ...claimsOf(uid), iat: start + 60 }), adopted: false },
  'garbage is not': { token: () => 'garbage', adopted: false },
};
function claimsOf(uid: string, more: object = {}) {
  return { aud: ['api'], iat: start - 60, exp: start + 3540, 'kubernetes.io': { ...bound, pod: { uid }, ...more } };
}
for (const [sentence, { token, projection: change, adopted }] of Object.entries(adoptions)) {
  test(`of tokens from before a restart, ${sentence} adopted`, async () => {
    const scene = new Scene();
    const pod = await scene.pod('a');
    const uid = pod.metadata.uid ?? '';
    scene.manager.adopt(pod, podUid(uid), { ...projection, ...change }, token(uid));
    const got = await scene.get(pod, change);
    assert.equal(got === token(uid), adopted);
    assert.equal(scene.requests, adopted ? 0 : 1);
  });
}
