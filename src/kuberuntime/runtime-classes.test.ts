import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RuntimeClass } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { runtimeHandler } from './runtime-classes.ts';

const sandboxed: RuntimeClass = { metadata: { name: 'sandboxed' }, handler: 'runsc' };
const known: ReadonlyMap<string, RuntimeClass> = new Map([['sandboxed', sandboxed]]);
const pod = (runtimeClassName?: string) =>
  deepFreeze({ metadata: { name: 'p' }, spec: { containers: [], ...(runtimeClassName && { runtimeClassName }) } });

test('a pod without a class runs under the default handler', () => assert.equal(runtimeHandler(pod(), known), ''));
test("a pod with a class runs under the class's handler", () =>
  assert.equal(runtimeHandler(pod('sandboxed'), known), 'runsc'));
test('without an API server the name of the class is that of the handler', () =>
  assert.equal(runtimeHandler(pod('runsc'), undefined), 'runsc'));
test('a class that is not there is waited for', () => {
  assert.throws(() => runtimeHandler(pod('other'), known), {
    code: 'RuntimeClassNotFound',
    message: 'runtimeclass.node.k8s.io "other" not found',
    retryable: true,
  });
});
