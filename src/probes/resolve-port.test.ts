import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpGetRequest, resolvePort } from './resolve-port.ts';

const container = {
  ports: [
    { name: 'web', containerPort: 8080 },
    { name: '81', containerPort: 8081 },
  ],
};

const table: Record<string, [number | string, number | string]> = {
  'a number': [80, 80],
  'a name': ['web', 8080],
  'digits in quotes': ['80', 80],
  'digits that are a name': ['81', 8081],
  'an unknown name': ['admin', 'port "admin" not found'],
  'an empty name': ['', 'port "" not found'],
  'no port at all': [0, 'invalid port number: 0'],
  'more than there are': [65_536, 'invalid port number: 65536'],
};

for (const [sentence, [port, expect]] of Object.entries(table)) {
  test(`a port that is ${sentence}`, () => {
    if (typeof expect === 'number') assert.equal(resolvePort(port, container), expect);
    else assert.throws(() => resolvePort(port, container), { code: 'InvalidPort', message: expect });
  });
}

test('an httpGet without words of its own goes to the pod, by HTTP', () => {
  assert.deepEqual(httpGetRequest({ port: 'web' }, container, '192.0.2.7', 1000), {
    ...{ scheme: 'HTTP', host: '192.0.2.7', port: 8080, path: '/', headers: [], timeoutMs: 1000 },
  });
});

test('an httpGet with words of its own', () => {
  const httpHeaders = [{ name: 'X-A', value: 'a' }];
  const action = { port: 1, scheme: 'HTTPS', host: '::1', path: '/x', httpHeaders } as const;
  assert.deepEqual(httpGetRequest(action, {}, '192.0.2.7', 5), {
    ...{ scheme: 'HTTPS', host: '::1', port: 1, path: '/x', headers: [['X-A', 'a']], timeoutMs: 5 },
  });
});
