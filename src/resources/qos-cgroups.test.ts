import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { cgroupBusy } from '../host/cgroups.ts';
import { FakeCgroups } from '../host/fake-host.ts';
import { silentLog } from '../lib/log.ts';
import { QosCgroups } from './qos-cgroups.ts';

const signal = new AbortController().signal;

function setUp(cgroupRoot = '') {
  const cgroups = new FakeCgroups();
  const qos = new QosCgroups({
    cgroups,
    cgroupRoot,
    allocatable: { cpuMilli: 2000, memoryBytes: 2 ** 30 },
    log: silentLog,
    options: {
      cgroupVersion: 1,
      cpuCfsQuota: true,
      cpuCfsPeriodUs: 100_000,
      memoryCapacityBytes: 2 ** 30,
      hugePageSizes: [],
      swapController: false,
      singleProcessOomKill: true,
      podPidsLimit: -1,
    },
  });
  return { cgroups, qos };
}

const makePod = (uid: string, cpu?: string, limited = false): Pod => {
  const list = cpu === undefined ? undefined : { cpu, memory: '1Mi' };
  const resources = list ? { requests: list, ...(limited ? { limits: list } : {}) } : {};
  return { metadata: { name: uid, uid }, spec: { containers: [{ name: 'c', resources }] } };
};

test('start creates the root and the classes, with their limits', async () => {
  const { cgroups, qos } = setUp();
  await qos.start(signal);
  assert.deepEqual(cgroups.paths(), ['kubepods', 'kubepods/besteffort', 'kubepods/burstable']);
  assert.deepEqual(cgroups.values(['kubepods']), { cpuShares: 2048, memoryLimit: 2 ** 30 });
  assert.deepEqual(cgroups.values(['kubepods', 'besteffort']), { cpuShares: 2 });
});

test('a restart does not take weight from burstable pods that run', async () => {
  const { cgroups, qos } = setUp();
  await cgroups.ensure(['kubepods', 'burstable'], { cpuShares: 700 }, signal);
  await qos.start(signal);
  assert.deepEqual(cgroups.values(['kubepods', 'burstable']), { cpuShares: 700 });
});

test('the burstable class follows its pods, and is written only when that changes', async () => {
  const { cgroups, qos } = setUp();
  await qos.start(signal);
  const burstable = () => cgroups.values(['kubepods', 'burstable'])?.cpuShares;
  await qos.setActivePods([makePod('a', '500m'), makePod('b', '500m'), makePod('c', '1', true)], signal);
  assert.equal(burstable(), 1024);
  const calls = cgroups.calls.length;
  await qos.setActivePods([makePod('d', '1'), makePod('e')], signal);
  assert.equal(cgroups.calls.length, calls);
  await qos.setActivePods([], signal);
  assert.equal(burstable(), 2);
});

test('a weight that could not be written is written the next time', async () => {
  const { cgroups, qos } = setUp();
  await qos.start(signal);
  cgroups.injectError('ensure', ['kubepods', 'burstable'], new Error('no'));
  await assert.rejects(qos.setActivePods([makePod('a', '1')], signal));
  await qos.setActivePods([makePod('a', '1')], signal);
  assert.equal(cgroups.values(['kubepods', 'burstable'])?.cpuShares, 1024);
});

test('pods get a cgroup by class, and are found again', async () => {
  const { cgroups, qos } = setUp('/own');
  await qos.start(signal);
  assert.equal(await qos.ensurePod(makePod('g', '1', true), signal), '/own/kubepods/podg');
  assert.equal(await qos.ensurePod(makePod('b', '1'), signal), '/own/kubepods/burstable/podb');
  assert.equal(await qos.ensurePod(makePod('e'), signal), '/own/kubepods/besteffort/pode');
  assert.equal(cgroups.values(['own', 'kubepods', 'podg'])?.memoryLimit, 2 ** 20);
  assert.deepEqual(
    [...(await qos.listPods())].map(([uid, name]) => `${uid} ${name.join('/')}`),
    ['g own/kubepods/podg', 'b own/kubepods/burstable/podb', 'e own/kubepods/besteffort/pode'],
  );
});

test('removing a pod kills what escaped its containers, and is a success when it is gone', async () => {
  const { cgroups, qos } = setUp();
  const pod = makePod('e');
  await qos.start(signal);
  await qos.ensurePod(pod, signal);
  cgroups.addProcess(qos.nameOf(pod), 4711);
  await qos.removePod(qos.nameOf(pod), signal);
  await qos.removePod(qos.nameOf(pod), signal);
  assert.deepEqual(cgroups.paths(), ['kubepods', 'kubepods/besteffort', 'kubepods/burstable']);
});

test('a process that will not die keeps the cgroup, for a later try', async () => {
  const { cgroups, qos } = setUp();
  const pod = makePod('e');
  await qos.ensurePod(pod, signal);
  cgroups.addProcess(qos.nameOf(pod), 4711);
  cgroups.injectError('kill', qos.nameOf(pod), cgroupBusy('/x', [4711]));
  await assert.rejects(qos.removePod(qos.nameOf(pod), signal), { code: 'CgroupBusy' });
  assert.equal((await qos.listPods()).size, 1);
  await qos.removePod(qos.nameOf(pod), signal);
  assert.equal((await qos.listPods()).size, 0);
});
