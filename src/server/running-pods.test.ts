import assert from 'node:assert/strict';
import { test } from 'node:test';
import { computeRunningPods } from './running-pods.ts';

test('sandboxes and containers of the runtime become pods, by name', () => {
  const sandbox = (id: string, name: string) => ({ id, metadata: { name, namespace: 'ns', uid: `uid-${name}` } });
  const container = (name: string, podSandboxId: string) => ({
    podSandboxId,
    metadata: { name },
    image: { image: `sha256:${name}` },
  });
  const pods = computeRunningPods(
    [sandbox('2', 'web'), sandbox('1', 'db')],
    [container('a', '2'), container('b', '2'), container('stray', '9')],
  );
  assert.deepEqual(pods, [
    { metadata: { name: 'db', namespace: 'ns', uid: 'uid-db' }, spec: { containers: [] }, status: {} },
    {
      metadata: { name: 'web', namespace: 'ns', uid: 'uid-web' },
      spec: {
        containers: [
          { name: 'a', image: 'sha256:a', resources: {} },
          { name: 'b', image: 'sha256:b', resources: {} },
        ],
      },
      status: {},
    },
  ]);
});
