/** The namespaces of a pod that kernel parameters can belong to. */
export type SysctlNamespace = 'IPC' | 'Net';

/**
 * A parameter's name with dots between its parts. Where the first separator is a slash the two change
 * roles: `net/ipv4/conf/eth0.100/rp_filter` is `net.ipv4.conf.eth0/100.rp_filter`.
 */
export function dottedSysctl(name: string): string {
  const first = /[./]/.exec(name)?.[0];
  if (first !== '/') return name;
  return name.replace(/[./]/g, (separator) => (separator === '/' ? '.' : '/'));
}

/** Which namespace a parameter (dotted), or all parameters with this prefix, live in; undefined: in none, or nobody knows. */
export function sysctlNamespace(name: string): SysctlNamespace | undefined {
  if (name === 'kernel.sem') return 'IPC';
  if (['kernel.shm', 'kernel.msg', 'fs.mqueue.'].some((prefix) => name.startsWith(prefix))) return 'IPC';
  return name.startsWith('net.') ? 'Net' : undefined;
}

const segment = '[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?';
const pattern = new RegExp(`^(?:${segment}[./])*(?:[a-z0-9][-_a-z0-9]*)?[a-z0-9*]$`);

/** Whether the text is a parameter's name, or the beginning of one with `*` at the end, that pods may be allowed. */
export function isSysctlPattern(text: string): boolean {
  if (text.length > 253 || !pattern.test(text)) return false;
  return sysctlNamespace(dottedSysctl(text).replace(/\*$/, '')) !== undefined;
}
