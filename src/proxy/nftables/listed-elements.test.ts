import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomOf } from '../../testing/random.ts';
import { elementsOf, splitListing } from './listed-elements.ts';

type Listing = { nftables: { map?: { elem?: unknown } }[] };

/** The listing put together again. */
function joined(json: string, pieceLength?: number): unknown {
  const { frame, lists } = splitListing(json, pieceLength);
  const listing = JSON.parse(frame) as Listing;
  for (const { map } of listing.nftables) {
    const [list] = (map?.elem ?? []) as number[];
    if (map && list !== undefined) map.elem = [...elementsOf(lists[list] ?? [])];
  }
  return listing;
}

const listings: Readonly<Record<string, unknown>> = {
  'no elements': { nftables: [{ metainfo: { version: '1.0.6' } }, { map: { name: 'a' } }] },
  'an empty list': { nftables: [{ map: { name: 'a', elem: [] } }] },
  'several maps': { nftables: [{ map: { elem: [1, 2, 3] } }, { rule: {} }, { map: { elem: ['a', { b: [1, [2]] }] } }] },
  'brackets, commas and quotes in a comment': {
    nftables: [
      {
        map: {
          elem: [
            [{ elem: { val: 1, comment: '],"elem": [7], \\"}\\' } }, 'x,y'],
            ['\\', '"'],
          ],
        },
      },
    ],
  },
  'what looks like a list of elements in a text': { nftables: [{ rule: { comment: '"elem": [1, 2' } }] },
};

for (const [what, listing] of Object.entries(listings)) {
  test(`a listing in pieces is the same: ${what}`, () => {
    for (const json of [JSON.stringify(listing), JSON.stringify(listing, undefined, 1)]) {
      for (const length of [1, 5, undefined]) assert.deepEqual(joined(json, length), listing);
    }
  });
}

test('a piece is not longer than wanted by more than an element', () => {
  const elements = Array.from({ length: 500 }, (_, i) => [{ concat: [`10.96.0.${i}`, 80] }, `10.244.0.${i}`]);
  const { lists } = splitListing(JSON.stringify({ nftables: [{ map: { elem: elements } }] }), 1_000);
  assert.deepEqual([...elementsOf(lists[0] ?? [])], elements);
  assert.ok((lists[0]?.length ?? 0) > 10);
  for (const piece of lists[0] ?? []) assert.ok(piece.length < 1_100);
});

test('a listing that is cut off anywhere is an error, never a shorter listing', () => {
  const whole = JSON.stringify({
    nftables: [
      {
        map: {
          elem: [
            [1, 'a'],
            [{ concat: ['b]', 2] }, '"'],
          ],
        },
      },
      { chain: {} },
    ],
  });
  const random = randomOf(7);
  for (let round = 0; round < 200; round++) {
    const cut = whole.slice(0, random(whole.length));
    assert.throws(() => joined(cut, 3), SyntaxError, cut);
  }
});
