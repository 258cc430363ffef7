import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentError } from '../lib/errors.ts';
import { type ImageName, parseImageName } from './image-name.ts';

const digest = `sha256:${'0f'.repeat(32)}`;
const base: ImageName = {
  registry: 'docker.io',
  repository: 'library/busybox',
  tag: undefined,
  digest: undefined,
  full: 'docker.io/library/busybox:latest',
};

const names: Record<string, { image: string; expect: Partial<ImageName> }> = {
  'a bare name is the newest of the official ones': { image: 'busybox', expect: {} },
  'a tag': { image: 'busybox:1.35', expect: { tag: '1.35', full: 'docker.io/library/busybox:1.35' } },
  "somebody's image": {
    image: 'team/app',
    expect: { repository: 'team/app', full: 'docker.io/team/app:latest' },
  },
  'a registry is known by its dot': {
    image: 'registry.test/app',
    expect: { registry: 'registry.test', repository: 'app', full: 'registry.test/app:latest' },
  },
  'or by its port': {
    image: 'registry:5000/team/app:v1',
    expect: { registry: 'registry:5000', repository: 'team/app', tag: 'v1', full: 'registry:5000/team/app:v1' },
  },
  'or by being this host': {
    image: 'localhost/app',
    expect: { registry: 'localhost', repository: 'app', full: 'localhost/app:latest' },
  },
  'an address of IPv6': {
    image: '[2001:db8::1]:5000/app:v1',
    expect: { registry: '[2001:db8::1]:5000', repository: 'app', tag: 'v1', full: '[2001:db8::1]:5000/app:v1' },
  },
  'a digest needs no tag': {
    image: `busybox@${digest}`,
    expect: { digest, full: `docker.io/library/busybox@${digest}` },
  },
  'a tag beside a digest is kept': {
    image: `busybox:1.35@${digest}`,
    expect: { tag: '1.35', digest, full: `docker.io/library/busybox:1.35@${digest}` },
  },
  'separators within a name': {
    image: 'a_b__c-d---e/f.g',
    expect: { repository: 'a_b__c-d---e/f.g', full: 'docker.io/a_b__c-d---e/f.g:latest' },
  },
};

for (const [sentence, { image, expect }] of Object.entries(names)) {
  test(sentence, () => assert.deepEqual(parseImageName(image), { ...base, ...expect }));
}

const invalid: Record<string, string> = {
  'nothing at all': '',
  'capital letters in the repository': 'BusyBox',
  'a space': 'busy box',
  'an empty tag': 'busybox:',
  'a tag that begins with a dot': 'busybox:.1',
  'a tag that is too long': `busybox:${'a'.repeat(129)}`,
  'a digest that is too short': 'busybox@sha256:0f0f',
  'an empty component': 'team//app',
  'a registry without a repository': 'registry.test/',
  'a path that begins with a slash': '/app',
  'a registry that is no host name': 'not_a.host/app',
  'a registry with a space': 'registry .test/app',
  'a registry with a port that is none': 'registry:http/app',
  'a URL': 'https://registry.test/app',
};

for (const [sentence, image] of Object.entries(invalid)) {
  test(`refused: ${sentence}`, () => {
    assert.throws(
      () => parseImageName(image),
      (error: unknown) =>
        error instanceof AgentError &&
        error.code === 'InvalidImageName' &&
        error.message === `couldn't parse image name "${image}": invalid reference format`,
    );
  });
}
