import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deepFreeze } from '../../lib/deep-freeze.ts';
import type { DesiredFrontend } from './compile.ts';
import { diffFrontend } from './diff-frontend.ts';
import type { FrontendState } from './table-state.ts';

const noMore = { outsidePick: undefined, outsideSlots: [], sources: undefined };
const id = { ip: '10.96.0.9', proto: 'tcp', port: 80 } as const;
const wants = (...endpoints: string[]): DesiredFrontend => ({
  id,
  endpoints,
  verdict: endpoints.length > 0 ? 'forward' : 'reject',
});
const has = (...slots: (string | undefined)[]): FrontendState => ({
  id,
  pick: slots.length > 0 ? `goto pick-tcp-${slots.length}` : undefined,
  noEndpoints: slots.length > 0 ? undefined : 'goto refuse',
  slots,
  ...noMore,
});
const key = '10.96.0.9 . tcp . 80';
const slot = (n: number) => `10.96.0.9 . 80 . ${n}`;

const cases: Record<
  string,
  { current?: FrontendState; desired?: DesiredFrontend; remove: string[]; add: Record<string, string> }
> = {
  'a new frontend': {
    desired: wants('a', 'b'),
    remove: [],
    add: { [slot(0)]: 'a', [slot(1)]: 'b', [key]: 'goto pick-tcp-2' },
  },
  'the same endpoints in another order are no change': {
    current: has('a', 'b', 'c'),
    desired: wants('c', 'a', 'b'),
    remove: [],
    add: {},
  },
  'one more endpoint takes the next slot': {
    current: has('a', 'b'),
    desired: wants('a', 'b', 'c'),
    remove: [key],
    add: { [slot(2)]: 'c', [key]: 'goto pick-tcp-3' },
  },
  'the hole of a removed endpoint is filled from the last slot': {
    current: has('a', 'b', 'c', 'd', 'e'),
    desired: wants('a', 'c', 'd', 'e'),
    remove: [slot(1), slot(4), key],
    add: { [slot(1)]: 'e', [key]: 'goto pick-tcp-4' },
  },
  'removing the last slot moves nothing': {
    current: has('a', 'b'),
    desired: wants('a'),
    remove: [slot(1), key],
    add: { [key]: 'goto pick-tcp-1' },
  },
  'an endpoint replaced by another takes its slot': {
    current: has('a', 'b'),
    desired: wants('b', 'x'),
    remove: [slot(0)],
    add: { [slot(0)]: 'x' },
  },
  'the last endpoint goes': {
    current: has('a'),
    desired: wants(),
    remove: [slot(0), key],
    add: { [key]: 'goto refuse' },
  },
  'the first endpoint comes': {
    current: has(),
    desired: wants('a'),
    remove: [key],
    add: { [slot(0)]: 'a', [key]: 'goto pick-tcp-1' },
  },
  'the Service goes': { current: has('a', 'b'), remove: [slot(0), slot(1), key], add: {} },
  'holes and wrong verdicts of a foreign hand are put right': {
    current: { id, pick: 'drop', noEndpoints: 'drop', slots: ['a', undefined, 'c', 'a'], ...noMore },
    desired: wants('a', 'b', 'c'),
    remove: [slot(3), key, key],
    add: { [slot(1)]: 'b', [key]: 'goto pick-tcp-3' },
  },
};

const local = { ...wants('a', 'b'), masquerade: 'host', outside: { endpoints: ['a'], verdict: 'forward' } } as const;
Object.assign(cases, {
  'clients from outside have slots of their own': {
    desired: local,
    remove: [],
    add: {
      [slot(0)]: 'a',
      [slot(1)]: 'b',
      [`outside ${slot(0)}`]: 'a',
      [key]: 'goto host-tcp-2',
      [`outside ${key}`]: 'goto plain-tcp-1',
    },
  },
  'without an endpoint here they are left to the filter': {
    desired: { ...local, outside: { endpoints: [], verdict: 'drop' } },
    remove: [],
    add: {
      [slot(0)]: 'a',
      [slot(1)]: 'b',
      [key]: 'drop',
      [`outside ${key}`]: 'accept',
    },
  },
  'a node port has no address, and may be for some sources only': {
    desired: {
      ...wants('a'),
      ...{ id: { ip: '*', proto: 'tcp', port: 30080 }, masquerade: 'everybody' },
      sources: ['192.0.2.0/24'],
    },
    remove: [],
    add: {
      '30080 . 0': 'a',
      'tcp . 30080': 'goto masq-node-tcp-1',
      'node-sources tcp . 30080': 'goto only-e336915ff179',
    },
  },
} satisfies typeof cases);

/** Maps beside those of the main way are told by name, for they share its keys. */
const named = ({ set, element }: { readonly set: string; readonly element: string }): string => {
  const [, role] = /^(outside|node-sources)/.exec(set) ?? [];
  return role === undefined ? element : `${role} ${element}`;
};

for (const [sentence, { current, desired, remove, add }] of Object.entries(cases)) {
  test(sentence, () => {
    const change = diffFrontend(deepFreeze(current), deepFreeze(desired));
    assert.deepEqual(change?.remove.map(named) ?? [], remove);
    assert.deepEqual(Object.fromEntries(change?.add.map((one) => [named(one), one.value]) ?? []), add);
    assert.equal(diffFrontend(change ? change.next : current, desired), undefined, 'and then nothing is left to do');
  });
}

test('removing one of a thousand endpoints removes and adds three elements', () => {
  const names = Array.from({ length: 1_000 }, (_, i) => `10.0.0.${i}`);
  const change = diffFrontend(has(...names), wants(...names.filter((name) => name !== '10.0.0.500')));
  assert.deepEqual([change?.remove.length, change?.add.length], [3, 2]);
});
