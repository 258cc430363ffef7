import { AgentError } from '../lib/errors.ts';
import type { MountInfo } from './mount-table.ts';

/** How this host's cgroups are mounted. */
export type CgroupLayout =
  | { readonly version: 2; readonly mount: string }
  | { readonly version: 1; readonly hierarchies: readonly Hierarchy[] };

/** One mounted v1 hierarchy, or the v2 hierarchy beside them on a hybrid host (then without controllers). */
export interface Hierarchy {
  readonly mount: string;
  /** 'cpu', 'memory', …; 'name=systemd' for a named one. */
  readonly controllers: readonly string[];
}

const v1Controllers = new Set([
  'blkio',
  'cpu',
  'cpuacct',
  'cpuset',
  'devices',
  'freezer',
  'hugetlb',
  'memory',
  'misc',
  'net_cls',
  'net_prio',
  'perf_event',
  'pids',
  'rdma',
]);

/** Without these no pod can be limited; huge pages and pids may be missing. */
const required = ['cpu', 'cpuset', 'memory'];

/** Reads the layout off the mount table. Fails with code CgroupsUnusable when there is none, or a controller is missing. */
export function detectCgroups(mounts: readonly MountInfo[]): CgroupLayout {
  const v2 = mounts.filter((m) => m.type === 'cgroup2');
  const root = v2.find((m) => m.target === '/sys/fs/cgroup');
  if (root) return { version: 2, mount: root.target };
  const hierarchies = new Map<string, Hierarchy>();
  for (const m of mounts.filter((m) => m.type === 'cgroup' && m.target.startsWith('/sys/fs/cgroup/'))) {
    const controllers = m.superOptions.filter((o) => v1Controllers.has(o) || o.startsWith('name='));
    const key = controllers.join(',');
    if (controllers.length && !hierarchies.has(key)) hierarchies.set(key, { mount: m.target, controllers });
  }
  if (!hierarchies.size) {
    throw new AgentError('CgroupsUnusable', 'no cgroup hierarchy is mounted below /sys/fs/cgroup', {
      hint: 'on a systemd host this is a broken boot; elsewhere: mount -t cgroup2 cgroup2 /sys/fs/cgroup',
    });
  }
  checkControllers(
    [...hierarchies.values()].flatMap((h) => h.controllers),
    'cgroup v1',
  );
  const unified = v2.find((m) => m.target.startsWith('/sys/fs/cgroup/'));
  if (unified) hierarchies.set('', { mount: unified.target, controllers: [] });
  return { version: 1, hierarchies: [...hierarchies.values()] };
}

/** Fails with code CgroupsUnusable when a controller that pods need is not among `available`. */
export function checkControllers(available: readonly string[], where: string): void {
  const missing = required.filter((c) => !available.includes(c));
  if (!missing.length) return;
  throw new AgentError('CgroupsUnusable', `${where} lacks the controllers ${missing.join(', ')}`, {
    hint: missing.includes('memory')
      ? 'add cgroup_enable=memory to the kernel command line and reboot'
      : 'use a kernel that has them built in',
  });
}
