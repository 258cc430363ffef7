import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CgroupName, type Cgroups, type CgroupValues, isCgroupBusy } from '../../src/host/cgroups.ts';

/** One driver under test, in a subtree of its own. */
export interface CgroupsHarness extends AsyncDisposable {
  readonly cgroups: Cgroups;
  /** A cgroup that nobody else uses; it does not exist yet. */
  readonly root: CgroupName;
  /** Puts a living process there and resolves with its id. */
  addProcess(name: CgroupName): Promise<number>;
  /** The values in force, as far as the host has the controller. */
  values(name: CgroupName): Promise<CgroupValues>;
}

const signal = AbortSignal.timeout(120_000);

/** What every implementation of the Cgroups port keeps. */
export function cgroupsContract(
  title: string,
  open: () => Promise<CgroupsHarness>,
  skip: string | false = false,
): void {
  const it = (sentence: string, body: (h: CgroupsHarness) => Promise<void>) =>
    test(sentence, async () => {
      await using harness = await open();
      await body(harness);
    });

  describe(title, { skip }, () => {
    it('a cgroup is created with its parents, and its name is among their children', async ({ cgroups, root }) => {
      assert.deepEqual(await cgroups.children(root), []);
      await cgroups.ensure([...root, 'burstable', 'pod0f6c-11'], {}, signal);
      await cgroups.ensure([...root, 'podaa'], {}, signal);
      assert.deepEqual(await cgroups.children(root), ['burstable', 'podaa']);
      assert.deepEqual(await cgroups.children([...root, 'burstable']), ['pod0f6c-11']);
    });

    it('values are set at creation and later, and those not named stay', async ({ cgroups, root, values }) => {
      const pod = [...root, 'pod1'];
      const first = {
        cpuShares: 1024,
        cpuQuota: 25_000,
        cpuPeriod: 100_000,
        memoryLimit: 64 * 2 ** 20,
        pidsLimit: 100,
      };
      await cgroups.ensure(pod, first, signal);
      assert.deepEqual(await values(pod), first);
      await cgroups.ensure(pod, { cpuShares: 2048 }, signal);
      assert.deepEqual(await values(pod), { ...first, cpuShares: 2048 });
      await cgroups.ensure(pod, { cpuQuota: -1, cpuPeriod: 100_000, pidsLimit: -1 }, signal);
      assert.deepEqual(await values(pod), { ...first, cpuShares: 2048, cpuQuota: -1, pidsLimit: -1 });
    });

    it('what a cgroup has can be read, and what is not limited says so', async ({ cgroups, root }) => {
      const pod = [...root, 'pod1'];
      assert.equal(await cgroups.read(pod), undefined);
      await cgroups.ensure(pod, {}, signal);
      const { memoryLimit, cpuQuota } = (await cgroups.read(pod)) ?? {};
      assert.deepEqual([memoryLimit, cpuQuota], [-1, -1]);
      const values = { cpuShares: 2048, cpuQuota: 25_000, cpuPeriod: 100_000, memoryLimit: 64 * 2 ** 20 };
      await cgroups.ensure(pod, values, signal);
      const reading = await cgroups.read(pod);
      assert.deepEqual([reading?.memoryLimit, reading?.cpuQuota], [64 * 2 ** 20, 25_000]);
      assert.ok(Math.abs((reading?.cpuShares ?? 0) - 2048) < 32, `shares ${reading?.cpuShares}`);
      assert.ok((reading?.memoryUsage ?? -1) >= 0);
    });

    it('ensuring what exists changes nothing and loses nobody', async ({ cgroups, root, addProcess }) => {
      const pod = [...root, 'pod1'];
      await cgroups.ensure(pod, { cpuShares: 512 }, signal);
      const pid = await addProcess(pod);
      await cgroups.ensure(pod, { cpuShares: 512 }, signal);
      await cgroups.ensure(root, {}, signal);
      assert.deepEqual(await cgroups.pids(pod), [pid]);
    });

    it('the processes of a cgroup are those in it and below it', async ({ cgroups, root, addProcess }) => {
      await cgroups.ensure([...root, 'a', 'b'], {}, signal);
      await cgroups.ensure([...root, 'c'], {}, signal);
      const pid = await addProcess([...root, 'a', 'b']);
      assert.deepEqual(await cgroups.pids([...root, 'a']), [pid]);
      assert.deepEqual(await cgroups.pids(root), [pid]);
      assert.deepEqual(await cgroups.pids([...root, 'c']), []);
      assert.deepEqual(await cgroups.pids([...root, 'none']), []);
    });

    it('removing takes the empty cgroups below along, and twice is a success', async ({ cgroups, root }) => {
      await cgroups.ensure([...root, 'pod1', 'x', 'y'], {}, signal);
      await cgroups.ensure([...root, 'pod2'], {}, signal);
      await cgroups.remove([...root, 'pod1'], signal);
      await cgroups.remove([...root, 'pod1'], signal);
      assert.deepEqual(await cgroups.children(root), ['pod2']);
    });

    it('a cgroup with a process in it is not removed, and stays whole', async ({ cgroups, root, addProcess }) => {
      await cgroups.ensure([...root, 'pod1', 'x'], { cpuShares: 512 }, signal);
      const pid = await addProcess([...root, 'pod1', 'x']);
      await assert.rejects(cgroups.remove([...root, 'pod1'], signal), isCgroupBusy);
      assert.deepEqual(await cgroups.pids([...root, 'pod1']), [pid]);
    });

    it('kill ends every process below; then it can be removed', async ({ cgroups, root, addProcess }) => {
      await cgroups.ensure([...root, 'pod1', 'x'], {}, signal);
      await addProcess([...root, 'pod1', 'x']);
      await addProcess([...root, 'pod1', 'x']);
      await cgroups.kill([...root, 'pod1'], signal);
      assert.deepEqual(await cgroups.pids([...root, 'pod1']), []);
      await cgroups.remove([...root, 'pod1'], signal);
      assert.deepEqual(await cgroups.children(root), []);
    });

    it('killing where nothing lives, or nothing is, is a success', async ({ cgroups, root }) => {
      await cgroups.ensure([...root, 'pod1'], {}, signal);
      await cgroups.kill([...root, 'pod1'], signal);
      await cgroups.kill([...root, 'none'], signal);
    });

    it('an aborted signal stops the call', async ({ cgroups, root }) => {
      await assert.rejects(cgroups.ensure([...root, 'pod1'], {}, AbortSignal.abort()), { name: 'AbortError' });
      assert.deepEqual(await cgroups.children(root), []);
    });
  });
}
