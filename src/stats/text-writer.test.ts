import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetricFamily, microseconds, milliseconds, nanoseconds } from './metric-family.ts';
import { formatLabels, prepared, TextWriter } from './text-writer.ts';

async function written(write: (writer: TextWriter) => Promise<void> | void): Promise<string> {
  const chunks: string[] = [];
  const writer = new TextWriter(async (chunk) => void chunks.push(Buffer.from(chunk).toString()));
  await write(writer);
  await writer.end();
  return chunks.join('');
}

test('values as Prometheus reads them', async () => {
  const table: readonly (readonly [number, number, string])[] = [
    [0, 0, '0'],
    [1, 0, '1'],
    [10, 0, '10'],
    [-1, 0, '-1'],
    [9_007_199_254_740_991, 0, '9007199254740991'],
    [1_795_248_909_212, 0, '1795248909212'],
    [0, nanoseconds, '0'],
    [1, nanoseconds, '0.000000001'],
    [85_476_637, nanoseconds, '0.085476637'],
    [2_500_000_000, nanoseconds, '2.5'],
    [3_000_000_000, nanoseconds, '3'],
    [-1_500_000, microseconds, '-1.5'],
    [1_795_248_908_829, milliseconds, '1795248908.829'],
    [0.25, 0, '0.25'],
    [2 ** 64, 0, '18446744073709552000'],
    [Number.POSITIVE_INFINITY, 0, '+Inf'],
    [Number.NaN, 0, 'NaN'],
  ];
  for (const [value, decimals, expected] of table) {
    assert.equal(await written((w) => w.value(value, decimals, undefined)), ` ${expected}\n`, expected);
  }
});

test('a family with labels that hold anything, and the moment of the value', async () => {
  const family = new MetricFamily('container_fs_usage_bytes', 'gauge', 'Bytes in use.');
  const text = await written((w) => {
    family.head(w);
    family.start(w, prepared(`{${formatLabels({ device: 'a "b"\\c\nd', pod: 'p' })}}`));
    w.value(5, 0, 1_000);
  });
  assert.equal(
    text,
    '# HELP container_fs_usage_bytes Bytes in use.\n# TYPE container_fs_usage_bytes gauge\n' +
      'container_fs_usage_bytes{device="a \\"b\\"\\\\c\\nd",pod="p"} 5 1000\n',
  );
});

test('more than a buffer holds comes out whole, and in order', async () => {
  const family = new MetricFamily('m', 'gauge', 'Words.');
  const labels = prepared(`{id="${'x'.repeat(900)}"}`);
  const text = await written(async (w) => {
    for (let i = 0; i < 2_000; i++) {
      family.start(w, labels);
      w.value(i, 0, undefined);
      if (w.isFull) await w.flush();
    }
  });
  const lines = text.trimEnd().split('\n');
  assert.equal(lines.length, 2_000);
  assert.deepEqual(
    lines.map((l) => Number(l.split(' ')[1])),
    Array.from({ length: 2_000 }, (_, i) => i),
  );
});
