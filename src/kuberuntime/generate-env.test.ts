import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, EnvVar, Pod, Service } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { generateEnv } from './generate-env.ts';
import { ContainerError } from './sync-error.ts';

const basePod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: { containers: [], enableServiceLinks: true },
};
const web: Service = deepFreeze({
  metadata: { name: 'web', namespace: 'ns' },
  spec: { clusterIP: '10.96.0.9', ports: [{ port: 80, protocol: 'TCP' as const }] },
});

const generate = (over: Partial<Container>, services: readonly Service[] = [web], pod = basePod) =>
  generateEnv(deepFreeze(pod), deepFreeze({ name: 'c', ...over }), services);

const own: Record<string, { env: EnvVar[]; expect: Record<string, string> }> = {
  'a literal': { env: [{ name: 'A', value: '1' }], expect: { A: '1' } },
  'no value is an empty one': { env: [{ name: 'A' }], expect: { A: '' } },
  'a reference to a variable before it': {
    env: [
      { name: 'A', value: '1' },
      { name: 'B', value: 'a is $(A)' },
    ],
    expect: { A: '1', B: 'a is 1' },
  },
  'a reference to one after it stays as it is written': {
    env: [
      { name: 'B', value: '$(A)' },
      { name: 'A', value: '1' },
    ],
    expect: { A: '1', B: '$(A)' },
  },
  'a reference to a Service': {
    env: [{ name: 'URL', value: 'http://$(WEB_SERVICE_HOST):$(WEB_SERVICE_PORT)' }],
    expect: { URL: 'http://10.96.0.9:80' },
  },
  'its own variable wins over that of a Service, also in references': {
    env: [
      { name: 'WEB_SERVICE_HOST', value: 'mine' },
      { name: 'A', value: '$(WEB_SERVICE_HOST)' },
    ],
    expect: { WEB_SERVICE_HOST: 'mine', A: 'mine' },
  },
  'the later of two namesakes wins, and may refer to the earlier': {
    env: [
      { name: 'P', value: '/bin' },
      { name: 'P', value: '$(P):/sbin' },
    ],
    expect: { P: '/bin:/sbin' },
  },
};

for (const [sentence, { env, expect }] of Object.entries(own)) {
  test(sentence, () => {
    const found = generate({ env });
    for (const [name, value] of Object.entries(expect)) assert.equal(found.get(name), value, name);
  });
}

test("Services' variables are there without being asked for, and are not where links are off", () => {
  assert.equal(generate({}).get('WEB_SERVICE_HOST'), '10.96.0.9');
  const unlinked = { ...basePod, spec: { ...basePod.spec, enableServiceLinks: false } };
  assert.equal(generate({}, [web], unlinked).get('WEB_SERVICE_HOST'), undefined);
});

const refused: Record<string, { over: Partial<Container>; field: string }> = {
  'a value from another object': {
    over: { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }] },
    field: 'env[A].valueFrom',
  },
  'a whole object': { over: { envFrom: [{ configMapRef: { name: 'cm' } }] }, field: 'envFrom' },
};

for (const [sentence, { over, field }] of Object.entries(refused)) {
  test(`${sentence} is refused, not left out`, () => {
    assert.throws(
      () => generate(over),
      (error: unknown) =>
        error instanceof ContainerError &&
        error.code === 'CreateContainerConfigError' &&
        error.message === `${field} is not supported by this version of keelson`,
    );
  });
}
