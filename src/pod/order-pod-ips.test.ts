import assert from 'node:assert/strict';
import { test } from 'node:test';
import { orderPodIPs } from './order-pod-ips.ts';

const cases: Record<string, { podIPs: string[]; node: string | undefined; expect: string[] }> = {
  'one address is that one': { podIPs: ['10.0.0.1'], node: '192.0.2.1', expect: ['10.0.0.1'] },
  "the node's family comes first": {
    podIPs: ['fd00::1', '10.0.0.1'],
    node: '192.0.2.1',
    expect: ['10.0.0.1', 'fd00::1'],
  },
  'also where it is IPv6': { podIPs: ['10.0.0.1', 'fd00::1'], node: '2001:db8::1', expect: ['fd00::1', '10.0.0.1'] },
  'a family counts once': { podIPs: ['10.0.0.1', '10.0.0.2'], node: '192.0.2.1', expect: ['10.0.0.1'] },
  'an address of the other family alone is kept': { podIPs: ['fd00::1'], node: '192.0.2.1', expect: ['fd00::1'] },
  'without an address of the node IPv4 comes first': {
    podIPs: ['fd00::1', '10.0.0.1'],
    node: undefined,
    expect: ['10.0.0.1', 'fd00::1'],
  },
  'none is none': { podIPs: [], node: '192.0.2.1', expect: [] },
};

for (const [sentence, { podIPs, node, expect }] of Object.entries(cases)) {
  test(sentence, () => assert.deepEqual(orderPodIPs(podIPs, node), expect));
}
