import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { CgroupfsV1 } from './cgroupfs-v1.ts';
import { CgroupfsV2 } from './cgroupfs-v2.ts';
import type { Cgroups } from './cgroups.ts';
import { checkControllers, detectCgroups } from './detect-cgroups.ts';
import type { Exec } from './exec.ts';
import { readMountInfo } from './mount-table.ts';
import { SystemdSlices } from './systemd-slices.ts';

/**
 * The driver for this host's cgroups. Fails with code CgroupsUnusable when the host has none that would do, or
 * `driver` does not fit them.
 */
export async function openCgroups(driver: Cgroups['driver'], exec: Exec, clock: Clock): Promise<Cgroups> {
  const layout = detectCgroups(await readMountInfo());
  if (layout.version === 1) {
    if (driver === 'cgroupfs') return new CgroupfsV1(layout.hierarchies, clock);
    throw new AgentError('CgroupsUnusable', 'the systemd cgroup driver needs cgroup v2, and this host has cgroup v1', {
      hint: 'set cgroupDriver: cgroupfs here and in the runtime, or boot with systemd.unified_cgroup_hierarchy=1',
    });
  }
  const controllers = await readFile(join(layout.mount, 'cgroup.controllers'), 'utf8');
  checkControllers(controllers.trim().split(' '), 'cgroup v2');
  if (driver === 'cgroupfs') return new CgroupfsV2(layout.mount, clock);
  await checkSystemd();
  return new SystemdSlices(layout.mount, exec, clock);
}

/** sd_booted(3): the folder exists exactly where systemd is the init system. */
async function checkSystemd(): Promise<void> {
  try {
    await access('/run/systemd/system');
  } catch (cause) {
    throw new AgentError('CgroupsUnusable', 'the systemd cgroup driver needs systemd, which is not running here', {
      cause,
      hint: 'set cgroupDriver: cgroupfs here and in the runtime',
    });
  }
}
