import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseV1Cpu, parseV1Io, parseV1Memory } from './parse-cgroup-v1.ts';
import { parseV2Cpu, parseV2Io, parseV2Memory } from './parse-cgroup-v2.ts';
import { parsePressure } from './parse-pressure.ts';
import { figureOf, limitOf, lineKey, numberAt } from './parse-text.ts';

/** Texts as kernels wrote them: v1 of Linux 6.18, v2 of 6.1. */

const v1Stat = `cache 4096
rss 61440
rss_huge 0
shmem 0
mapped_file 0
swap 0
pgpgin 1203
pgpgout 1141
pgfault 852
pgmajfault 2
inactive_anon 0
active_anon 61440
inactive_file 1234
active_file 99
hierarchical_memory_limit 67108864
total_cache 9678848
total_rss 15749120
total_mapped_file 7729152
total_swap 40960
total_pgfault 137469
total_pgmajfault 19
total_inactive_file 241664
total_active_file 352256
`;

test('memory of a v1 cgroup counts what is below it, but page faults also its own', () => {
  const memory = parseV1Memory({
    stat: v1Stat,
    usage: '26648576\n',
    maxUsage: '30000000\n',
    failcnt: '7\n',
    kernel: '188416\n',
    oomControl: 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n',
  });
  assert.deepEqual(memory, {
    usage: 26_648_576,
    workingSet: 26_648_576 - 241_664,
    maxUsage: 30_000_000,
    cache: 9_678_848,
    rss: 15_749_120,
    mappedFile: 7_729_152,
    activeFile: 352_256,
    inactiveFile: 241_664,
    kernel: 188_416,
    swap: 40_960,
    failures: 7,
    pageFaults: 852,
    majorPageFaults: 2,
    hierarchyPageFaults: 137_469,
    hierarchyMajorPageFaults: 19,
    oomKills: 3,
  });
});

test('a working set is never below nothing', () => {
  const texts = { usage: '100\n', maxUsage: '', failcnt: '', kernel: '', oomControl: '' };
  assert.equal(parseV1Memory({ ...texts, stat: 'total_inactive_file 4096\n' }).workingSet, 0);
});

test('CPU of a v1 cgroup: nanoseconds, and ticks of a hundredth of a second', () => {
  const stat = 'nr_periods 3\nnr_throttled 2\nthrottled_time 40796442\nnr_bursts 0\nburst_time 0\n';
  assert.deepEqual(parseV1Cpu({ usage: '85476637\n', ticks: 'user 7\nsystem 1\n', stat }), {
    usage: 85_476_637,
    user: 70_000_000,
    system: 10_000_000,
    periods: 3,
    throttledPeriods: 2,
    throttled: 40_796_442,
  });
});

test('disks of a v1 cgroup, each with what it read and wrote', () => {
  const bytes =
    '253:0 Read 4096\n253:0 Write 8192\n253:0 Sync 12288\n253:0 Async 0\n253:0 Discard 0\n253:0 Total 12288\n' +
    '8:16 Read 512\n8:16 Write 0\nTotal 12800\n';
  const operations = '253:0 Read 1\n253:0 Write 2\n253:0 Total 3\n8:16 Read 1\n8:16 Write 0\nTotal 4\n';
  assert.deepEqual(parseV1Io(bytes, operations), [
    { device: '253:0', readBytes: 4096, writeBytes: 8192, reads: 1, writes: 2 },
    { device: '8:16', readBytes: 512, writeBytes: 0, reads: 1, writes: 0 },
  ]);
  assert.deepEqual(parseV1Io('Total 0\n', 'Total 0\n'), []);
});

const v2Stat = `anon 1048576
file 8192000
kernel 450560
kernel_stack 49152
pagetables 122880
sec_pagetables 0
percpu 720
sock 0
vmalloc 0
shmem 0
zswap 0
zswapped 0
file_mapped 4055040
file_dirty 0
file_writeback 0
swapcached 0
anon_thp 0
inactive_anon 1044480
active_anon 4096
inactive_file 6000640
active_file 2191360
unevictable 0
slab_reclaimable 154296
slab_unreclaimable 97544
slab 251840
pgfault 5012
pgmajfault 31
`;

