import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goDuration, parseGoDuration } from './go-duration.ts';

test('durations are read as Go writes them', () => {
  const table: Record<string, number | undefined> = {
    '20s': 20_000,
    '1m0s': 60_000,
    '1h30m': 5_400_000,
    '1.5s': 1500,
    '100ms': 100,
    '100us': 0.1,
    '0': 0,
    '0s': 0,
    '-1m': -60_000,
    '': undefined,
    '20': undefined,
    '20 s': undefined,
    '1d': undefined,
    s: undefined,
    '1m-5s': undefined,
  };
  for (const [text, ms] of Object.entries(table)) assert.equal(parseGoDuration(text), ms, text);
});

test('what is printed is read back', () => {
  for (const text of ['0s', '250ms', '20s', '1.5s', '1m20s', '5m0s', '4h0m0s', '-1m0s']) {
    assert.equal(goDuration(parseGoDuration(text) ?? Number.NaN), text);
  }
});
