import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readConfinement } from './confinement.ts';

const root = mkdtempSync(join(tmpdir(), 'confinement-'));
after(() => rmSync(root, { recursive: true }));

test('a machine without anything', async () => {
  assert.deepEqual(await readConfinement(root), { appArmor: false, thermalPaths: [] });
});

test('a machine with AppArmor and sensors', async () => {
  const cpu = join(root, 'sys/devices/system/cpu');
  for (const folder of ['cpu0/thermal_throttle', 'cpu1/cache', 'cpufreq/thermal_throttle'])
    mkdirSync(join(cpu, folder), { recursive: true });
  const module = join(root, 'sys/module/apparmor/parameters');
  mkdirSync(module, { recursive: true });
  writeFileSync(join(module, 'enabled'), 'Y\n');
  const thermalPaths = ['/sys/devices/system/cpu/cpu0/thermal_throttle'];
  assert.deepEqual(await readConfinement(root), { appArmor: true, thermalPaths });
  writeFileSync(join(module, 'enabled'), 'N\n');
  assert.equal((await readConfinement(root)).appArmor, false);
});
