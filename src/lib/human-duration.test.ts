import assert from 'node:assert/strict';
import { test } from 'node:test';
import { humanDuration } from './human-duration.ts';

test('durations are printed as kubectl prints ages', () => {
  const table: Record<string, number> = {
    '0s': -5_000,
    '119s': 119_900,
    '2m': 120_000,
    '3m5s': 185_000,
    '59m': 3_599_000,
    '3h10m': 11_400_000,
    '47h': 47 * 3_600_000,
    '2d1h': 49 * 3_600_000,
    '30d': 30 * 86_400_000,
  };
  for (const [text, ms] of Object.entries(table)) assert.equal(humanDuration(ms), text);
});
