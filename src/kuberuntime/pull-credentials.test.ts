import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { Secret } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { parseImageName } from '../lib/image-name.ts';
import { pullCredentials, secretConfigs } from './pull-credentials.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const secret = (type: string, key: string, text: string): Secret => ({
  metadata: { name: 's', namespace: 'ns' },
  type: `kubernetes.io/${type}`,
  data: { [key]: base64(text) },
});
const raw = (text: string) => secret('dockerconfigjson', '.dockerconfigjson', text);
/** A secret that has, for each registry entry, a user of the same name. */
const modern = (...entries: string[]) => raw(JSON.stringify({ auths: users(entries) }));
const users = (entries: string[]) => Object.fromEntries(entries.map((e) => [e, { username: e, password: 'pw' }]));

/** Names of the users that are tried, in order. */
const matches: Record<string, { image?: string; secrets: Secret[]; expect: string[] }> = {
  'no secret, no credential': { secrets: [], expect: [] },
  'an entry for the registry': { secrets: [modern('r.test')], expect: ['r.test'] },
  'entries for other registries are left out': {
    secrets: [modern('x.test', 'r.test', 'sub.r.test')],
    expect: ['r.test'],
  },
  'the most specific path comes first, whatever the order': {
    secrets: [modern('r.test', 'r.test/team'), modern('r.test/team/app')],
    expect: ['r.test/team/app', 'r.test/team', 'r.test'],
  },
  'a path is a prefix, as upstream takes it': { secrets: [modern('r.test/te', 'r.test/x')], expect: ['r.test/te'] },
  'of equals the first secret comes first': {
    secrets: [modern('https://r.test'), modern('r.test')],
    expect: ['https://r.test', 'r.test'],
  },
  'a port is part of the name': {
    image: 'r.test:5000/app',
    secrets: [modern('r.test', 'r.test:5000')],
    expect: ['r.test:5000'],
  },
  'an asterisk is one label': {
    image: 'a.b.test/app',
    secrets: [modern('*.b.test', '*.test', 'a.*.test')],
    expect: ['a.*.test', '*.b.test'],
  },
  'a name is more specific than an asterisk': {
    image: 'a.b.test/app',
    secrets: [modern('*.b.test', 'aa.b.test', 'a.b.test')],
    expect: ['a.b.test', '*.b.test'],
  },
  "Docker's own spellings of its registry": {
    image: 'busybox',
    secrets: [modern('https://index.docker.io/v1/', 'quay.io')],
    expect: ['https://index.docker.io/v1/'],
  },
  "Docker's spelling counts only where docker.io itself has no entry": {
    image: 'busybox',
    secrets: [modern('https://index.docker.io/v1/', 'docker.io')],
    expect: ['docker.io'],
  },
  'the paths that old clients wrote are no paths': {
    secrets: [modern('http://r.test/v1/', 'https://r.test/v2/team')],
    expect: ['https://r.test/v2/team', 'http://r.test/v1/'],
  },
  'an asterisk may stand for a part of a label': {
    image: 'app-1.b.test/app',
    secrets: [modern('app*.b.test', 'b*.b.test')],
    expect: ['app*.b.test'],
  },
  'a wildcard with a port and a path': {
    image: 'a.b.test:5000/team/app',
    secrets: [modern('*.b.test:5000/team', '*.b.test:5001/team', '*.b.test/team')],
    expect: ['*.b.test:5000/team'],
  },
  'an auth field that is no name and password gives nothing': {
    secrets: [raw(JSON.stringify({ auths: { 'r.test': { auth: base64('nocolon') } } }))],
    expect: [],
  },
  'the historic form of a secret': {
    secrets: [secret('dockercfg', '.dockercfg', JSON.stringify(users(['r.test'])))],
    expect: ['r.test'],
  },
  'a secret of another type': {
    secrets: [secret('tls', '.dockerconfigjson', JSON.stringify({ auths: users(['r.test']) }))],
    expect: [],
  },
  'what is no JSON gives nothing, and the next secret counts': {
    secrets: [raw('{'), modern('r.test')],
    expect: ['r.test'],
  },
  'JSON of another shape gives nothing': {
    secrets: [raw('null'), raw('[]'), raw('{"auths":null}'), raw('{"auths":{"r.test":null}}'), modern('r.test')],
    expect: ['r.test'],
  },
};

for (const [sentence, { image = 'r.test/team/app:1', secrets, expect }] of Object.entries(matches)) {
  test(sentence, () => {
    const found = pullCredentials(parseImageName(image).base, secretConfigs(deepFreeze(secrets))).map(
      ({ auth }) => auth,
    );
    assert.deepEqual(
      found.map((c) => c.username),
      expect,
    );
  });
}

const forms: Record<string, { entry: object; expect: object }> = {
  'name and password as they are': {
    entry: { username: 'u', password: 'p' },
    expect: { username: 'u', password: 'p' },
  },
  'both in one, encoded': { entry: { auth: base64('u:p') }, expect: { username: 'u', password: 'p' } },
  'both ways: the encoded one counts': {
    entry: { username: 'x', password: 'y', auth: base64('u:p') },
    expect: { username: 'u', password: 'p' },
  },
  'a password with colons': { entry: { auth: base64('u:p:q') }, expect: { username: 'u', password: 'p:q' } },
  'an identity token': {
    entry: { username: 'u', password: '', identitytoken: 't' },
    expect: { username: 'u', password: '', identityToken: 't' },
  },
  'a registry token': {
    entry: { registrytoken: 't' },
    expect: { username: '', password: '', registryToken: 't' },
  },
};

for (const [sentence, { entry, expect }] of Object.entries(forms)) {
  test(`an entry may hold ${sentence}`, () => {
    const secrets = [raw(JSON.stringify({ auths: { 'r.test': entry } }))];
    assert.deepEqual(pullCredentials('r.test/app', secretConfigs(deepFreeze(secrets)))[0]?.auth, expect);
  });
}

test('a credential is known again by the hash that upstream keeps', () => {
  const entry = { username: 'bob', password: '<s3&ret>', email: 'bob@r.test' };
  const [found] = pullCredentials('r.test/app', [{ config: { 'r.test': entry } }]);
  const go = String.raw`{"username":"bob","password":"\u003cs3\u0026ret\u003e","email":"bob@r.test"}`;
  assert.equal(found?.hash, createHash('sha256').update(go).digest('hex'));
});

test('a credential says whose it is', () => {
  const owner = { uid: 's-1', namespace: 'ns', name: 's' };
  const [secrets] = [{ ...modern('r.test'), metadata: { name: 's', namespace: 'ns', uid: 's-1' } }];
  assert.deepEqual(pullCredentials('r.test/app', secretConfigs([secrets]))[0]?.secret, owner);
});
