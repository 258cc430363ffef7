import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerStatus, Pod } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { limitMessages } from './limit-messages.ts';

const named = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `c${i}` }));
const pod = (containers: number, init = 0, ephemeral = 0): Pod => ({
  metadata: { name: 'p' },
  spec: { containers: named(containers), initContainers: named(init), ephemeralContainers: named(ephemeral) },
});
const ended = (message: string): ContainerStatus => ({
  ...{ name: 'c', ready: false, restartCount: 1, image: 'i', imageID: 'id' },
  state: { terminated: { exitCode: 1, message } },
  lastState: { terminated: { exitCode: 2, message: `before: ${message}` } },
});

const cases: Record<string, { pod: Pod; message: string; expect: string }> = {
  'three containers may use all that one may write': {
    pod: pod(3),
    message: 'a'.repeat(4096),
    expect: 'a'.repeat(4096),
  },
  'more of them share, init and ephemeral containers too': {
    pod: pod(2, 1, 1),
    message: `${'a'.repeat(3072)}b`,
    expect: 'a'.repeat(3072),
  },
  'a cut does not leave half a character': { pod: pod(4), message: `${'a'.repeat(3071)}ä`, expect: 'a'.repeat(3071) },
  'a short message stays': { pod: pod(48), message: 'ä', expect: 'ä' },
};

for (const [sentence, { pod, message, expect }] of Object.entries(cases)) {
  test(sentence, () => {
    const [status] = limitMessages(deepFreeze([ended(message)]), deepFreeze(pod));
    assert.equal(status?.state?.terminated?.message, expect);
    const before = status?.lastState?.terminated?.message ?? '';
    const { containers, initContainers = [], ephemeralContainers = [] } = pod.spec;
    const count = containers.length + initContainers.length + ephemeralContainers.length;
    assert.ok(`before: ${message}`.startsWith(before));
    assert.ok(Buffer.byteLength(before) <= (12 * 1024) / count);
  });
}

test('what runs or waits is left as it is', () => {
  const running: ContainerStatus = { ...ended(''), state: { running: {} }, lastState: {} };
  assert.deepEqual(limitMessages([running], pod(1)), [running]);
});
