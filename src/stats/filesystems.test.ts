import assert from 'node:assert/strict';
import { test } from 'node:test';
import { computeFilesystemStats } from './filesystems.ts';

test('figures of file systems, whatever they tell', () => {
  const figures = (blocks: number, bfree: number, bavail: number, files: number, ffree: number, bsize = 4096) =>
    computeFilesystemStats({ bsize, blocks, bfree, bavail, files, ffree }, 7);
  assert.deepEqual(figures(100, 40, 30, 50, 20), {
    at: 7,
    capacity: 409_600,
    available: 122_880,
    used: 245_760,
    inodes: 50,
    inodesFree: 20,
  });
  const all = 2 ** 64 - 1;
  const odd: Record<string, ReturnType<typeof figures>> = {
    'as large as can be told': figures(all, all, all, all, all, 2 ** 24),
    'full, and counting below zero': figures(100, 0, all, 50, all),
    'more inodes free than there are': figures(100, 40, 30, 0, 5),
    'nothing at all': figures(0, 0, 0, 0, 0, 0),
  };
  for (const [sentence, stats] of Object.entries(odd)) {
    for (const [name, value] of Object.entries({ ...stats, inodesUsed: stats.inodes - stats.inodesFree })) {
      assert.match(JSON.stringify(value), /^\d+$/, `${sentence}: ${name}`);
      assert.ok(BigInt(JSON.stringify(value)) < 2n ** 63n, `${sentence}: ${name}`);
    }
  }
});
