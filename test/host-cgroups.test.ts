import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type CgroupName, type Cgroups, type CgroupValues, isCgroupBusy } from '../src/host/cgroups.ts';
import { cpuWeight } from '../src/host/compute-cgroup-settings.ts';
import { detectCgroups } from '../src/host/detect-cgroups.ts';
import { hostExec } from '../src/host/exec.ts';
import { FakeCgroups } from '../src/host/fake-host.ts';
import { readMountInfo } from '../src/host/mount-table.ts';
import { openCgroups } from '../src/host/open-cgroups.ts';
import { systemClock } from '../src/lib/clock.ts';
import { AgentError } from '../src/lib/errors.ts';
import { type CgroupsHarness, cgroupsContract } from './contract/cgroups-contract.ts';

const layout = detectCgroups(await readMountInfo());
const systemd = await access('/run/systemd/system').then(
  () => true,
  () => false,
);
const signal = AbortSignal.timeout(300_000);

let opened = 0;
const ownRoot = (): CgroupName => [`keelson_cgtest_${process.pid}_${opened++}`];

/** Where a controller's files of the cgroup are; undefined when this host does not have the controller. */
function folderOf(cgroups: Cgroups, name: CgroupName, controller: string): string | undefined {
  if (layout.version === 2) return join(layout.mount, cgroups.criParent(name));
  const hierarchy = layout.hierarchies.find((h) => h.controllers.includes(controller));
  return hierarchy && join(hierarchy.mount, cgroups.criParent(name));
}

async function readValues(cgroups: Cgroups, name: CgroupName): Promise<CgroupValues> {
  const read = async (controller: string, file: string) => {
    const text = await readFile(join(folderOf(cgroups, name, controller) ?? '', file), 'utf8');
    return text.trim();
  };
  const limit = (text: string) => (text === 'max' ? -1 : Number(text));
  const pidsLimit = limit(await read('pids', 'pids.max'));
  if (cgroups.version === 1) {
    return {
      cpuShares: Number(await read('cpu', 'cpu.shares')),
      cpuQuota: Number(await read('cpu', 'cpu.cfs_quota_us')),
      cpuPeriod: Number(await read('cpu', 'cpu.cfs_period_us')),
      memoryLimit: Number(await read('memory', 'memory.limit_in_bytes')),
      pidsLimit,
    };
  }
  const weight = Number(await read('cpu', 'cpu.weight'));
  const [quota = '', period = ''] = (await read('cpu', 'cpu.max')).split(' ');
  return {
    cpuShares: [1024, 2048].find((shares) => cpuWeight(shares) === weight) ?? weight,
    cpuQuota: limit(quota),
    cpuPeriod: Number(period),
    memoryLimit: limit(await read('memory', 'memory.max')),
    pidsLimit,
  };
}

async function realHarness(driver: Cgroups['driver']): Promise<CgroupsHarness> {
  const cgroups = await openCgroups(driver, hostExec, systemClock);
  const root = ownRoot();
  const children: ChildProcess[] = [];
  return {
    cgroups,
    root,
    values: (name) => readValues(cgroups, name),
    addProcess: async (name) => {
      const child = spawn('sleep', ['600'], { stdio: 'ignore' });
      children.push(child);
      await once(child, 'spawn');
      const folders =
        layout.version === 2
          ? [join(layout.mount, cgroups.criParent(name))]
          : layout.hierarchies.map((h) => join(h.mount, cgroups.criParent(name)));
      for (const folder of folders) await writeFile(join(folder, 'cgroup.procs'), String(child.pid));
      return child.pid ?? 0;
    },
    [Symbol.asyncDispose]: async () => {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      await cgroups.remove(root, signal);
    },
  };
}

async function fakeHarness(version: 1 | 2, driver: Cgroups['driver']): Promise<CgroupsHarness> {
  const cgroups = new FakeCgroups(version, driver);
  let pid = 1000;
  return {
    cgroups,
    root: ['kubepods'],
    values: async (name) => cgroups.values(name) ?? {},
    addProcess: async (name) => {
      cgroups.addProcess(name, ++pid);
      return pid;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

cgroupsContract('fake cgroups', () => fakeHarness(1, 'cgroupfs'));
cgroupsContract('fake slices', () => fakeHarness(2, 'systemd'));
cgroupsContract(`cgroupfs, cgroup v${layout.version}`, () => realHarness('cgroupfs'));
const noSlices = layout.version === 1 ? 'needs cgroup v2' : !systemd && 'needs systemd';
cgroupsContract('systemd slices', () => realHarness('systemd'), noSlices);

test('the systemd driver is refused where it cannot work', { skip: !noSlices && 'it can work here' }, async () => {
  await assert.rejects(
    openCgroups('systemd', hostExec, systemClock),
    (e) => e instanceof AgentError && e.code === 'CgroupsUnusable' && e.hint?.includes('cgroupDriver: cgroupfs'),
  );
});

test('on v1 a process in one hierarchy keeps the cgroup in all', { skip: layout.version === 2 && 'v2' }, async () => {
  await using harness = await realHarness('cgroupfs');
  const { cgroups, root } = harness;
  await cgroups.ensure([...root, 'pod1'], {}, signal);
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  await once(child, 'spawn');
  try {
    const memory = folderOf(cgroups, [...root, 'pod1'], 'memory') ?? '';
    await writeFile(join(memory, 'cgroup.procs'), String(child.pid));
    await assert.rejects(cgroups.remove([...root, 'pod1'], signal), isCgroupBusy);
    await access(folderOf(cgroups, [...root, 'pod1'], 'cpu') ?? '');
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

after(async () => {
  const cgroups = await openCgroups('cgroupfs', hostExec, systemClock);
  const left = (await cgroups.children([])).filter((name) => name.startsWith(`keelson_cgtest_${process.pid}_`));
  assert.deepEqual(left, []);
});
