import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, PodSpec } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { unsupportedFields } from './unsupported-fields.ts';

const at = 'spec.containers{c}';

interface Case {
  readonly container?: Partial<Container>;
  readonly spec?: Partial<PodSpec>;
  /** As 'severity field'. */
  readonly expect: string[];
}

const cases: Record<string, Case> = {
  'a plain container has nothing that is not supported': { expect: [] },
  'what is supported is not named': {
    container: {
      ...{ command: ['a'], args: ['b'], env: [{ name: 'A' }], ports: [{ containerPort: 80 }], tty: true },
      ...{ resources: { limits: { cpu: '1' } }, volumeMounts: [{ name: 'v', mountPath: '/v' }] },
    },
    spec: { hostNetwork: true, volumes: [{ name: 'v', emptyDir: {} }] },
    expect: [],
  },
  'empty lists are as if they were not there': {
    container: { restartPolicyRules: [], volumeDevices: [], resources: { claims: [] } },
    spec: { ephemeralContainers: [] },
    expect: [],
  },
  'probes are ignored': {
    container: { livenessProbe: {}, readinessProbe: {}, startupProbe: {} },
    expect: [`ignore ${at}.livenessProbe`, `ignore ${at}.readinessProbe`, `ignore ${at}.startupProbe`],
  },
  'so are hooks and restart rules': {
    container: { lifecycle: { preStop: {} }, restartPolicyRules: [{ action: 'Restart' }] },
    expect: [`ignore ${at}.lifecycle`, `ignore ${at}.restartPolicyRules`],
  },
  'devices and claims would be missing: refused': {
    container: { volumeDevices: [{ name: 'v', devicePath: '/dev/v' }], resources: { claims: [{}] } },
    expect: [`refuse ${at}.volumeDevices`, `refuse ${at}.resources.claims`],
  },
  'a part of a volume must not become the whole: refused': {
    container: { volumeMounts: [{ name: 'v', mountPath: '/v', subPath: 'a' }] },
    expect: [`refuse ${at}.volumeMounts[].subPath`],
  },
  'nor may an expression for it': {
    container: { volumeMounts: [{ name: 'v', mountPath: '/v', subPathExpr: '$(A)' }] },
    expect: [`refuse ${at}.volumeMounts[].subPath`],
  },
  'what the pod asks for is named with each container': {
    spec: { activeDeadlineSeconds: 60, ephemeralContainers: [{ name: 'debug' }] },
    expect: ['ignore spec.activeDeadlineSeconds', 'ignore spec.ephemeralContainers'],
  },
};

for (const [sentence, given] of Object.entries(cases)) {
  test(sentence, () => {
    const container: Container = { name: 'c', image: 'i', ...given.container };
    const pod: Pod = { metadata: { name: 'p' }, spec: { containers: [container], ...given.spec } };
    const found = unsupportedFields(deepFreeze(pod), deepFreeze(container));
    assert.deepEqual(
      found.map((f) => `${f.severity} ${f.field}`),
      given.expect,
    );
  });
}
