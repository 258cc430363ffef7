import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentError } from '../lib/errors.ts';
import { chooseNodeIps, type DefaultRoute, parseIpv4Routes, parseIpv6Routes } from './node-ip.ts';

const ipv4Table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	010200C0	0003	0	0	600	00000000	0	0	0
eth0	00000000	010200C0	0003	0	0	100	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
down0	00000000	010200C0	0002	0	0	0	00000000	0	0	0
half0	00000000	010200C0	0003	0	0	0	00000080	0	0	0
`;
const zeros = '0'.repeat(32);
const ipv6Table = `${zeros} 00 ${zeros} 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
${zeros} 00 ${zeros} 00 ${zeros} ffffffff 00000001 00000000 00200200       lo
fd000000000000000000000000000000 40 ${zeros} 00 ${zeros} 00000100 00000001 00000000 00000001     eth0
`;

test('default routes are found in the tables of the kernel', () => {
  assert.deepEqual(parseIpv4Routes(ipv4Table), [
    { family: 4, device: 'wlan0', metric: 600 },
    { family: 4, device: 'eth0', metric: 100 },
  ]);
  assert.deepEqual(parseIpv6Routes(ipv6Table), [{ family: 6, device: 'eth0', metric: 1024 }]);
});

const addresses = [
  { device: 'lo', address: '127.0.0.1' },
  { device: 'lo', address: '::1' },
  { device: 'cni0', address: '10.244.0.1' },
  { device: 'eth0', address: '169.254.3.3' },
  { device: 'eth0', address: '192.0.2.2' },
  { device: 'eth0', address: 'fd00::2' },
  { device: 'eth0', address: 'fe80::fc:ff:fe00:1' },
  { device: 'wlan0', address: '198.51.100.7' },
];
const routes = [...parseIpv4Routes(ipv4Table), ...parseIpv6Routes(ipv6Table)];
const v6Only = addresses.filter((a) => a.address.includes(':'));

const table: [
  sentence: string,
  wanted: string[],
  routes: DefaultRoute[],
  addresses: typeof addresses,
  ips: string[],
][] = [
  ['the interface of the best default route', [], routes, addresses, ['192.0.2.2']],
  ['IPv6 where there is no IPv4', [], routes, v6Only, ['fd00::2']],
  ['the first global address where no route leads out', [], [], addresses, ['10.244.0.1']],
  [
    'rather one of another interface than of loopback',
    ['::'],
    [],
    [{ device: 'lo', address: 'fd01::1' }, ...v6Only],
    ['fd00::2'],
  ],
  ['nothing on a host with loopback alone', [], [], addresses.slice(0, 2), []],
  ['what was asked for', ['198.51.100.7'], routes, addresses, ['198.51.100.7']],
  ['two families in the order asked for', ['fd00::2', '192.0.2.2'], routes, addresses, ['fd00::2', '192.0.2.2']],
  ['a family asked for by its unspecified address', ['::'], routes, addresses, ['fd00::2']],
];
for (const [sentence, wanted, r, a, ips] of table) {
  test(`the node's address: ${sentence}`, () => assert.deepEqual(chooseNodeIps(wanted, r, a), ips));
}

const refused: [ip: string, why: RegExp][] = [
  ['192.0.2.99', /is no address of this host/],
  ['127.0.0.1', /cannot be reached/],
  ['fe80::fc:ff:fe00:1', /cannot be reached/],
  ['example', /is not an IP address/],
];
for (const [ip, why] of refused) {
  test(`--node-ip ${ip} is refused`, () => {
    assert.throws(
      () => chooseNodeIps([ip], routes, addresses),
      (e) => e instanceof AgentError && e.code === 'NodeIpInvalid' && why.test(e.message),
    );
  });
}
