import { setTimeout as delay } from 'node:timers/promises';
import type { PodStatus } from '../src/api/core-v1.ts';
import { PODS } from '../test/apiserver/kinds.ts';
import { Cluster, isReady } from '../test/host/cluster.ts';
import { startPod } from '../test/host/start-pod.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../test/images/images.ts';
import { machine, median, restOf } from './measure.ts';
import { benchLoad, type LoadFigures, loadRows } from './pods-load.ts';

/** What `bench pods` measures. Seconds, MiB, and per cent of one core; the floor is the same work by bare CRI calls. */
export interface PodsFigures extends LoadFigures {
  readonly floorOneS: number;
  readonly oneS: number;
  readonly overFloorMs: number;
  readonly floorThirtyS: number;
  readonly thirtyS: number;
  readonly thirtyRatio: number;
  readonly floorDeleteS: number;
  readonly deleteS: number;
  readonly deleteRatio: number;
  readonly rssIdleMiB: number;
  readonly rssThirtyMiB: number;
  readonly cpuIdlePercent: number;
  readonly cpuThirtyPercent: number;
}

export interface PodsBenchOptions {
  /** Single pods to take the median of. */
  readonly singles?: number;
  readonly many?: number;
  /** Rounds of `many` pods, to take the median of. */
  readonly rounds?: number;
  /** How long to watch keelson at rest, seconds. */
  readonly restS?: number;
}

const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done'];
const signal = AbortSignal.timeout(1_200_000);

/** Runs the bundle, as an installation does, on a test host of its own. */
export async function benchPods(options: PodsBenchOptions = {}): Promise<PodsFigures> {
  const starts = await benchStarts(options);
  return { ...starts, ...(await benchLoad(options.restS)) };
}

async function benchStarts(options: PodsBenchOptions): Promise<Omit<PodsFigures, keyof LoadFigures>> {
  const { singles = 7, many = 30, rounds = 5, restS = 30 } = options;
  await using cluster = await Cluster.create('bench', { images: [busyboxImage()] });
  await cluster.host.configureNetwork();
  await cluster.startKeelson(['--v=2'], { installed: true });
  await delay(10_000); // What start-up left behind is collected before anything is called idle.
  const idle = await restOf(cluster.keelson.pid ?? 0, restS);

  // In turn, because the machine's speed drifts.
  const floorOne: number[] = [];
  const one: number[] = [];
  for (let i = 0; i <= singles; i++) {
    const floor = await seconds(() =>
      startPod(cluster.host, { name: `floor-${i}`, image: BUSYBOX_IMAGE, command, unlabelled: true }),
    );
    const own = await seconds(() => createAndWait(cluster, [`one-${i}`]));
    if (i === 0) continue; // The first warms up caches on both sides.
    floorOne.push(floor);
    one.push(own);
  }
  await deleteAndWait(
    cluster,
    Array.from({ length: singles + 1 }, (_, i) => `one-${i}`),
  );
  await removeFloor(cluster);

  const rows: Round[] = [];
  let loaded = idle;
  for (let i = 0; i < rounds; i++) {
    const last = i === rounds - 1;
    rows.push(
      await round(cluster, i, many, async () => {
        if (!last) return;
        await delay(10_000);
        loaded = await restOf(cluster.keelson.pid ?? 0, restS);
      }),
    );
  }
  const middle = (pick: (row: Round) => number) => median(rows.map(pick));

  return {
    floorOneS: median(floorOne),
    oneS: median(one),
    overFloorMs: (median(one) - median(floorOne)) * 1000,
    floorThirtyS: middle((r) => r.floorS),
    thirtyS: middle((r) => r.ownS),
    thirtyRatio: middle((r) => r.ownS / r.floorS),
    floorDeleteS: middle((r) => r.floorDeleteS),
    deleteS: middle((r) => r.deleteS),
    deleteRatio: middle((r) => r.deleteS / r.floorDeleteS),
    rssIdleMiB: idle.rssMiB,
    rssThirtyMiB: loaded.rssMiB,
    cpuIdlePercent: idle.cpuPercent,
    cpuThirtyPercent: loaded.cpuPercent,
  };
}

interface Round {
  readonly floorS: number;
  readonly floorDeleteS: number;
  readonly ownS: number;
  readonly deleteS: number;
}

