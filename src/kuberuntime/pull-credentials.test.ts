import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Secret } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { parseImageName } from './image-name.ts';
import { pullCredentials } from './pull-credentials.ts';

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
  'a path covers whole components only': { secrets: [modern('r.test/te', 'r.test/team/ap')], expect: [] },
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
    expect: ['*.b.test', 'a.*.test'],
  },
  'a name is more specific than an asterisk': {
    image: 'a.b.test/app',
    secrets: [modern('*.b.test', 'aa.b.test', 'a.b.test')],
    expect: ['*.b.test', 'a.b.test'],
  },
  "Docker's own spellings of its registry": {
    image: 'busybox',
    secrets: [modern('https://index.docker.io/v1/', 'registry-1.docker.io', 'docker.io', 'quay.io')],
    expect: ['https://index.docker.io/v1/', 'registry-1.docker.io', 'docker.io'],
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
    const found = pullCredentials(parseImageName(image), deepFreeze(secrets));
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
    assert.deepEqual(pullCredentials(parseImageName('r.test/app'), deepFreeze(secrets)), [expect]);
  });
}
