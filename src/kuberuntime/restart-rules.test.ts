import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, ContainerRestartRule, Pod, RestartPolicy } from '../api/core-v1.ts';
import { restartsOnFailure, shouldRestart } from './restart-rules.ts';

const rule = (operator: 'In' | 'NotIn', ...values: number[]): ContainerRestartRule => ({
  action: 'Restart',
  exitCodes: { operator, values },
});
const podOf = (restartPolicy?: RestartPolicy): Pod => ({
  metadata: { name: 'p' },
  spec: { containers: [], ...(restartPolicy ? { restartPolicy } : {}) },
});

interface Case {
  readonly pod?: RestartPolicy;
  readonly container?: Partial<Container>;
  /** Exit codes after which it is started again, of 0, 1 and 42. */
  readonly expect: readonly number[];
}

const cases: Record<string, Case> = {
  'without a policy everything is': { expect: [0, 1, 42] },
  'Always: everything is': { pod: 'Always', expect: [0, 1, 42] },
  'OnFailure: failures are': { pod: 'OnFailure', expect: [1, 42] },
  'Never: nothing is': { pod: 'Never', expect: [] },
  'its own policy goes before': { pod: 'Never', container: { restartPolicy: 'Always' }, expect: [0, 1, 42] },
  'also where it asks for less': { pod: 'Always', container: { restartPolicy: 'Never' }, expect: [] },
  'a rule for its code goes before both': {
    container: { restartPolicy: 'Never', restartPolicyRules: [rule('In', 42)] },
    expect: [42],
  },
  'so does one for all codes but some': {
    container: { restartPolicy: 'Never', restartPolicyRules: [rule('NotIn', 0, 42)] },
    expect: [1],
  },
  'a second rule counts where the first does not fit': {
    container: { restartPolicy: 'Never', restartPolicyRules: [rule('In', 1), rule('In', 42)] },
    expect: [1, 42],
  },
  'rules without a policy beside them do not count': {
    pod: 'Never',
    container: { restartPolicyRules: [rule('In', 42)] },
    expect: [],
  },
  'a rule that asks for something else leaves it to the policy': {
    container: {
      restartPolicy: 'OnFailure',
      restartPolicyRules: [{ ...rule('In', 1), action: 'RestartAllContainers' }],
    },
    expect: [1, 42],
  },
  'a rule without codes fits nothing': {
    container: { restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart' }] },
    expect: [],
  },
};

for (const [sentence, { pod, container = {}, expect }] of Object.entries(cases)) {
  test(sentence, () => {
    const codes = [0, 1, 42].filter((code) => shouldRestart(container, podOf(pod), code));
    assert.deepEqual(codes, expect);
  });
}

test('what fails without a code is started again unless the policy is Never', () => {
  const policies: (RestartPolicy | undefined)[] = [undefined, 'Always', 'OnFailure', 'Never'];
  const answers = policies.map((policy) => restartsOnFailure({}, podOf(policy)));
  assert.deepEqual(answers, [true, true, true, false]);
  assert.equal(restartsOnFailure({ restartPolicy: 'OnFailure' }, podOf('Never')), true);
});
