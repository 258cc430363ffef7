import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CgroupReader } from './cgroup-reader.ts';

/** A folder that looks like a mounted v2 hierarchy with one container's scope. */
function v2Tree() {
  const mount = mkdtempSync(join(tmpdir(), 'cgroup2-'));
  const path = '/kubepods.slice/cri-containerd-abc.scope';
  mkdirSync(join(mount, path), { recursive: true });
  const write = (file: string, text: string) => writeFileSync(join(mount, path, file), text);
  write('cpu.stat', 'usage_usec 1000\nuser_usec 600\nsystem_usec 400\n');
  write('cpu.max', '20000 100000\n');
  write('cpu.weight', '8\n');
  write('memory.current', '5000000\n');
  write('memory.stat', 'anon 3000000\nfile 2000000\ninactive_file 1000000\n');
  write('memory.max', '67108864\n');
  write('memory.swap.max', '0\n');
  write('pids.current', '3\n');
  write('pids.max', 'max\n');
  write('cgroup.procs', '12\n13\n');
  const line = 'avg10=1.00 avg60=2.00 avg300=3.00 total=4';
  for (const what of ['cpu', 'memory', 'io']) write(`${what}.pressure`, `some ${line}\nfull ${line}\n`);
  return { mount, path, write, [Symbol.dispose]: () => rmSync(mount, { recursive: true }) };
}

test('a cgroup of v2 is read whole; files that the kernel does not have are nothing', () => {
  using tree = v2Tree();
  const folder = new CgroupReader({ version: 2, mount: tree.mount }).open(tree.path);
  const stats = folder.read(1_000);
  assert.deepEqual(stats?.spec, {
    cpuShares: 186,
    cpuQuota: 20_000,
    cpuPeriod: 100_000,
    memoryLimit: 67_108_864,
    memoryReservation: Number.POSITIVE_INFINITY,
    swapLimit: 0,
  });
  assert.deepEqual(
    [stats?.cpu.usage, stats?.memory.workingSet, stats?.memory.maxUsage, stats?.io],
    [1_000_000, 4_000_000, 0, []],
  );
  assert.deepEqual(stats?.pids, { current: 3, max: Number.POSITIVE_INFINITY });
  assert.deepEqual(stats?.psi?.memory.some, { avg10: 1, avg60: 2, avg300: 3, total: 4 });
  assert.deepEqual(folder.processes(), [12, 13]);
});

test('figures are new with every reading, limits after ten seconds', () => {
  using tree = v2Tree();
  const folder = new CgroupReader({ version: 2, mount: tree.mount }).open(tree.path);
  folder.read(0);
  tree.write('memory.current', '6000000\n');
  tree.write('memory.max', 'max\n');
  const soon = folder.read(9_000);
  assert.deepEqual([soon?.memory.usage, soon?.spec.memoryLimit], [6_000_000, 67_108_864]);
  assert.equal(folder.read(11_000)?.spec.memoryLimit, Number.POSITIVE_INFINITY);
});

test('a cgroup that is gone is none, and does not make its files unknown to others', () => {
  using tree = v2Tree();
  const reader = new CgroupReader({ version: 2, mount: tree.mount });
  assert.equal(reader.open('/gone').read(0), undefined);
  assert.equal(reader.exists('/gone'), false);
  assert.equal(reader.madeAt('/gone'), undefined);
  assert.equal(reader.open(tree.path).cpuUsage(), 1_000_000);
});
