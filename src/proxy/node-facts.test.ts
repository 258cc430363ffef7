import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeFacts, TrafficConfig } from './node-facts.ts';
import { detectLocal, nodeFactsOf, nodePortRanges } from './node-facts.ts';

const config: TrafficConfig = {
  ...{ detectLocalMode: 'ClusterCIDR', bridgeInterface: 'br0', interfaceNamePrefix: 'veth' },
  ...{ clusterCidrs: ['10.244.0.0/16', 'fd00::/16'], nodePortAddresses: [], localhostNodePorts: true },
};
const facts: NodeFacts = {
  ...{ zone: 'a', podCidrs: ['10.244.3.0/24'] },
  addresses: ['192.0.2.1', '192.0.2.2', 'FD01::0:1'],
};

const modes: Record<string, [Partial<TrafficConfig>, 'IPv4' | 'IPv6', unknown]> = {
  'the cluster’s ranges': [{}, 'IPv4', { cidrs: ['10.244.0.0/16'] }],
  'the cluster’s ranges of the family': [{}, 'IPv6', { cidrs: ['fd00::/16'] }],
  'overlapping ranges are made one': [
    { clusterCidrs: ['10.244.1.0/24', '10.244.0.0/16'] },
    'IPv4',
    { cidrs: ['10.244.0.0/16'] },
  ],
  'no range, no locals': [{ clusterCidrs: [] }, 'IPv4', undefined],
  'the node’s range': [{ detectLocalMode: 'NodeCIDR' }, 'IPv4', { cidrs: ['10.244.3.0/24'] }],
  'a node without a range of the family': [{ detectLocalMode: 'NodeCIDR' }, 'IPv6', undefined],
  'a bridge': [{ detectLocalMode: 'BridgeInterface' }, 'IPv6', { interface: 'br0' }],
  'interfaces by prefix': [{ detectLocalMode: 'InterfaceNamePrefix' }, 'IPv4', { interface: 'veth*' }],
};
for (const [sentence, [change, family, local]] of Object.entries(modes)) {
  test(`local traffic: ${sentence}`, () =>
    assert.deepEqual(detectLocal({ ...config, ...change }, facts, family), local));
}

const addresses: Record<string, [string[], 'IPv4' | 'IPv6', string[]]> = {
  'nothing said is everywhere': [[], 'IPv4', []],
  'all is everywhere': [['all', '192.0.2.0/24'], 'IPv4', []],
  'ranges of the family': [['192.0.2.0/24', 'fd01::/64'], 'IPv6', ['fd01::/64']],
  'ranges of the other family alone are everywhere': [['192.0.2.0/24'], 'IPv6', []],
  'primary is the first of the family': [['primary'], 'IPv4', ['192.0.2.1/32']],
  'primary of IPv6': [['primary'], 'IPv6', ['fd01::1/128']],
  'primary and all is everywhere': [['primary', 'all'], 'IPv4', []],
  'a range and what lies in it': [['192.0.2.0/24', 'primary', 'localhost'], 'IPv4', ['127.0.0.0/8', '192.0.2.0/24']],
};
for (const [sentence, [wanted, family, ranges]] of Object.entries(addresses)) {
  test(`node ports: ${sentence}`, () => assert.deepEqual(nodePortRanges(wanted, facts, family), ranges));
}

test('node ports: a primary address that is not known is nowhere', () => {
  const unknown = { ...facts, addresses: ['192.0.2.1'] };
  assert.deepEqual(nodePortRanges(['primary'], unknown, 'IPv6'), ['::/128']);
  assert.deepEqual(nodePortRanges(['primary', '2001:db8::/64'], unknown, 'IPv6'), ['2001:db8::/64']);
  assert.deepEqual(nodePortRanges(['primary'], nodeFactsOf(undefined), 'IPv4'), ['0.0.0.0/32']);
});

test('of a node its zone, pod ranges and inner addresses count', () => {
  const node = {
    metadata: { name: 'n', labels: { 'topology.kubernetes.io/zone': 'a' } },
    spec: { podCIDRs: ['10.244.3.0/24'] },
    status: {
      addresses: [
        { type: 'ExternalIP', address: '203.0.113.1' },
        { type: 'InternalIP', address: '192.0.2.1' },
      ],
    },
  };
  assert.deepEqual(nodeFactsOf(node), { zone: 'a', podCidrs: ['10.244.3.0/24'], addresses: ['192.0.2.1'] });
  assert.deepEqual(nodeFactsOf(undefined), { zone: undefined, podCidrs: [], addresses: [] });
  for (const all of ['', '0.0.0.0', '::']) assert.deepEqual(nodeFactsOf(node, all).addresses, ['192.0.2.1'], all);
  assert.deepEqual(nodeFactsOf(node, '2001:db8::1').addresses, ['2001:db8::1', '192.0.2.1']);
});