/** Floor and keelson one after the other: `many` pods at once, and away again. `full` is called while all of keelson's run. */
async function round(cluster: Cluster, index: number, many: number, full: () => Promise<void>): Promise<Round> {
  const numbers = Array.from({ length: many }, (_, i) => `${index}-${i}`);
  const floorPods = numbers.map((n) => ({ name: `floor-many-${n}`, image: BUSYBOX_IMAGE, command, unlabelled: true }));
  const floorS = await seconds(() => Promise.all(floorPods.map((pod) => startPod(cluster.host, pod))));
  const floorDeleteS = await seconds(() => removeFloor(cluster));
  const names = numbers.map((n) => `many-${n}`);
  const ownS = await seconds(() => createAndWait(cluster, names));
  await full();
  const deleteS = await seconds(() => deleteAndWait(cluster, names));
  return { floorS, floorDeleteS, ownS, deleteS };
}

async function createAndWait(cluster: Cluster, names: readonly string[]): Promise<void> {
  const ready = Promise.all(names.map((name) => becomesReady(cluster, name)));
  for (const name of names) cluster.createPod(name, { containers: [{ name: 'main', image: BUSYBOX_IMAGE, command }] });
  await ready;
}

async function becomesReady(cluster: Cluster, name: string): Promise<void> {
  await cluster.api.until(PODS, 'default', name, (pod) => isReady((pod?.['status'] ?? {}) as PodStatus), signal);
}

async function deleteAndWait(cluster: Cluster, names: readonly string[]): Promise<void> {
  const gone = Promise.all(
    names.map((name) => cluster.api.until(PODS, 'default', name, (pod) => pod === undefined, signal)),
  );
  for (const name of names) cluster.api.registry.delete(PODS, 'default', name, { gracePeriodSeconds: 1 });
  await gone;
}

/** Stops and removes what startPod made, as an agent would: stop the container, then the sandbox, remove both. */
async function removeFloor(cluster: Cluster): Promise<void> {
  const { runtime } = cluster.host.cri();
  const sandboxes = (await runtime.listPodSandbox({}, signal)).filter((s) => s.metadata?.name?.startsWith('floor-'));
  const containers = await runtime.listContainers({}, signal);
  await Promise.all(
    sandboxes.map(async ({ id = '' }) => {
      for (const c of containers.filter((c) => c.podSandboxId === id)) {
        await runtime.stopContainer(c.id ?? '', 1, signal);
        await runtime.removeContainer(c.id ?? '', signal);
      }
      await runtime.stopPodSandbox(id, signal);
      await runtime.removePodSandbox(id, signal);
    }),
  );
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

/** Budgets of the pods bench: a figure, its bound, and how it reads. */
export function podsTable(f: PodsFigures): string {
  const rows: readonly (readonly [string, string, string])[] = [
    ['one pod, bare CRI', `${(f.floorOneS * 1000).toFixed(0)} ms`, ''],
    ['one pod, created to Ready', `${(f.oneS * 1000).toFixed(0)} ms`, `+${f.overFloorMs.toFixed(0)} ms (≤ +100 ms)`],
    ['30 pods, bare CRI', `${f.floorThirtyS.toFixed(2)} s`, ''],
    ['30 pods, created to Ready', `${f.thirtyS.toFixed(2)} s`, `${f.thirtyRatio.toFixed(2)} × floor (≤ 1.25 ×)`],
    ['30 pods removed, bare CRI', `${f.floorDeleteS.toFixed(2)} s`, ''],
    ['30 pods deleted to gone', `${f.deleteS.toFixed(2)} s`, `${f.deleteRatio.toFixed(2)} × floor`],
    ['memory idle', `${f.rssIdleMiB.toFixed(0)} MiB`, '≤ 105 MiB'],
    ['memory with 30 pods', `${f.rssThirtyMiB.toFixed(0)} MiB`, '≤ 125 MiB'],
    ['CPU idle', `${f.cpuIdlePercent.toFixed(2)} %`, ''],
    ['CPU with 30 pods at rest', `${f.cpuThirtyPercent.toFixed(2)} %`, '≤ 1.5 %'],
    ...loadRows(f),
  ];
  return [machine(), ...rows.map(([what, value, bound]) => `${what.padEnd(30)}${value.padStart(10)}  ${bound}`)].join(
    '\n',
  );
}
