import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainName, servicePortName } from './chain-names.ts';
import { canonicalRule, networkOf, probability } from './rule-text.ts';

test('chains are named as kube-proxy names them', () => {
  const port = servicePortName('ns1', 'svc1', 'p80');
  assert.equal(chainName('SVC', port, 'tcp'), 'KUBE-SVC-XPGD46QRK7WJZT7O');
  assert.equal(chainName('SEP', port, 'tcp', '10.180.0.1:80'), 'KUBE-SEP-SXIVWICOYRO3J4NJ');
  assert.equal(servicePortName('ns', 'name', ''), 'ns/name');
});

test('ranges are printed without the bits beyond their length', () => {
  const table: Record<string, string> = {
    '10.1.2.3/8': '10.0.0.0/8',
    '192.0.2.1/32': '192.0.2.1/32',
    '255.255.255.255/1': '128.0.0.0/1',
    'fd00:1:2:3:4:5:6:7/48': 'fd00:1:2::/48',
    '::1/128': '::1/128',
    'fd00::ff/121': 'fd00::80/121',
  };
  for (const [range, network] of Object.entries(table)) assert.equal(networkOf(range), network);
});

test('probabilities are printed as the kernel keeps them', () => {
  assert.match(probability(3), / 0\.33333333349$/);
  assert.match(probability(5), / 0\.20000000019$/);
  assert.match(probability(2), / 0\.50000000000$/);
});

test('a rule is known again without quotes and with its matches in another order', () => {
  const ours = '-d 10.0.0.1/32 -p tcp -m comment --comment "d/x" -m tcp --dport 80 -j KUBE-SVC-A';
  const others = '-d 10.0.0.1/32 -p tcp -m tcp --dport 80 -m comment --comment d/x -j KUBE-SVC-A';
  assert.equal(canonicalRule(ours), canonicalRule(others));
  assert.notEqual(canonicalRule(ours), canonicalRule(others.replace('80', '81')));
});
