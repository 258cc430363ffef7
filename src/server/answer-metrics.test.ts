import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acceptsGzip } from './answer-metrics.ts';

const table: Record<string, boolean> = {
  '': false,
  gzip: true,
  'deflate, gzip;q=0.5': true,
  'gzip;q=0': false,
  'gzip; q=0.000': false,
  '*': true,
  identity: false,
};

for (const [header, expected] of Object.entries(table)) {
  test(`accept-encoding '${header}' ${expected ? 'takes' : 'does not take'} gzip`, () => {
    assert.equal(acceptsGzip(header), expected);
  });
}

test('no header takes no gzip', () => {
  assert.equal(acceptsGzip(undefined), false);
});
