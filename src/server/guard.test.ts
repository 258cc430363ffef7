import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SubjectAccessReviewSpec } from '../api/reviews-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { Authenticator } from './authenticate.ts';
import { Authorizer } from './authorize.ts';
import { HttpError } from './endpoint.ts';
import { Guard } from './guard.ts';

const { signal } = new AbortController();

interface World {
  /** 'verb subresource' that are allowed. */
  readonly allowed?: readonly string[];
  readonly down?: boolean;
  readonly alwaysAllow?: boolean;
  readonly log?: Log;
}

function build({ allowed = [], down = false, alwaysAllow = false, log = silentLog }: World) {
  const clock = new FakeClock();
  const asked: SubjectAccessReviewSpec[] = [];
  const reviewAccess = async (spec: SubjectAccessReviewSpec) => {
    asked.push(spec);
    if (down) throw new Error('no connection');
    const { verb, subresource } = spec.resourceAttributes;
    return allowed.includes(`${verb} ${subresource}`);
  };
  const authorizer = new Authorizer({
    nodeName: 'node-a',
    reviewAccess: alwaysAllow ? undefined : reviewAccess,
    allowedTtlMs: 300_000,
    deniedTtlMs: 30_000,
    clock,
  });
  const reviewToken = async (token: string) => {
    if (token === 'down') throw new Error('no connection');
    return { authenticated: token === 'good', user: { username: 'bob', groups: ['dev'] } };
  };
  const authenticator = new Authenticator({ anonymous: false, reviewToken, tokenTtlMs: 1, clock });
  const guard = new Guard({ authenticator, authorizer, log });
  const admit = async (method: string, path: string, token = 'good') => {
    try {
      const visitor = { peer: 'none', authorization: `Bearer ${token}`, method, path } as const;
      return (await guard.admit(visitor, signal)).username;
    } catch (error) {
      assert.ok(error instanceof HttpError);
      return `${error.status} ${error.message}`;
    }
  };
  return { admit, clock, asked };
}

test('who is let in, and what others are told', async () => {
  const table: Record<string, [World, string, string]> = {
    'the narrow permission': [{ allowed: ['get pods'] }, 'GET /pods', 'bob'],
    'the wide one, where it was enough once': [{ allowed: ['get proxy'] }, 'GET /pods', 'bob'],
    'the wide one does not reach what never was part of it': [
      { allowed: ['get proxy'] },
      'GET /metrics',
      '403 Forbidden (user=bob, verb=get, resource=nodes, subresource(s)=[metrics])',
    ],
    'another narrow one': [
      { allowed: ['get configz'] },
      'GET /healthz',
      '403 Forbidden (user=bob, verb=get, resource=nodes, subresource(s)=[healthz proxy])',
    ],
    'another verb': [
      { allowed: ['get proxy'] },
      'POST /exec/{namespace}/{pod}/{container}',
      '403 Forbidden (user=bob, verb=create, resource=nodes, subresource(s)=[proxy])',
    ],
    'an API server that is away': [
      { down: true },
      'GET /pods',
      '500 Authorization error (user=bob, verb=get, resource=nodes, subresource=pods)',
    ],
    'nobody is asked': [{ alwaysAllow: true, down: true }, 'GET /pods', 'bob'],
  };
  for (const [sentence, [world, request, expected]] of Object.entries(table)) {
    const [method = '', path = ''] = request.split(' ');
    assert.equal(await build(world).admit(method, path), expected, sentence);
  }
});

test('strangers are told so, also when their token cannot be checked', async () => {
  const { admit, asked } = build({ alwaysAllow: false });
  assert.equal(await admit('GET', '/pods', 'bad'), '401 Unauthorized');
  assert.equal(await admit('GET', '/pods', 'down'), '401 Unauthorized');
  assert.deepEqual(asked, []);
});

test('what is asked of the API server', async () => {
  const { admit, asked } = build({ allowed: ['get stats'] });
  await admit('GET', '/stats/summary');
  assert.deepEqual(asked, [
    {
      user: 'bob',
      groups: ['dev', 'system:authenticated'],
      resourceAttributes: { verb: 'get', version: 'v1', resource: 'nodes', subresource: 'stats', name: 'node-a' },
    },
  ]);
});

test('a permission counts longer than its refusal, and a failure not at all', async () => {
  const { admit, clock, asked } = build({ allowed: ['get stats'] });
  const round = async () => {
    asked.length = 0;
    await admit('GET', '/stats/summary');
    await admit('GET', '/metrics');
    return asked.map((spec) => spec.resourceAttributes.subresource);
  };
  assert.deepEqual(await round(), ['stats', 'metrics']);
  assert.deepEqual(await round(), []);
  await clock.advance(30_001);
  assert.deepEqual(await round(), ['metrics']);
  await clock.advance(270_000);
  assert.deepEqual(await round(), ['stats', 'metrics']);
  const away = build({ down: true });
  await away.admit('GET', '/metrics');
  await away.admit('GET', '/metrics');
  assert.equal(away.asked.length, 2);
});

test('an API server that is away is said once', async () => {
  const warned: string[] = [];
  const log: Log = { ...silentLog, warn: (_fields, message) => warned.push(message) };
  const { admit } = build({ down: true, log });
  for (let i = 0; i < 5; i++) await admit('GET', '/metrics');
  assert.deepEqual(warned, ["cannot check callers of the node's port with the API server"]);
});
