import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TokenReviewStatus } from '../api/reviews-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { Authenticator } from './authenticate.ts';
import type { Peer } from './peer.ts';

const { signal } = new AbortController();
const now = Date.UTC(2026, 0, 1);
const hour = 3600_000;
const peer: Peer = { user: { username: 'ann', groups: ['ops'] }, notBefore: now - hour, notAfter: now + hour };
const bob: TokenReviewStatus = { authenticated: true, user: { username: 'bob', uid: 'u1', groups: ['dev'] } };

function authenticator(options: { anonymous?: boolean; tokens?: boolean } = {}) {
  const clock = new FakeClock(now);
  const asked: string[] = [];
  const reviewToken = async (token: string): Promise<TokenReviewStatus> => {
    asked.push(token);
    if (token === 'down') throw new Error('no connection');
    return token === 'good' ? bob : { user: {}, error: 'invalid bearer token' };
  };
  const it = new Authenticator({
    anonymous: options.anonymous ?? false,
    reviewToken: options.tokens === false ? undefined : reviewToken,
    tokenTtlMs: 120_000,
    clock,
  });
  return { it, clock, asked };
}

test('who asks', async () => {
  const expired: Peer = { ...peer, notAfter: now - 1 };
  const early: Peer = { ...peer, notBefore: now + 1 };
  const good = 'Bearer good';
  const table: Record<
    string,
    [Peer | 'none' | 'refused', string | undefined, { anonymous?: boolean; tokens?: boolean }, string | undefined]
  > = {
    'a certificate is its user': [peer, undefined, {}, 'ann'],
    'a certificate goes before a token': [peer, good, {}, 'ann'],
    'a certificate that expired meanwhile is nobody': [expired, undefined, {}, undefined],
    'nor is one that is not valid yet': [early, undefined, {}, undefined],
    'an expired certificate is not anonymous': [expired, undefined, { anonymous: true }, undefined],
    'nor is one of a stranger': ['refused', undefined, { anonymous: true }, undefined],
    'a token makes up for a bad certificate': ['refused', good, {}, 'bob'],
    'and for an expired one': [expired, good, {}, 'bob'],
    'a token is its user': ['none', good, {}, 'bob'],
    'the scheme may be written anyhow': ['none', 'bEARER good', {}, 'bob'],
    'a bad token is nobody': ['none', 'Bearer bad', {}, undefined],
    'a bad token is not anonymous': ['none', 'Bearer bad', { anonymous: true }, undefined],
    'an endless token is nobody': ['none', `Bearer ${'x'.repeat(70_000)}`, { anonymous: true }, undefined],
    'another scheme is no credential': ['none', 'Basic Z29vZA==', { anonymous: true }, 'system:anonymous'],
    'a scheme alone is none': ['none', 'Bearer', { anonymous: true }, 'system:anonymous'],
    'without any credential': ['none', undefined, {}, undefined],
    'without any, where that is allowed': ['none', undefined, { anonymous: true }, 'system:anonymous'],
    'tokens that are not looked at': ['none', good, { tokens: false }, undefined],
    'are no obstacle either': ['none', good, { tokens: false, anonymous: true }, 'system:anonymous'],
  };
  for (const [sentence, [from, authorization, options, expected]] of Object.entries(table)) {
    const user = await authenticator(options).it.authenticate(from, authorization, signal);
    assert.equal(user?.username, expected, sentence);
  }
});

test('everybody who is known is authenticated, and anonymous is not', async () => {
  const { it } = authenticator({ anonymous: true });
  assert.deepEqual(await it.authenticate('none', 'Bearer good', signal), {
    username: 'bob',
    uid: 'u1',
    groups: ['dev', 'system:authenticated'],
  });
  assert.deepEqual((await it.authenticate('none', undefined, signal))?.groups, ['system:unauthenticated']);
});

test('the answer about a token counts for a while, a good one and a bad one; a failure does not', async () => {
  const { it, clock, asked } = authenticator();
  for (const token of ['good', 'good', 'bad', 'bad']) await it.authenticate('none', `Bearer ${token}`, signal);
  assert.deepEqual(asked, ['good', 'bad']);
  await clock.advance(120_001);
  await it.authenticate('none', 'Bearer good', signal);
  assert.deepEqual(asked, ['good', 'bad', 'good']);
  for (let i = 0; i < 2; i++) await assert.rejects(it.authenticate('none', 'Bearer down', signal), /no connection/);
  assert.equal(asked.length, 5);
});

test('a token that many show at once is asked about once', async () => {
  const { it, asked } = authenticator();
  const users = await Promise.all(Array.from({ length: 50 }, () => it.authenticate('none', 'Bearer good', signal)));
  assert.equal(
    users.every((user) => user?.username === 'bob'),
    true,
  );
  assert.deepEqual(asked, ['good']);
});
