import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rfc3339 } from './timestamps.ts';

const cases: Record<string, { ms: number; expect: string }> = {
  'whole seconds, UTC': { ms: Date.UTC(2026, 0, 2, 3, 4, 5), expect: '2026-01-02T03:04:05Z' },
  'milliseconds are cut off, not rounded': { ms: Date.UTC(2026, 0, 2, 3, 4, 5, 999), expect: '2026-01-02T03:04:05Z' },
  'zero is the epoch': { ms: 0, expect: '1970-01-01T00:00:00Z' },
};

for (const [sentence, { ms, expect }] of Object.entries(cases)) {
  test(sentence, () => assert.equal(rfc3339(ms), expect));
}
