import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, PodSecurityContext } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { isolationViolation } from './isolation-violation.ts';

const facts = { allowedSysctls: ['net.*'], appArmor: false };
const plain: Node = { metadata: { name: 'n' }, status: { features: { supplementalGroupsPolicy: false } } };
const able: Node = { metadata: { name: 'n' }, status: { features: { supplementalGroupsPolicy: true } } };
const strict: PodSecurityContext = { supplementalGroupsPolicy: 'Strict' };

const cases: Record<string, { context: PodSecurityContext; node?: Node | undefined; expect: string | undefined }> = {
  'a pod that asks for nothing': { context: {}, expect: undefined },
  'a parameter that is not allowed': {
    context: { sysctls: [{ name: 'kernel.msgmax', value: '1' }], appArmorProfile: { type: 'RuntimeDefault' } },
    expect: 'SysctlForbidden: forbidden sysctl: "kernel.msgmax" not allowlisted',
  },
  'strict groups on a runtime that cannot': {
    context: strict,
    expect: 'SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict is not supported in this node',
  },
  'strict groups on one that can': { context: strict, node: able, expect: undefined },
  'strict groups before anything is known': { context: strict, node: undefined, expect: undefined },
  'merged groups are for every runtime': { context: { supplementalGroupsPolicy: 'Merge' }, expect: undefined },
  'a profile without AppArmor': {
    context: { appArmorProfile: { type: 'RuntimeDefault' } },
    expect: 'AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host',
  },
};

for (const [sentence, given] of Object.entries(cases)) {
  test(sentence, () => {
    const node = 'node' in given ? given.node : plain;
    const container = { name: 'c', image: 'i' };
    const pod = deepFreeze({
      metadata: { name: 'p' },
      spec: { containers: [container], securityContext: given.context },
    });
    const found = isolationViolation(pod, node, facts);
    assert.equal(found && `${found.reason}: ${found.message}`, given.expect);
  });
}
