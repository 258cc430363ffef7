import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { prepareVm, runNodeInVm } from './vm/machine.ts';

/** Emulation on a busy machine; it takes four minutes where nobody else works. */
const BOOT_SECONDS = 800;

/** Packets and programs; and the change of the mode from and to IPVS. */
const files = ['test/vm/ipvs-cases.ts', 'test/proxy-modes.test.ts'];

test('on a kernel that has IPVS, its programs do as the fake does, every packet goes where it should, and modes change', async (t) => {
  const impossible = await prepareVm();
  if (impossible !== undefined) return t.skip(impossible);
  const folder = await mkdtemp(join(tmpdir(), 'keelson-vm-'));
  try {
    // Bridged answers of one pod to another come back through the node, as on any host with such a network.
    const { status, output } = await runNodeInVm(
      files.map((file) => `--test-reporter=tap ${file}`),
      { prepare: 'modprobe br_netfilter', folder, seconds: BOOT_SECONDS },
    );
    const failed = output.split('\n').filter((line) => /^\s*not ok /.test(line));
    assert.deepEqual({ status, failed }, { status: 0, failed: [] }, output.slice(-20_000));
    const counts = (what: string) =>
      [...output.matchAll(new RegExp(`^# ${what} (\\d+)$`, 'gm'))].map(([, count]) => Number(count));
    const [cases = 0, modes] = counts('pass');
    assert.ok(cases >= 600, output.slice(-2_000));
    assert.deepEqual({ modes, skipped: counts('skipped') }, { modes: 6, skipped: [0, 0] });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