test('memory of a v2 cgroup', () => {
  const memory = parseV2Memory({
    stat: v2Stat,
    current: '9732096\n',
    peak: '11223040\n',
    events: 'low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 0\n',
    swap: '12288\n',
  });
  assert.deepEqual(memory, {
    usage: 9_732_096,
    workingSet: 9_732_096 - 6_000_640,
    maxUsage: 11_223_040,
    cache: 8_192_000,
    rss: 1_048_576,
    mappedFile: 4_055_040,
    activeFile: 2_191_360,
    inactiveFile: 6_000_640,
    kernel: 450_560,
    swap: 12_288,
    failures: 5,
    pageFaults: 5012,
    majorPageFaults: 31,
    hierarchyPageFaults: 5012,
    hierarchyMajorPageFaults: 31,
    oomKills: 1,
  });
});

test('CPU of a v2 cgroup, with and without the controller', () => {
  const plain = 'usage_usec 39022\nuser_usec 11706\nsystem_usec 27315\n';
  const quota =
    'core_sched.force_idle_usec 0\nnr_periods 12\nnr_throttled 4\nthrottled_usec 123456\nnr_bursts 0\nburst_usec 0\n';
  const times = { usage: 39_022_000, user: 11_706_000, system: 27_315_000 };
  assert.deepEqual(parseV2Cpu(plain + quota), { ...times, periods: 12, throttledPeriods: 4, throttled: 123_456_000 });
  assert.deepEqual(parseV2Cpu(plain), { ...times, periods: 0, throttledPeriods: 0, throttled: 0 });
});

test('disks of a v2 cgroup; one that was only named has no figures', () => {
  const text =
    '8:0 rbytes=2072576 wbytes=4096 rios=38 wios=1 dbytes=0 dios=0\n254:0 \n7:0 rbytes=512 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n';
  assert.deepEqual(parseV2Io(text), [
    { device: '8:0', readBytes: 2_072_576, writeBytes: 4096, reads: 38, writes: 1 },
    { device: '7:0', readBytes: 512, writeBytes: 0, reads: 1, writes: 0 },
  ]);
  assert.deepEqual(parseV2Io(''), []);
});

test('pressure, also where the kernel does not tell of all tasks', () => {
  const some = { avg10: 59.85, avg60: 36.53, avg300: 43.7, total: 1_839_963_601 };
  const full = { avg10: 0.5, avg60: 0, avg300: 0, total: 17 };
  const none = { avg10: 0, avg60: 0, avg300: 0, total: 0 };
  const someLine = 'some avg10=59.85 avg60=36.53 avg300=43.70 total=1839963601\n';
  assert.deepEqual(parsePressure(`${someLine}full avg10=0.50 avg60=0.00 avg300=0.00 total=17\n`), { some, full });
  assert.deepEqual(parsePressure(someLine), { some, full: none });
  assert.deepEqual(parsePressure(''), { some: none, full: none });
});

test('figures are found by whole names at the start of a line', () => {
  const text = 'xfile 1\nfile_mapped 2\nfile 3\nlast 18446744073709551615';
  assert.equal(figureOf(text, lineKey('file')), 3);
  assert.equal(figureOf(text, lineKey('xfile')), 1);
  assert.equal(figureOf(text, lineKey('mapped')), 0);
  assert.equal(figureOf(text, lineKey('last')), 2 ** 64);
  assert.equal(figureOf('', lineKey('file')), 0);
});

test('numbers and limits', () => {
  assert.deepEqual(['max\n', '9223372036854771712\n', '-1\n', '67108864\n', '0'].map(limitOf), [
    Number.POSITIVE_INFINITY,
    Number.POSITIVE_INFINITY,
    Number.POSITIVE_INFINITY,
    67_108_864,
    0,
  ]);
  assert.deepEqual([numberAt('', 0), numberAt('x', 0), numberAt('ab12 ', 2), numberAt('-5', 0)], [0, 0, 12, -5]);
});
