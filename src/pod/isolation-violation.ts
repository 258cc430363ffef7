import type { Node, Pod } from '../api/core-v1.ts';
import { appArmorViolation } from './app-armor.ts';
import { type AllowedSysctls, sysctlViolation } from './sysctl-violation.ts';

/** What this node has to keep pods apart with. */
export interface IsolationFacts {
  readonly allowedSysctls: AllowedSysctls;
  readonly appArmor: boolean;
}

export interface Violation {
  readonly reason: string;
  readonly message: string;
}

/**
 * What the pod asks of kernel and runtime that this node refuses, whatever room it has; upstream's
 * reasons, words and order. Undefined: nothing. Without a Node object nothing is known of the runtime.
 */
export function isolationViolation(pod: Pod, node: Node | undefined, facts: IsolationFacts): Violation | undefined {
  const sysctl = sysctlViolation(pod, facts.allowedSysctls);
  if (sysctl) return { reason: 'SysctlForbidden', message: sysctl };
  const strict = pod.spec.securityContext?.supplementalGroupsPolicy === 'Strict';
  if (strict && node && !node.status?.features?.supplementalGroupsPolicy) {
    const message = 'SupplementalGroupsPolicy=Strict is not supported in this node';
    return { reason: 'SupplementalGroupsPolicyNotSupported', message };
  }
  const appArmor = appArmorViolation(pod, facts.appArmor);
  return appArmor ? { reason: 'AppArmor', message: appArmor } : undefined;
}
