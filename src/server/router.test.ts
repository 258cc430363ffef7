import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Router } from './router.ts';

const endpoint = (path: string, method = 'GET') => ({ path, methods: [method] });
const router = new Router([
  endpoint('/logs/*'),
  endpoint('/exec/{namespace}/{pod}/{uid}/{container}'),
  endpoint('/exec/{namespace}/{pod}/{container}'),
  endpoint('/stats/{what}'),
  endpoint('/stats/summary'),
  endpoint('/runningpods/'),
  endpoint('/run/{pod}', 'GET'),
  endpoint('/run/{pod}', 'POST'),
  endpoint('/metrics'),
  endpoint('/metrics/cadvisor'),
]);

test('which endpoint a path belongs to, and what its placeholders are', () => {
  const table: Record<string, [string, string | undefined, Record<string, string>?]> = {
    'spelled out': ['/metrics', '/metrics'],
    'spelled out, longer': ['/metrics/cadvisor', '/metrics/cadvisor'],
    'a slash at the end means nothing': ['/metrics/', '/metrics'],
    'nor does the lack of one': ['/runningpods', '/runningpods/'],
    placeholders: [
      '/exec/ns/p/c',
      '/exec/{namespace}/{pod}/{container}',
      { namespace: 'ns', pod: 'p', container: 'c' },
    ],
    'more placeholders': [
      '/exec/ns/p/u/c',
      '/exec/{namespace}/{pod}/{uid}/{container}',
      { namespace: 'ns', pod: 'p', uid: 'u', container: 'c' },
    ],
    'what is spelled out goes before a placeholder': ['/stats/summary', '/stats/summary'],
    'a placeholder for anything else': ['/stats/x', '/stats/{what}', { what: 'x' }],
    'the rest': ['/logs/a/b.log', '/logs/*', { '*': 'a/b.log' }],
    'no rest': ['/logs/', '/logs/*', { '*': '' }],
    'not even a slash': ['/logs', '/logs/*', { '*': '' }],
    'escapes are resolved': ['/stats/a%20b%2Fc', '/stats/{what}', { what: 'a b/c' }],
    'in what is spelled out, too': ['/m%65trics', '/metrics'],
    'a broken escape is nowhere': ['/stats/%zz', undefined],
    'an empty placeholder is nowhere': ['/exec/ns//c', undefined],
    'too short': ['/exec/ns/p', undefined],
    'too long': ['/metrics/cadvisor/x', undefined],
    'another case': ['/Metrics', undefined],
    root: ['/', undefined],
  };
  for (const [sentence, [path, expected, params = {}]] of Object.entries(table)) {
    const [match] = router.matches(path);
    assert.equal(match?.endpoint.path, expected, sentence);
    assert.deepEqual(match?.params ?? {}, params, sentence);
  }
});

test('methods may have endpoints of their own', () => {
  assert.deepEqual(
    router.matches('/run/p').flatMap(({ endpoint }) => endpoint.methods),
    ['GET', 'POST'],
  );
});

test('what has anything served below it', () => {
  for (const path of ['/exec', '/exec/x/y/z/a/b', '/%6cogs/x', '/metrics/nothing']) assert.ok(router.knows(path), path);
  for (const path of ['/', '/spec', '/cri/exec', '/%zz', '/constructor']) assert.ok(!router.knows(path), path);
});
