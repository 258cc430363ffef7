import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { PullCredential } from './pull-credentials.ts';
import type { PullCredentials, PulledRecord } from './pull-records.ts';
import { matchCredentials, mergeRecord, mustVerify, type VerificationPolicy } from './verify-credentials.ts';

const policies: Record<
  string,
  { policy: VerificationPolicy['policy']; allowlist?: string[]; image?: string; pulledByUs: boolean; verify: boolean }
> = {
  'never means never': { policy: 'NeverVerify', pulledByUs: true, verify: false },
  'always means preloaded images too': { policy: 'AlwaysVerify', pulledByUs: false, verify: true },
  'preloaded images are for everybody': { policy: 'NeverVerifyPreloadedImages', pulledByUs: false, verify: false },
  'and pulled ones are not': { policy: 'NeverVerifyPreloadedImages', pulledByUs: true, verify: true },
  'an image that is listed': {
    ...{ policy: 'NeverVerifyAllowlistedImages', allowlist: ['r.test/app'], image: 'r.test/app:1' },
    ...{ pulledByUs: true, verify: false },
  },
  'an image below a prefix that is listed': {
    ...{ policy: 'NeverVerifyAllowlistedImages', allowlist: ['docker.io/library/*'], image: 'busybox' },
    ...{ pulledByUs: true, verify: false },
  },
  'an image that is not': {
    ...{ policy: 'NeverVerifyAllowlistedImages', allowlist: ['r.test/team/*', 'r.test/ap'], image: 'r.test/app' },
    ...{ pulledByUs: false, verify: true },
  },
};

for (const [sentence, { policy, allowlist = [], image = 'r.test/app', pulledByUs, verify }] of Object.entries(
  policies,
)) {
  test(sentence, () => assert.equal(mustVerify({ policy, allowlist }, image, pulledByUs), verify));
}

const object = (name: string) => ({ uid: `uid-${name}`, namespace: 'ns', name });
const credential = (name: string, hash: string): PullCredential => ({ auth: {}, hash, secret: object(name) });
const record = (name: string, credentialHash: string) => ({ ...object(name), credentialHash });
const many = Array.from({ length: 100 }, (_, i) => record(`s${i}`, `h${i}`));

const matches: Record<
  string,
  { known: PullCredentials; has: PullCredential[]; allowed: boolean; learn?: ReturnType<typeof record> }
> = {
  'no credential opens nothing': { known: { kubernetesSecrets: [record('a', 'h')] }, has: [], allowed: false },
  'another secret with other content does not open it': {
    known: { kubernetesSecrets: [record('a', 'h')] },
    has: [credential('b', 'x')],
    allowed: false,
  },
  'the same secret with the same content opens it': {
    known: { kubernetesSecrets: [record('a', 'h')] },
    has: [credential('b', 'x'), credential('a', 'h')],
    allowed: true,
  },
  'another secret with the same content opens it, and is learnt': {
    known: { kubernetesSecrets: [record('a', 'h')] },
    has: [credential('b', 'h')],
    allowed: true,
    learn: record('b', 'h'),
  },
  'the same secret with new content opens it, and that is learnt': {
    known: { kubernetesSecrets: [record('a', 'h')] },
    has: [credential('a', 'new')],
    allowed: true,
    learn: record('a', 'new'),
  },
  'a hash that could not be made matches nothing': {
    known: { kubernetesSecrets: [record('a', '')] },
    has: [credential('b', '')],
    allowed: false,
  },
  'a record that holds a hundred learns no more, and knows contents still': {
    known: { kubernetesSecrets: many },
    has: [credential('b', 'h7')],
    allowed: true,
  },
  'but not a secret whose content changed': {
    known: { kubernetesSecrets: many },
    has: [credential('s7', 'new')],
    allowed: false,
  },
  'the same service account opens it': {
    known: { kubernetesServiceAccounts: [object('robot')] },
    has: [{ auth: {}, hash: 'x', serviceAccount: object('robot') }],
    allowed: true,
  },
  'another one does not': {
    known: { kubernetesServiceAccounts: [object('robot')] },
    has: [{ auth: {}, hash: 'x', serviceAccount: object('other') }],
    allowed: false,
  },
};

for (const [sentence, { known, has, allowed, learn }] of Object.entries(matches)) {
  test(sentence, () => {
    assert.deepEqual(matchCredentials(deepFreeze(known), deepFreeze(has)), { allowed, ...(learn ? { learn } : {}) });
  });
}

const stored = (credentialMapping: PulledRecord['credentialMapping']): PulledRecord => ({
  imageRef: 'sha256:1',
  lastUpdatedTime: '2026-01-01T00:00:00Z',
  credentialMapping,
});

const merges: Record<
  string,
  { before?: PulledRecord; shown: PullCredentials; after: PulledRecord['credentialMapping'] | undefined }
> = {
  'the first pull makes the record': {
    shown: { nodePodsAccessible: true },
    after: { 'r.test/app': { nodePodsAccessible: true } },
  },
  'an image of unknown origin is recorded without anybody': { shown: {}, after: { 'r.test/app': {} } },
  'and what is known of it is not forgotten for that': {
    before: stored({ 'r.test/app': { kubernetesSecrets: [record('b', 'h')] } }),
    shown: {},
    after: undefined,
  },
  'a second secret is added in order': {
    before: stored({ 'r.test/app': { kubernetesSecrets: [record('b', 'h')] } }),
    shown: { kubernetesSecrets: [record('a', 'x')] },
    after: { 'r.test/app': { kubernetesSecrets: [record('a', 'x'), record('b', 'h')] } },
  },
  'new content takes the place of the old': {
    before: stored({ 'r.test/app': { kubernetesSecrets: [record('b', 'h')] } }),
    shown: { kubernetesSecrets: [record('b', 'new')] },
    after: { 'r.test/app': { kubernetesSecrets: [record('b', 'new')] } },
  },
  'what is known changes nothing': {
    before: stored({ 'r.test/app': { kubernetesSecrets: [record('b', 'h')] } }),
    shown: { kubernetesSecrets: [record('b', 'h')] },
    after: undefined,
  },
  'an image that anybody may pull needs no secrets any more': {
    before: stored({ 'r.test/app': { kubernetesSecrets: [record('b', 'h')] } }),
    shown: { nodePodsAccessible: true },
    after: { 'r.test/app': { nodePodsAccessible: true } },
  },
  'and stays so': {
    before: stored({ 'r.test/app': { nodePodsAccessible: true } }),
    shown: { kubernetesSecrets: [record('b', 'h')] },
    after: undefined,
  },
  'the same image under another name is another matter': {
    before: stored({ 'x.test/app': { nodePodsAccessible: true } }),
    shown: { kubernetesServiceAccounts: [object('robot')] },
    after: {
      'x.test/app': { nodePodsAccessible: true },
      'r.test/app': { kubernetesServiceAccounts: [object('robot')] },
    },
  },
};

for (const [sentence, { before, shown, after }] of Object.entries(merges)) {
  test(sentence, () => {
    const merged = mergeRecord(before && deepFreeze(before), 'sha256:1', 'r.test/app', shown, Date.UTC(2026, 0, 2));
    const expected = after && { ...stored(after), lastUpdatedTime: '2026-01-02T00:00:00Z' };
    assert.deepEqual(merged, expected);
  });
}
