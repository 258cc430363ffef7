import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generateMasquerade } from './masquerade.ts';

const settings = { bridgeName: 'keelson0', podCidrs: ['10.244.1.0/24'], clusterCidrs: [], bridgeIsFiltered: true };

test('what stays in the cluster keeps its source, and a family without pods has no table', () => {
  const [table, ...others] = generateMasquerade({ ...settings, clusterCidrs: ['10.244.0.0/16', 'fd00::/48'] });
  assert.deepEqual(table?.rules, [
    'ip saddr { 10.244.1.0/24 } ip daddr != 10.244.1.0/24 ip daddr != 10.244.0.0/16 ip daddr != 224.0.0.0/4 ' +
      'fib daddr type != local masquerade fully-random',
  ]);
  assert.deepEqual(others, []);
});

test('where bridged frames pass no filter, Services between pods of one bridge are masqueraded', () => {
  const [table] = generateMasquerade({ ...settings, bridgeIsFiltered: false });
  const toBridge = 'oifname "keelson0" ip saddr { 10.244.1.0/24 } ip daddr { 10.244.1.0/24 } masquerade fully-random';
  assert.deepEqual(table?.rules.slice(1), [
    `ct status dnat ${toBridge}`,
    `ct original ip daddr != { 10.244.1.0/24 } ${toBridge}`,
  ]);
});

test('another wish has another tag', () => {
  const tags = [settings, { ...settings, bridgeIsFiltered: false }, { ...settings, clusterCidrs: ['10.0.0.0/8'] }].map(
    (one) => generateMasquerade(one)[0]?.tag,
  );
  assert.equal(new Set(tags).size, 3);
});
