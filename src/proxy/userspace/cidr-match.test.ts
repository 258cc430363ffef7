import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inBoth, matchOf } from './cidr-match.ts';

const spelled: Readonly<Record<string, string | undefined>> = {
  '10.1.2.3': '10.1.2.3/32',
  '10.1.2.3/32': '10.1.2.3/32',
  '10.1.2.3/8': '10.0.0.0/8',
  '10.255.255.255/9': '10.128.0.0/9',
  '255.255.255.255/31': '255.255.255.254/31',
  '0.0.0.0/0': undefined,
  '::/0': undefined,
  'fd00::1': 'fd00::1/128',
  'fd00:0:0:1::5/48': 'fd00::/48',
  'fd00:1:2:3:4:5:6:7/65': 'fd00:1:2:3::/65',
  'fd00:1:2:3:ffff:5:6:7/65': 'fd00:1:2:3:8000::/65',
  '::ffff:10.1.2.3/112': '::ffff:10.1.0.0/112',
  'FD00::A/128': 'fd00::a/128',
};
for (const [cidr, match] of Object.entries(spelled)) {
  test(`${cidr} is matched as ${match ?? 'everything'}`, () => assert.equal(matchOf(cidr), match));
}

const pairs: readonly (readonly [string | undefined, string | undefined, readonly (string | undefined)[]])[] = [
  ['10.0.0.0/8', '10.244.0.0/16', ['10.244.0.0/16']],
  ['10.0.0.0/8', '11.0.0.0/8', []],
  ['10.0.0.0/8', '10.0.0.0/8', ['10.0.0.0/8']],
  ['fd00::/16', 'fd00:1::/32', ['fd00:1::/32']],
  ['fd00::/32', 'fd00:1::/32', []],
  [undefined, '10.0.0.0/8', ['10.0.0.0/8']],
  [undefined, undefined, [undefined]],
];
for (const [one, other, both] of pairs) {
  test(`what is in ${one ?? 'everything'} and in ${other ?? 'everything'}`, () => {
    assert.deepEqual(inBoth(one, other), both);
    assert.deepEqual(inBoth(other, one), both);
  });
}
