import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { unsupportedFields } from './unsupported-fields.ts';

const at = 'spec.containers{c}';

interface Case {
  readonly container?: Partial<Container>;
  readonly expect: string[];
}

const cases: Record<string, Case> = {
  'a plain container has nothing that is not supported': { expect: [] },
  'what is supported is not named': {
    container: {
      ...{ command: ['a'], args: ['b'], env: [{ name: 'A' }], ports: [{ containerPort: 80 }], tty: true },
      ...{ resources: { limits: { cpu: '1' } }, volumeMounts: [{ name: 'v', mountPath: '/v' }] },
      ...{ livenessProbe: {}, lifecycle: { preStop: {} }, restartPolicyRules: [{ action: 'Restart' as const }] },
    },
    expect: [],
  },
  'empty lists are as if they were not there': {
    container: { volumeDevices: [], resources: { claims: [] } },
    expect: [],
  },
  'devices and claims would be missing: refused': {
    container: { volumeDevices: [{ name: 'v', devicePath: '/dev/v' }], resources: { claims: [{}] } },
    expect: [`${at}.volumeDevices`, `${at}.resources.claims`],
  },
  'a part of a volume must not become the whole: refused': {
    container: { volumeMounts: [{ name: 'v', mountPath: '/v', subPath: 'a' }] },
    expect: [`${at}.volumeMounts[].subPath`],
  },
  'nor may an expression for it': {
    container: { volumeMounts: [{ name: 'v', mountPath: '/v', subPathExpr: '$(A)' }] },
    expect: [`${at}.volumeMounts[].subPath`],
  },
};

for (const [sentence, given] of Object.entries(cases)) {
  test(sentence, () => {
    const container: Container = { name: 'c', image: 'i', ...given.container };
    assert.deepEqual(unsupportedFields(deepFreeze(container)), given.expect);
  });
}
