import type { Container, ContainerRestartRule, Pod } from '../api/core-v1.ts';
import { newestContainer, type ObservedPod } from '../pod/observed.ts';

type Policies = Pick<Container, 'restartPolicy' | 'restartPolicyRules'>;

/**
 * Whether a container that ended with this code is started again: its rules are asked first, then its own
 * restart policy, then the pod's (KEP-5307). The rules count only beside a policy of its own.
 */
export function shouldRestart(container: Policies, pod: Pod, exitCode: number): boolean {
  if (container.restartPolicy && matchingRule(container, exitCode)?.action === 'Restart') return true;
  switch (container.restartPolicy ?? pod.spec.restartPolicy ?? 'Always') {
    case 'Never':
      return false;
    case 'OnFailure':
      return exitCode !== 0;
    default:
      return true;
  }
}

/** Whether a container that fails, without having ended with a code yet, would be started again. */
export function restartsOnFailure(container: Policies, pod: Pod): boolean {
  return (container.restartPolicy ?? pod.spec.restartPolicy) !== 'Never';
}

/**
 * Whether a container has ended so that its rules ask for all of the pod to begin anew (KEP-5532). It holds
 * until that container has been removed, which is done last.
 */
export function restartsAllContainers(pod: Pod, observed: ObservedPod | undefined): boolean {
  return resettable(pod).some((container) => {
    const last = newestContainer(observed, container.name);
    return last?.state === 'exited' && asksForAll(container, last.exitCode);
  });
}

/** The containers that begin anew when one of them asks for it: all but ephemeral ones. */
export const resettable = (pod: Pod): readonly Container[] => [
  ...(pod.spec.initContainers ?? []),
  ...pod.spec.containers,
];

export const asksForAll = (container: Policies, exitCode: number): boolean =>
  matchingRule(container, exitCode)?.action === 'RestartAllContainers';

/** The first rule that fits counts. */
function matchingRule({ restartPolicyRules }: Policies, exitCode: number): ContainerRestartRule | undefined {
  return restartPolicyRules?.find(({ exitCodes }) => {
    const listed = exitCodes?.values?.includes(exitCode) === true;
    if (exitCodes?.operator === 'In') return listed;
    return exitCodes?.operator === 'NotIn' && !listed;
  });
}
