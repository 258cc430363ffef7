import type { Clock } from '../lib/clock.ts';
import { defaultBuckets, type Histogram, type Registry } from '../lib/metrics.ts';
import type { CgroupName, Cgroups, CgroupValues } from './cgroups.ts';

export function cgroupDuration(registry: Registry): Histogram {
  return registry.histogram({
    name: 'kubelet_cgroup_manager_duration_seconds',
    help: 'How long it took to make, change or remove a cgroup.',
    labels: ['operation_type'],
    buckets: defaultBuckets,
  });
}

/** The same cgroups, with what changes them timed. Making one that is not there is part of changing it, as a rule. */
export function instrumentCgroups(cgroups: Cgroups, duration: Histogram, clock: Clock): Cgroups {
  const timed = async (operation: string, work: Promise<void>): Promise<void> => {
    const startedAt = clock.monotonic();
    try {
      await work;
    } finally {
      duration.observe((clock.monotonic() - startedAt) / 1000, operation);
    }
  };
  return {
    version: cgroups.version,
    driver: cgroups.driver,
    ensure: (name: CgroupName, values: CgroupValues, signal) => timed('update', cgroups.ensure(name, values, signal)),
    remove: (name, signal) => timed('destroy', cgroups.remove(name, signal)),
    children: (name) => cgroups.children(name),
    pids: (name) => cgroups.pids(name),
    kill: (name, signal) => cgroups.kill(name, signal),
    read: (name) => cgroups.read(name),
    containerMemory: (name, id) => cgroups.containerMemory(name, id),
    criParent: (name) => cgroups.criParent(name),
  };
}
