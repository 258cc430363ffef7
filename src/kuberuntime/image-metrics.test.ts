import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imageSizeLabel } from './image-metrics.ts';

test('images are told apart by how large they are', () => {
  const mega = 1024 * 1024;
  const table: readonly (readonly [number, string])[] = [
    [0, 'N/A'],
    [1, '0-10MB'],
    [10 * mega - 1, '0-10MB'],
    [10 * mega, '10MB-100MB'],
    [600 * mega, '500MB-1GB'],
    [70 * 1024 * mega, '60GB-100GB'],
    [200 * 1024 * mega, 'GT100GB'],
  ];
  for (const [bytes, label] of table) assert.equal(imageSizeLabel(bytes), label);
});
