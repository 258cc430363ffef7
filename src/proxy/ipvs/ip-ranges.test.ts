import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkOf } from './ip-ranges.ts';

for (const [address, length, network] of [
  ['10.9.8.7', 8, '10.0.0.0'],
  ['10.9.8.7', 31, '10.9.8.6'],
  ['255.255.255.255', 1, '128.0.0.0'],
  ['fd00:1:2:3:4:5:6:7', 48, 'fd00:1:2::'],
  ['fd00::ffff', 125, 'fd00::fff8'],
  ['::1', 1, '::'],
  ['ffff::', 9, 'ff80::'],
] as const) {
  test(`${address}/${length} begins at ${network}`, () => {
    assert.equal(networkOf(address, length, address.includes(':') ? 'IPv6' : 'IPv4'), network);
  });
}
