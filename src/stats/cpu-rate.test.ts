import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuRate } from './cpu-rate.ts';

/** [milliseconds, nanoseconds used so far, rate after that] */
const table: Record<string, readonly (readonly [number, number, number | undefined])[]> = {
  'one reading is no rate': [[0, 500, undefined]],
  'two readings a second apart are': [
    [0, 0, undefined],
    [1_000, 250_000_000, 250_000_000],
  ],
  'readings close together say nothing': [
    [0, 0, undefined],
    [300, 300_000_000, undefined],
    [2_000, 1_000_000_000, 500_000_000],
  ],
  'frequent readers do not shorten the window': [
    [0, 0, undefined],
    [1_000, 0, 0],
    [3_000, 2_000_000_000, 0],
    [11_000, 5_000_000_000, 500_000_000],
  ],
  'a counter that begins anew is a first reading': [
    [0, 9_000_000_000, undefined],
    [10_000, 10_000_000_000, 100_000_000],
    [20_000, 0, 100_000_000],
    [30_000, 2_000_000_000, 200_000_000],
  ],
};

for (const [sentence, readings] of Object.entries(table)) {
  test(sentence, () => {
    const rate = new CpuRate();
    for (const [at, usage, expected] of readings) {
      rate.add(usage, at);
      assert.equal(rate.nanoCores, expected, `at ${at}`);
    }
  });
}
