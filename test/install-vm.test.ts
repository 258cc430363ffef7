import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const PROJECT = fileURLToPath(new URL('..', import.meta.url));
const VM = join(PROJECT, 'test/vm');

/** Emulation on a busy machine; the steps themselves have deadlines of their own. */
const BOOT_SECONDS = 600;

interface Run {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program to its end; only one virtual machine at a time, whoever else wants one. */
function run(command: string, args: readonly string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn('flock', [join(tmpdir(), 'vm.lock'), command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, output }));
  });
}

/** The lines of a scenario that say what held, in order. */
const held = (output: string) =>
  output
    .split('\n')
    .filter((line) => line.startsWith('ok '))
    .map((line) => line.slice(3));

describe('a Debian machine with systemd, as root', () => {
  let folder = '';
  let impossible: string | undefined;
  let installed = false;

  const boot = (step: string) =>
    run(join(VM, 'run'), [
      ...['-s', PROJECT, '-d', join(folder, 'disk.qcow2'), '-t', `${BOOT_SECONDS}`],
      `bash /mnt/host/test/vm/install-scenario ${step}`,
    ]);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'keelson-vm-'));
    if (!existsSync(join(PROJECT, 'dist/keelson.js'))) {
      execFileSync(process.execPath, ['build.mjs'], { cwd: PROJECT, stdio: 'inherit' });
    }
    const built = await run(join(VM, 'build-image'), []);
    if (built.status !== 0) impossible = `the virtual machine's image cannot be built here: ${built.output.trim()}`;
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
