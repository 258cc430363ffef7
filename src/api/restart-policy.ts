import type { Container, ContainerRestartRule, Pod } from './core-v1.ts';

/**
 * Whether a container that ended with this code is to be started again: the first of its own rules that fits
 * decides, then its own policy, then the pod's (KEP-5307). An init container that did its work is not asked about.
 */
export function restartsAfter(container: Container, pod: Pod, exitCode: number): boolean {
  if (matchingRestartRule(container, exitCode)) return true;
  const policy = container.restartPolicy ?? pod.spec.restartPolicy ?? 'Always';
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

/** Rules count only beside a restart policy of the container's own. */
export function matchingRestartRule(container: Container, exitCode: number): ContainerRestartRule | undefined {
  if (container.restartPolicy === undefined) return undefined;
  return container.restartPolicyRules?.find(({ exitCodes }) => {
    const listed = exitCodes?.values?.includes(exitCode) === true;
    return exitCodes !== undefined && (exitCodes.operator === 'In' ? listed : !listed);
  });
}
