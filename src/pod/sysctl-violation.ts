import type { Pod } from '../api/core-v1.ts';
import { dottedSysctl, type SysctlNamespace, sysctlNamespace } from '../api/sysctl.ts';

/** Parameters that touch nothing but the pod which sets them, with the kernel that first kept them per namespace. */
const safeSysctls: Readonly<Record<string, string>> = {
  'kernel.shm_rmid_forced': '0',
  'net.ipv4.ip_local_port_range': '0',
  'net.ipv4.tcp_syncookies': '0',
  'net.ipv4.ping_group_range': '0',
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ip_local_reserved_ports': '3.16',
  'net.ipv4.tcp_keepalive_time': '4.5',
  'net.ipv4.tcp_fin_timeout': '4.6',
  'net.ipv4.tcp_keepalive_intvl': '4.5',
  'net.ipv4.tcp_keepalive_probes': '4.5',
  'net.ipv4.tcp_rmem': '4.15',
  'net.ipv4.tcp_wmem': '4.15',
};

/** What pods may set here: names, and beginnings of names that end in `*`; all dotted. */
export type AllowedSysctls = readonly string[];

/** The safe parameters of this kernel, and those that `allowedUnsafeSysctls` adds. */
export function allowedSysctls(unsafe: readonly string[], kernelVersion: string): AllowedSysctls {
  const safe = Object.entries(safeSysctls).filter(([, since]) => isAtLeast(kernelVersion, since));
  return [...safe.map(([name]) => name), ...unsafe.map(dottedSysctl)];
}

/** Why the pod's kernel parameters keep it from this node, in upstream's words; undefined when they do not. */
export function sysctlViolation(pod: Pod, allowed: AllowedSysctls): string | undefined {
  const shared: readonly (SysctlNamespace | undefined)[] = [
    ...(pod.spec.hostNetwork ? (['Net'] as const) : []),
    ...(pod.spec.hostIPC ? (['IPC'] as const) : []),
  ];
  for (const { name } of pod.spec.securityContext?.sysctls ?? []) {
    const sysctl = dottedSysctl(name);
    if (!allowed.some((pattern) => matches(sysctl, pattern))) return `forbidden sysctl: "${sysctl}" not allowlisted`;
    const namespace = sysctlNamespace(sysctl);
    if (shared.includes(namespace)) {
      return `forbidden sysctl: "${sysctl}" not allowed with host ${namespace} enabled`;
    }
  }
  return undefined;
}

const matches = (sysctl: string, pattern: string): boolean =>
  pattern.endsWith('*') ? sysctl.startsWith(pattern.slice(0, -1)) : sysctl === pattern;

/** Compares the first two numbers of versions such as `5.15.0-91-generic`. */
function isAtLeast(version: string, minimum: string): boolean {
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = minimum.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
