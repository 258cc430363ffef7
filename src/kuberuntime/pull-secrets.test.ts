import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, Secret } from '../api/core-v1.ts';
import { ManifestObjectSource } from '../volumes/manifest-object-source.ts';
import { fetchPullSecrets } from './pull-secrets.ts';

const secret = (name: string): Secret => ({ metadata: { name, namespace: 'ns' } });
const podWith = (...names: string[]): Pod => ({
  metadata: { name: 'p', namespace: 'ns', uid: 'u1' },
  spec: { containers: [], imagePullSecrets: names.map((name) => ({ name })) },
});

const cases: Record<string, { names: string[]; finds: string[]; says: string[] }> = {
  'all are there': { names: ['a', 'b'], finds: ['a', 'b'], says: [] },
  'none are asked for': { names: [], finds: [], says: [] },
  'a reference without a name is none': { names: ['', 'a'], finds: ['a'], says: [] },
  'the missing ones are told in one event, the others serve': {
    names: ['x', 'a', 'y'],
    finds: ['a'],
    says: [
      'Warning FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (x, y); attempting to pull the image may not succeed.',
    ],
  },
};

for (const [sentence, { names, finds, says }] of Object.entries(cases)) {
  test(sentence, async () => {
    const objects = new ManifestObjectSource(() => ({ configMaps: [], secrets: [secret('a'), secret('b')] }));
    const said: string[] = [];
    const found = await fetchPullSecrets(podWith(...names), objects, (...words) => {
      said.push(`${words[0]} ${words[1]}: ${words[2]}`);
    });
    assert.deepEqual([found.map((s) => s.metadata.name), said], [finds, says]);
  });
}
