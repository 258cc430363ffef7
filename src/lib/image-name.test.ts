import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentError } from './errors.ts';
import { type ImageName, parseImageName } from './image-name.ts';

const digest = `sha256:${'0f'.repeat(32)}`;
const base: ImageName = {
  registry: 'docker.io',
  repository: 'library/busybox',
  tag: undefined,
  digest: undefined,
  base: 'docker.io/library/busybox',
  asked: 'busybox:latest',
  full: 'docker.io/library/busybox:latest',
};

const names: Record<string, { image: string; expect: Partial<ImageName> }> = {
  'a bare name is the newest of the official ones': { image: 'busybox', expect: {} },
  'a tag': {
    image: 'busybox:1.35',
    expect: { tag: '1.35', asked: 'busybox:1.35', full: 'docker.io/library/busybox:1.35' },
  },
  "somebody's image": {
    image: 'team/app',
    expect: {
      repository: 'team/app',
      base: 'docker.io/team/app',
      asked: 'team/app:latest',
      full: 'docker.io/team/app:latest',
    },
  },
  'a registry is known by its dot': {
    image: 'registry.test/app',
    expect: {
      ...{ registry: 'registry.test', repository: 'app', base: 'registry.test/app' },
      ...{ asked: 'registry.test/app:latest', full: 'registry.test/app:latest' },
    },
  },
  'or by its port': {
    image: 'registry:5000/team/app:v1',
    expect: {
      ...{ registry: 'registry:5000', repository: 'team/app', tag: 'v1', base: 'registry:5000/team/app' },
      ...{ asked: 'registry:5000/team/app:v1', full: 'registry:5000/team/app:v1' },
    },
  },
  'or by being this host': {
    image: 'localhost/app',
    expect: {
      ...{ registry: 'localhost', repository: 'app', base: 'localhost/app' },
      ...{ asked: 'localhost/app:latest', full: 'localhost/app:latest' },
    },
  },
  "docker.io's old name": {
    image: 'index.docker.io/team/app:1',
    expect: {
      ...{ repository: 'team/app', tag: '1', base: 'docker.io/team/app' },
      ...{ asked: 'index.docker.io/team/app:1', full: 'docker.io/team/app:1' },
    },
  },
  'an address of IPv6': {
    image: '[2001:db8::1]:5000/app:v1',
    expect: {
      ...{ registry: '[2001:db8::1]:5000', repository: 'app', tag: 'v1', base: '[2001:db8::1]:5000/app' },
      ...{ asked: '[2001:db8::1]:5000/app:v1', full: '[2001:db8::1]:5000/app:v1' },
    },
  },
  'a digest needs no tag': {
    image: `busybox@${digest}`,
    expect: { digest, asked: `busybox@${digest}`, full: `docker.io/library/busybox@${digest}` },
  },
  'a tag beside a digest is kept': {
    image: `busybox:1.35@${digest}`,
    expect: {
      ...{ tag: '1.35', digest },
      ...{ asked: `busybox:1.35@${digest}`, full: `docker.io/library/busybox:1.35@${digest}` },
    },
  },
  'separators within a name': {
    image: 'a_b__c-d---e/f.g',
    expect: {
      ...{ repository: 'a_b__c-d---e/f.g', base: 'docker.io/a_b__c-d---e/f.g' },
      ...{ asked: 'a_b__c-d---e/f.g:latest', full: 'docker.io/a_b__c-d---e/f.g:latest' },
    },
  },
};

for (const [sentence, { image, expect }] of Object.entries(names)) {
  test(sentence, () => assert.deepEqual(parseImageName(image), { ...base, ...expect }));
}

const format = 'invalid reference format';

const invalid: Record<string, [image: string, why?: string]> = {
  'nothing at all': [''],
  'capital letters in the repository': [
    'BusyBox',
    'invalid reference format: repository name (library/BusyBox) must be lowercase',
  ],
  'a space': ['busy box'],
  'an empty tag': ['busybox:'],
  'a tag that begins with a dot': ['busybox:.1'],
  'a tag that is too long': [`busybox:${'a'.repeat(129)}`],
  'a digest that is too short for any': ['busybox@sha256:0f0f'],
  'a digest that is too short for its kind': [`busybox@sha256:${'0f'.repeat(20)}`, 'invalid checksum digest length'],
  'a digest of an unknown kind': [`busybox@md5:${'0f'.repeat(16)}`, 'unsupported digest algorithm'],
  'a digest in capital letters': [`busybox@sha256:${'0F'.repeat(32)}`, 'invalid checksum digest format'],
  'an id': [
    '0f'.repeat(32),
    `invalid repository name (${'0f'.repeat(32)}), cannot specify 64-byte hexadecimal strings`,
  ],
  'a name that is too long': [
    `registry.test/${'a'.repeat(250)}`,
    'repository name must not be more than 255 characters',
  ],
  'an empty component': ['team//app'],
  'a registry without a repository': ['registry.test/'],
  'a path that begins with a slash': ['/app'],
  'a registry that is no host name': ['not_a.host/app'],
  'a registry with a space': ['registry .test/app'],
  'a registry with a port that is none': ['registry:http/app'],
  'a URL': ['https://registry.test/app'],
};

for (const [sentence, [image, why = format]] of Object.entries(invalid)) {
  test(`refused: ${sentence}`, () => {
    assert.throws(
      () => parseImageName(image),
      (error: unknown) =>
        error instanceof AgentError &&
        error.code === 'InvalidImageName' &&
        error.message === `couldn't parse image name "${image}": ${why}`,
    );
  });
}
