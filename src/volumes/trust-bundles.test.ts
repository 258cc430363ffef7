import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterTrustBundle } from '../api/core-v1.ts';
import type { LabelSelector } from '../api/meta-v1.ts';
import { selectBundles, trustAnchors } from './trust-bundles.ts';

const bundle = (name: string, labels?: Record<string, string>): ClusterTrustBundle => ({
  metadata: { name, ...(labels ? { labels } : {}) },
  spec: { trustBundle: '' },
});
const bundles = [bundle('plain'), bundle('old', { tier: 'old' }), bundle('new', { tier: 'new', site: 'b' })];
const expression = (operator: string, ...values: string[]): LabelSelector => ({
  matchExpressions: [{ key: 'tier', operator, values }],
});

const cases: Record<string, [LabelSelector | undefined, string[]]> = {
  'no selector wants none': [undefined, []],
  'an empty selector wants all': [{}, ['plain', 'old', 'new']],
  'labels must all be there': [{ matchLabels: { tier: 'new', site: 'b' } }, ['new']],
  'a label with another value': [{ matchLabels: { tier: 'new', site: 'a' } }, []],
  'one of several values': [expression('In', 'old', 'older'), ['old']],
  'none of several values, or no label': [expression('NotIn', 'old'), ['plain', 'new']],
  'a label, whatever it says': [expression('Exists'), ['old', 'new']],
  'no such label': [expression('DoesNotExist'), ['plain']],
};
for (const [sentence, [selector, expected]] of Object.entries(cases)) {
  test(sentence, () => {
    assert.deepEqual(
      selectBundles(bundles, selector).map(({ metadata }) => metadata.name),
      expected,
    );
  });
}

const pem = (text: string, headers = '') => {
  const body = (
    Buffer.from(text)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  ).join('\n');
  return `-----BEGIN CERTIFICATE-----\n${headers}${body}\n-----END CERTIFICATE-----\n`;
};

test('a certificate comes once, without its headers and what stands around it', () => {
  const long = 'x'.repeat(100);
  const texts = [`# the first\n${pem(long, 'Proc-Type: 4,X\n\n')}`, `${pem(long).replaceAll('\n', '\r\n')}rest`];
  assert.equal(trustAnchors(texts, 's'), pem(long));
});

test('what is no certificate is left out', () => {
  assert.equal(trustAnchors([pem('k').replaceAll('CERTIFICATE', 'PRIVATE KEY'), 'nothing'], 's'), '');
});

test('the order is the same for one pod, and differs between pods', () => {
  const texts = ['a', 'b', 'c', 'd', 'e', 'f'].map((text) => pem(text));
  const first = trustAnchors(texts, 'pod-1');
  assert.equal(trustAnchors([...texts].reverse(), 'pod-1'), first);
  assert.ok(['pod-2', 'pod-3', 'pod-4'].some((seed) => trustAnchors(texts, seed) !== first));
  assert.equal(first.length, texts.join('').length);
});
