import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { bootVm, held, prepareVm } from './vm/machine.ts';

/** Emulation on a busy machine; the steps themselves have deadlines of their own. */
const BOOT_SECONDS = 600;

describe('a Debian machine with systemd, as root', () => {
  let folder = '';
  let impossible: string | undefined;
  let installed = false;

  const boot = (step: string) =>
    bootVm(`bash /mnt/host/test/vm/install-scenario ${step}`, join(folder, 'disk.qcow2'), BOOT_SECONDS);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'keelson-vm-'));
    impossible = await prepareVm();
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('is a node after install.sh --demo, and stays one when keelson dies', async (t) => {
    if (impossible !== undefined) return t.skip(impossible);
    const { status, output } = await boot('install');
    assert.equal(status, 0, output);
    assert.deepEqual(held(output), [
      'the unit is active',
      'the VIP answers',
      'the VIP answers to a pod, whichever endpoint it gets',
      'a second installation changes nothing',
      'the VIP answers while keelson is dead',
      'a killed keelson is back and feeds its watchdog',
      'no container was restarted by it',
    ]);
    installed = true;
  });

  it('is a node again after a reboot, and none after install.sh --uninstall', async (t) => {
    if (impossible !== undefined) return t.skip(impossible);
    assert.ok(installed, 'there is nothing to boot again');
    const { status, output } = await boot('reboot');
    assert.equal(status, 0, output);
    assert.deepEqual(held(output), [
      'the unit is active after a reboot',
      'the VIP answers after a reboot',
      'every pod runs once',
      'the uninstaller left the system as it was before',
      'uninstalling what is not there is no error',
    ]);
  });
});
