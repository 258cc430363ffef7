import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bootVm, prepareVm } from './vm/machine.ts';

/** Emulation on a busy machine; it takes three minutes where nobody else works. */
const BOOT_SECONDS = 800;

test('on a kernel that has IPVS, its programs do as the fake does, and every packet goes where it should', async (t) => {
  const impossible = await prepareVm();
  if (impossible !== undefined) return t.skip(impossible);
  const folder = await mkdtemp(join(tmpdir(), 'keelson-vm-'));
  try {
    // Bridged answers of one pod to another come back through the node, as on any host with such a network. Node's
    // compiler threads now and then crash under emulation.
    const run = 'node_modules/.bin/node --single-threaded --test-reporter=tap test/vm/ipvs-cases.ts';
    const { status, output } = await bootVm(
      `modprobe br_netfilter && cd /mnt/host && ${run}`,
      join(folder, 'disk.qcow2'),
      BOOT_SECONDS,
    );
    const failed = output.split('\n').filter((line) => /^\s*not ok /.test(line));
    assert.deepEqual({ status, failed }, { status: 0, failed: [] }, output.slice(-20_000));
    assert.ok(Number(/^# pass (\d+)$/m.exec(output)?.[1]) >= 600, output.slice(-2_000));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
