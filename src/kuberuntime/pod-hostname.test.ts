import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodSpec } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { kernelHostname, podNames } from './pod-hostname.ts';

const make = (spec: Partial<PodSpec>, name = 'web-0') =>
  deepFreeze({ metadata: { name, namespace: 'ns' }, spec: { containers: [], ...spec } });

interface Case {
  readonly spec?: Partial<PodSpec>;
  readonly name?: string;
  /** hostname, domain and what the kernel is told. */
  readonly expect: readonly [string, string, string];
}

const domain = 'sub.ns.svc.cluster.local';
const cases: Record<string, Case> = {
  'a pod is called by its name': { expect: ['web-0', '', 'web-0'] },
  'or as it wishes': { spec: { hostname: 'db' }, expect: ['db', '', 'db'] },
  'with a subdomain it has a domain': { spec: { subdomain: 'sub' }, expect: ['web-0', domain, 'web-0'] },
  'that the kernel hears of on request only': {
    spec: { subdomain: 'sub', setHostnameAsFQDN: true },
    expect: ['web-0', domain, `web-0.${domain}`],
  },
  'without a subdomain there is nothing to add': {
    spec: { setHostnameAsFQDN: true },
    expect: ['web-0', '', 'web-0'],
  },
  'a fully qualified name may have 64 characters': {
    spec: { subdomain: 'sub', hostname: 'h'.repeat(39), setHostnameAsFQDN: true },
    expect: ['h'.repeat(39), domain, `${'h'.repeat(39)}.${domain}`],
  },
  'a long name is cut': { name: 'n'.repeat(70), expect: ['n'.repeat(63), '', 'n'.repeat(63)] },
  'and does not end in dots or dashes': {
    name: `${'n'.repeat(60)}.-.end`,
    expect: ['n'.repeat(60), '', 'n'.repeat(60)],
  },
  'an override is all there is': {
    spec: { hostnameOverride: 'me.example.com', hostname: 'db', subdomain: 'sub' },
    expect: ['me.example.com', '', 'me.example.com'],
  },
  'and is cut too': {
    spec: { hostnameOverride: 'o'.repeat(64) },
    expect: ['o'.repeat(63), '', 'o'.repeat(63)],
  },
};

for (const [sentence, { spec = {}, name, expect }] of Object.entries(cases)) {
  test(sentence, () => {
    const pod = make(spec, name);
    const names = podNames(pod, 'cluster.local');
    assert.deepEqual([names.hostname, names.domain, kernelHostname(pod, 'cluster.local')], expect);
  });
}

test('a fully qualified name of 65 characters is refused', () => {
  const pod = make({ subdomain: 'sub', hostname: 'h'.repeat(40), setHostnameAsFQDN: true });
  assert.throws(() => kernelHostname(pod, 'cluster.local'), {
    message: `failed to construct FQDN from pod hostname and cluster domain, FQDN ${'h'.repeat(40)}.${domain} is too long (64 characters is the max, 65 characters requested)`,
  });
});

test('a name of nothing but dashes is refused', () => {
  assert.throws(() => podNames(make({}, '-'.repeat(64)), ''), /was invalid/);
});
