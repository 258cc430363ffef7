import type { Container, Pod } from '../api/core-v1.ts';

/** A field that this version does not honour. */
export interface UnsupportedField {
  readonly field: string;
  /** `refuse`: running without it would show the container something else than it asked for. `ignore`: it runs, and an event says so. */
  readonly severity: 'refuse' | 'ignore';
}

/** What of a container's definition, and of the pod's around it, this version cannot do. */
export function unsupportedFields(pod: Pod, container: Container): UnsupportedField[] {
  const at = `spec.containers{${container.name}}`;
  const found: UnsupportedField[] = [];
  const add = (present: unknown, field: string, severity: UnsupportedField['severity']) => {
    const isSet = Array.isArray(present) ? present.length > 0 : present !== undefined && present !== false;
    if (isSet) found.push({ field, severity });
  };
  add(container.livenessProbe, `${at}.livenessProbe`, 'ignore');
  add(container.readinessProbe, `${at}.readinessProbe`, 'ignore');
  add(container.startupProbe, `${at}.startupProbe`, 'ignore');
  add(container.lifecycle, `${at}.lifecycle`, 'ignore');
  add(container.restartPolicyRules, `${at}.restartPolicyRules`, 'ignore');
  add(container.volumeDevices, `${at}.volumeDevices`, 'refuse');
  add(container.resources?.claims, `${at}.resources.claims`, 'refuse');
  const subPath = container.volumeMounts?.some((m) => m.subPath || m.subPathExpr);
  add(subPath, `${at}.volumeMounts[].subPath`, 'refuse');
  add(pod.spec.activeDeadlineSeconds, 'spec.activeDeadlineSeconds', 'ignore');
  add(pod.spec.ephemeralContainers, 'spec.ephemeralContainers', 'ignore');
  return found;
}
