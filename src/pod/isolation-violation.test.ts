import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PodSecurityContext } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { isolationViolation } from './isolation-violation.ts';

const facts = { allowedSysctls: ['net.*'], appArmor: false };

const cases: Record<string, { context: PodSecurityContext; expect: string | undefined }> = {
  'a pod that asks for nothing': { context: {}, expect: undefined },
  'a parameter that is not allowed': {
    context: { sysctls: [{ name: 'kernel.msgmax', value: '1' }], appArmorProfile: { type: 'RuntimeDefault' } },
    expect: 'SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted',
  },
  'a profile without AppArmor': {
    context: { appArmorProfile: { type: 'RuntimeDefault' } },
    expect: 'AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host',
  },
};

for (const [sentence, given] of Object.entries(cases)) {
  test(sentence, () => {
    const container = { name: 'c', image: 'i' };
    const pod = deepFreeze({
      metadata: { name: 'p' },
      spec: { containers: [container], securityContext: given.context },
    });
    const found = isolationViolation(pod, facts);
    assert.equal(found && `${found.reason}: ${found.message}`, given.expect);
  });
}
