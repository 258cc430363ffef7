import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMountInfo } from '../host/mount-table.ts';
import { chooseFilesystems } from './filesystems.ts';
import {
  parseBootTime,
  parseCpuTopology,
  parseDiskStats,
  parseMemoryInfo,
  parseNetDev,
  parseOpenFilesLimit,
  parseOwnCgroup,
  parseTaskCount,
} from './parse-proc.ts';

test('interfaces, without those whose traffic is counted elsewhere', () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  eth0: 14526     110   1    2    0     0          0         5      682       9    3    4    0     0       0          0
vethab12: 5       1    0    0    0     0          0         0        5       1    0    0    0     0       0          0
eth1.100:7 1 0 0 0 0 0 0 8 2 0 0 0 0 0 0
`;
  assert.deepEqual(parseNetDev(text), [
    {
      ...{ name: 'eth0', rxBytes: 14_526, rxPackets: 110, rxErrors: 1, rxDropped: 2 },
      ...{ txBytes: 682, txPackets: 9, txErrors: 3, txDropped: 4 },
    },
    {
      ...{ name: 'eth1.100', rxBytes: 7, rxPackets: 1, rxErrors: 0, rxDropped: 0 },
      ...{ txBytes: 8, txPackets: 2, txErrors: 0, txDropped: 0 },
    },
  ]);
  assert.deepEqual(parseNetDev(''), []);
});

test('memory of the machine, in bytes', () => {
  const text =
    'MemTotal:       24684084 kB\nMemFree:        1000 kB\nSwapTotal:      2048 kB\nSwapFree:        1024 kB\n';
  const swap = { swapTotal: 2 << 20, swapFree: 1 << 20 };
  assert.deepEqual(parseMemoryInfo(text), { total: 24_684_084 * 1024, free: 1000 * 1024, ...swap });
});

test('single figures of /proc', () => {
  assert.equal(parseTaskCount('2.49 5.04 4.17 3/429 20101\n'), 429);
  assert.equal(parseTaskCount(''), 0);
  assert.equal(parseBootTime('cpu  1 2 3\nintr 5\nbtime 1795232789\nprocesses 5\n'), 1_795_232_789_000);
  const limits = (soft: string) =>
    `Limit                     Soft Limit           Hard Limit           Units\nMax open files            ${soft}                20000                files\n`;
  assert.equal(parseOpenFilesLimit(limits('1024')), 1024);
  assert.equal(parseOpenFilesLimit(limits('unlimited')), Number.POSITIVE_INFINITY);
  assert.equal(parseOpenFilesLimit(''), undefined);
});

test('the cgroup that a process is in', () => {
  const v1 = '8:pids:/system\n4:memory:/system.slice/keelson.service\n1:name=systemd:/other\n0::/unified\n';
  assert.equal(parseOwnCgroup(v1, 1), '/system.slice/keelson.service');
  assert.equal(parseOwnCgroup('0::/system.slice/keelson.service\n', 2), '/system.slice/keelson.service');
  assert.equal(parseOwnCgroup('', 2), undefined);
});

test('sockets and cores; processors that do not tell are cores of one socket', () => {
  const processor = (id: number, socket: number, core: number) =>
    `processor\t: ${id}\nphysical id\t: ${socket}\ncore id\t\t: ${core}\n`;
  const two = [processor(0, 0, 0), processor(1, 0, 0), processor(2, 1, 0), processor(3, 1, 0)].join('\n');
  assert.deepEqual(parseCpuTopology(two), { cores: 2, sockets: 2 });
  assert.deepEqual(parseCpuTopology('processor\t: 0\nBogoMIPS\t: 50\n\nprocessor\t: 1\n\nHardware\t: x\n'), {
    cores: 2,
    sockets: 1,
  });
});

test('disks by number', () => {
  const text =
    ' 253       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n';
  const disks = parseDiskStats(text);
  assert.deepEqual(disks.get('253:0'), {
    ...{ name: 'vda', reads: 1, readsMerged: 2, sectorsRead: 3, readMs: 4, writes: 5, writesMerged: 6 },
    ...{ sectorsWritten: 7, writeMs: 8, inFlight: 9, ioMs: 10, weightedIoMs: 11 },
  });
  assert.equal(disks.get('7:0')?.name, 'loop0');
});

test('file systems of the host: disks once, memory by its place, nothing of the pods', () => {
  const line = (device: string, target: string, type: string, source: string) =>
    `1 0 ${device} / ${target} rw - ${type} ${source} rw`;
  const mounts = parseMountInfo(
    [
      line('253:0', '/', 'ext4', '/dev/vda1'),
      line('253:0', '/var/lib/kubelet/pods/u/volumes/v', 'ext4', '/dev/vda1'),
      line('253:0', '/srv', 'ext4', '/dev/vda1'),
      line('253:16', '/data', 'xfs', '/dev/vdb'),
      line('0:20', '/run', 'tmpfs', 'tmpfs'),
      line('0:21', '/var/lib/kubelet/pods/u/volumes/t', 'tmpfs', 'tmpfs'),
      line('0:22', '/mnt/share', 'nfs4', 'server:/share'),
      line('0:23', '/proc', 'proc', 'proc'),
    ].join('\n'),
  );
  assert.deepEqual(chooseFilesystems(mounts, ['/var/lib/kubelet']), [
    { device: '/dev/vda1', number: '253:0', target: '/' },
    { device: '/dev/vdb', number: '253:16', target: '/data' },
    { device: '/run', number: '0:20', target: '/run' },
  ]);
});
