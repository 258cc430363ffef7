import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { golden } from './golden-run.ts';
import { held, prepareVm, runNodeInVm } from './vm/machine.ts';

/** Emulation on a busy machine; the steps themselves have deadlines of their own. */
const BOOT_SECONDS = 900;

test('on cgroup v2 with systemd the recorded pods become what they became under kubelet', async (t) => {
  const impossible = await prepareVm();
  if (impossible !== undefined) return t.skip(impossible);
  const folder = await mkdtemp(join(tmpdir(), 'keelson-vm-'));
  try {
    const { output } = await runNodeInVm(['test/vm/golden-scenario.ts'], { folder, seconds: BOOT_SECONDS });
    const names = golden('pods-cgroup2').map((pod) => pod.name);
    assert.deepEqual(held(output), [...names, 'cgroup values'], output);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
