import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSysctls, timeoutArguments, wishedSysctls } from './kernel-settings.ts';
import { readAddresses, readConnections, readServers, readSets } from './kernel-state.ts';

const saved = `-A -t 10.96.0.1:80 -s rr -p 60
-a -t 10.96.0.1:80 -r 10.244.0.5:8080 -m -w 1
-a -t 10.96.0.1:80 -r 10.244.0.6:8080 -m -w 0
-a -t 10.96.0.1:80 -r 192.0.2.9:80 -g -w 1
-A --sctp-service 10.96.0.1:9 -s sh -b sh-fallback,sh-port
-A -u [fd00:96::1]:53 -s mh
-a -u [fd00:96::1]:53 -r [fd00::5]:53 -m -w 1
-A -f 77 -s rr
-A -f 78 -6 -s rr
-a -f 78 -6 -r [fd00::5]:53 -m -w 1
`;

test('virtual servers of each family', () => {
  const of = (family: 'IPv4' | 'IPv6') =>
    [...readServers(saved, family)].map(([key, { options, endpoints }]) => [key, options, ...endpoints]);
  assert.deepEqual(of('IPv4'), [
    ['-t 10.96.0.1:80', '-s rr -p 60', ['10.244.0.5:8080', 1], ['10.244.0.6:8080', 0], ['192.0.2.9:80', -1]],
    ['--sctp-service 10.96.0.1:9', '-s sh -b sh-fallback,sh-port'],
    ['-f 77', '-s rr'],
  ]);
  assert.deepEqual(of('IPv6'), [
    ['-u [fd00:96::1]:53', '-s mh', ['[fd00::5]:53', 1]],
    ['-f 78 -6', '-s rr', ['[fd00::5]:53', 1]],
  ]);
});

test('connections, active and closing', () => {
  const listed = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.1:80 rr persistent 60
  -> 10.244.0.5:8080              Masq    1      3          4
  -> 10.244.0.6:8080              Masq    0      0          0
UDP  [fd00:96::1]:53 mh
  -> [fd00::5]:53                 Masq    1      0          2
FWM  77 IPv6 rr
  -> [fd00::5]:53                 Masq    1      1          0
`;
  assert.deepEqual(
    [...readConnections(listed)],
    [
      ['-t 10.96.0.1:80 10.244.0.5:8080', 7],
      ['-t 10.96.0.1:80 10.244.0.6:8080', 0],
      ['-u [fd00:96::1]:53 [fd00::5]:53', 2],
      ['-f 77 -6 [fd00::5]:53', 1],
    ],
  );
});

test('sets of each family, without those of others', () => {
  const text = `create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536
add KUBE-CLUSTER-IP 10.96.0.1,tcp:80
create 6-KEELSON-OUTSIDE hash:ip,port family inet6 skbinfo
add 6-KEELSON-OUTSIDE fd00:96::1,udp:80 skbmark 0x4b000001
create 6-KUBE-LOAD-BALANCER-SOURCE-CID hash:ip,port,net family inet6
create blocked hash:ip family inet
add blocked 10.9.9.9
`;
  assert.deepEqual([...readSets(text, 'IPv4')], [['KUBE-CLUSTER-IP', new Map([['10.96.0.1,tcp:80', '']])]]);
  assert.deepEqual(
    [...readSets(text, 'IPv6')],
    [
      ['KEELSON-OUTSIDE', new Map([['fd00:96::1,udp:80', 'skbmark 0x4b000001']])],
      ['KUBE-LOAD-BALANCER-SOURCE-CIDR', new Map()],
    ],
  );
});

test('addresses, and whose the device is', () => {
  const address = (local: string, scope = 'global') => ({
    family: local.includes(':') ? 'inet6' : 'inet',
    local,
    scope,
  });
  const eth0 = { ifname: 'eth0', addr_info: [address('192.0.2.1'), address('fd00:c::1'), address('fe80::1', 'link')] };
  const read = (...links: readonly object[]) => readAddresses(JSON.stringify([eth0, ...links]), 'IPv6');
  const addr_info = [address('10.96.0.1'), address('fd00:96::1')];
  const nobody = { addresses: new Set(), hostAddresses: new Set(['fd00:c::1']) };
  const ours = { addresses: new Set(['fd00:96::1']), hostAddresses: new Set(['fd00:c::1']) };
  assert.deepEqual(read(), { device: 'absent', ...nobody });
  assert.deepEqual(read({ ifname: 'kube-ipvs0', ifalias: 'keelson', addr_info }), { device: 'ours', ...ours });
  assert.deepEqual(read({ ifname: 'kube-ipvs0', addr_info }), { device: 'foreign', ...ours });
  assert.deepEqual(read({ ifname: 'keelson-ipvs0' }), { device: 'unfinished', ...nobody });
});

test('connections that reuse a port are left to the kernel where that does it well', () => {
  const reuse = (release: string) => wishedSysctls({ strictARP: false }, release).get('net.ipv4.vs.conn_reuse_mode');
  assert.deepEqual(['4.19.0-25-amd64', '5.8.18', '5.9.0', '6.1.0-56-amd64'].map(reuse), [
    '0',
    '0',
    undefined,
    undefined,
  ]);
  assert.deepEqual(
    [...readSysctls('net.ipv4.ip_forward = 1\nkernel.osrelease = 6.1.0\n')],
    [
      ['net.ipv4.ip_forward', '1'],
      ['kernel.osrelease', '6.1.0'],
    ],
  );
});

test('timeouts are set where one is wished that the kernel does not have', () => {
  const args = (tcpTimeoutMs: number, tcpFinTimeoutMs: number, udpTimeoutMs: number) =>
    timeoutArguments({ tcpTimeoutMs, tcpFinTimeoutMs, udpTimeoutMs }, 'Timeout (tcp tcpfin udp): 900 120 300\n');
  assert.equal(args(0, 0, 0), undefined);
  assert.equal(args(900_000, 0, 300_000), undefined);
  assert.deepEqual(args(0, 0, 500), ['--set', '0', '0', '1']);
});
