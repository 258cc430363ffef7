import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../lib/errors.ts';
import { readIfExists } from './files.ts';

/** What this machine can confine processes with, and what of it they should not see. */
export interface Confinement {
  /** Whether the kernel enforces AppArmor profiles. */
  readonly appArmor: boolean;
  /** Sensors that tell processes apart by the heat they make: one folder for each CPU that has one. */
  readonly thermalPaths: readonly string[];
}

/** Reads it, below another root in tests. It does not change while the machine runs. */
export async function readConfinement(root = '/'): Promise<Confinement> {
  const appArmor = await readIfExists(join(root, 'sys/module/apparmor/parameters/enabled'));
  const cpus = await readdir(join(root, 'sys/devices/system/cpu')).catch(none);
  const folders = await Promise.all(
    cpus
      .filter((name) => /^cpu\d+$/.test(name))
      .map(async (cpu) => {
        const inside = await readdir(join(root, 'sys/devices/system/cpu', cpu)).catch(none);
        return inside.includes('thermal_throttle') ? [`/sys/devices/system/cpu/${cpu}/thermal_throttle`] : [];
      }),
  );
  return { appArmor: appArmor?.startsWith('Y') === true, thermalPaths: folders.flat().sort() };
}

function none(error: unknown): string[] {
  if (errnoOf(error) === 'ENOENT') return [];
  throw error;
}
