import assert from 'node:assert/strict';
import type { NetworkInterfaceInfo } from 'node:os';
import { test } from 'node:test';
import type { Node } from '../api/core-v1.ts';
import { healthCheckPlaces, type PlacesInput } from './health-check-places.ts';

const address = (ip: string, scopeid = 0) =>
  ({ address: ip, family: ip.includes(':') ? 'IPv6' : 'IPv4', scopeid }) as NetworkInterfaceInfo;
const host: PlacesInput = {
  ...{ nodePortAddresses: [], bindAddress: '0.0.0.0', hasIpv6: true },
  node: {
    metadata: { name: 'n' },
    status: {
      addresses: [
        { type: 'InternalIP', address: '192.0.2.2' },
        { type: 'InternalIP', address: '2001:db8::2' },
      ],
    },
  } as Node,
  interfaces: {
    lo: [address('127.0.0.1'), address('::1')],
    eth0: [address('192.0.2.2'), address('192.0.2.9'), address('2001:db8::2'), address('fe80::1', 2)],
    eth1: [address('198.51.100.1')],
  },
};

const table: Readonly<Record<string, [Partial<PlacesInput>, readonly string[]]>> = {
  'not limited: everywhere, by one socket': [{}, ['::']],
  'a host without IPv6': [{ hasIpv6: false }, ['0.0.0.0']],
  all: [{ nodePortAddresses: ['all'] }, ['::']],
  'a range has the addresses in it, and the other family all': [
    { nodePortAddresses: ['192.0.2.0/24'] },
    ['192.0.2.2 only', '192.0.2.9 only', ':: only'],
  ],
  'primary: the first of each family': [{ nodePortAddresses: ['primary'] }, ['192.0.2.2 only', '2001:db8::2 only']],
  'primary: what the proxy is bound to comes first': [
    { nodePortAddresses: ['primary'], bindAddress: '192.0.2.9' },
    ['192.0.2.9 only', '2001:db8::2 only'],
  ],
  'an address that stands for all binds to none': [
    { nodePortAddresses: ['primary'], bindAddress: '::' },
    ['192.0.2.2 only', '2001:db8::2 only'],
  ],
  localhost: [{ nodePortAddresses: ['localhost'] }, ['127.0.0.1 only', '::1 only']],
  'a range that no interface is in': [{ nodePortAddresses: ['203.0.113.0/24'], hasIpv6: false }, []],
  'no link-local address': [{ nodePortAddresses: ['192.0.2.9/32', 'fe80::/10'] }, ['192.0.2.9 only']],
};
for (const [sentence, [input, places]] of Object.entries(table)) {
  test(sentence, () => {
    const found = healthCheckPlaces({ ...host, ...input });
    assert.deepEqual(
      found.map((one) => `${one.address}${one.ipv6Only ? ' only' : ''}`),
      places,
    );
  });
}
