import assert from 'node:assert/strict';
import { test } from 'node:test';
import { didYouMean } from './did-you-mean.ts';

test('the nearest word is proposed, and nothing when none is near', () => {
  const keys = ['clusterDNS', 'clusterDomain', 'maxPods', 'mode'];
  const table: Record<string, string | undefined> = {
    clusterDns: 'clusterDNS',
    clusterdomian: 'clusterDomain',
    maxPod: 'maxPods',
    mod: 'mode',
    mdoe: 'mode',
    podCount: undefined,
    x: undefined,
  };
  for (const [word, meant] of Object.entries(table)) assert.equal(didYouMean(word, keys), meant, word);
});
