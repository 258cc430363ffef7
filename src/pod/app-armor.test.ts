import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, PodStatus, Profile } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { appArmorProfile, appArmorViolation } from './app-armor.ts';

interface Given {
  readonly own?: Profile;
  readonly shared?: Profile;
  readonly annotation?: string;
  readonly status?: PodStatus;
}

function make({ own, shared, annotation, status }: Given): { pod: Pod; container: Container } {
  const container: Container = { name: 'c', image: 'i', ...(own ? { securityContext: { appArmorProfile: own } } : {}) };
  const annotations = annotation ? { 'container.apparmor.security.beta.kubernetes.io/c': annotation } : {};
  const pod: Pod = {
    metadata: { name: 'p', annotations },
    spec: { containers: [container], ...(shared ? { securityContext: { appArmorProfile: shared } } : {}) },
    ...(status ? { status } : {}),
  };
  return deepFreeze({ pod, container });
}

const byDefault: Profile = { type: 'RuntimeDefault' };
const unconfined: Profile = { type: 'Unconfined' };
const local = (localhostProfile: string): Profile => ({ type: 'Localhost', localhostProfile });

const profiles: Record<string, Given & { expect: Profile | undefined }> = {
  'nobody asks for one': { expect: undefined },
  "the pod's is for all its containers": { shared: byDefault, expect: byDefault },
  "the container's own goes first": {
    own: unconfined,
    shared: byDefault,
    annotation: 'localhost/a',
    expect: unconfined,
  },
  "an annotation goes before the pod's": { shared: byDefault, annotation: 'localhost/a/b', expect: local('a/b') },
  "an annotation can ask for the runtime's": { annotation: 'runtime/default', expect: byDefault },
  'an annotation can ask for none': { annotation: 'unconfined', expect: unconfined },
  'an annotation that says something else says nothing': { annotation: 'strict', expect: undefined },
};
for (const [sentence, given] of Object.entries(profiles)) {
  test(`AppArmor: ${sentence}`, () => {
    const { pod, container } = make(given);
    assert.deepEqual(appArmorProfile(pod, container), given.expect);
  });
}

const disabled = 'Cannot enforce AppArmor: AppArmor is not enabled on the host';
const violations: Record<string, Given & { host: boolean; expect: string | undefined }> = {
  'a host without it runs what does not ask for it': { host: false, expect: undefined },
  'and what asks to be left alone': { own: unconfined, host: false, expect: undefined },
  'but no profile': { own: byDefault, host: false, expect: disabled },
  'an annotation is a profile too': { annotation: 'localhost/a', host: false, expect: disabled },
  'a host with it runs them': { own: local('a'), host: true, expect: undefined },
  'a profile needs a name': {
    own: local(' '),
    host: true,
    expect: 'Cannot enforce AppArmor: invalid AppArmor profile name: ""',
  },
  'what runs already is not asked again': {
    own: byDefault,
    host: false,
    status: { phase: 'Running' },
    expect: undefined,
  },
};
for (const [sentence, given] of Object.entries(violations)) {
  test(`AppArmor admission: ${sentence}`, () => {
    assert.equal(appArmorViolation(make(given).pod, given.host), given.expect);
  });
}
