import type { Pod } from '../api/core-v1.ts';
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
 * What the pod asks of the kernel that this node refuses, whatever room it has; upstream's reasons and
 * words. Undefined: nothing.
 */
export function isolationViolation(pod: Pod, facts: IsolationFacts): Violation | undefined {
  const sysctl = sysctlViolation(pod, facts.allowedSysctls);
  if (sysctl) return { reason: 'SysctlForbidden', message: sysctl };
  const appArmor = appArmorViolation(pod, facts.appArmor);
  return appArmor ? { reason: 'AppArmor', message: appArmor } : undefined;
}
