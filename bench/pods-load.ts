import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pod, PodStatus } from '../src/api/core-v1.ts';
import { CONFIG_MAPS, PODS } from '../test/apiserver/kinds.ts';
import { Cluster, isReady } from '../test/host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../test/images/images.ts';
import { percentile, restOf } from './measure.ts';

/** A full node: pods that arrive one after the other, all of them at rest, and how soon news travel. */
export interface LoadFigures {
  readonly arrivalP50S: number;
  readonly arrivalP99S: number;
  readonly rssFullMiB: number;
  readonly cpuFullPercent: number;
  readonly exitP50Ms: number;
  readonly exitP99Ms: number;
  readonly exitRelistP50Ms: number;
  readonly exitRelistP99Ms: number;
  readonly configMapP50Ms: number;
  readonly configMapP99Ms: number;
}

const perSecond = 5;
const arriving = 100;
const full = 110;
const configMapChanges = 50;
const relistExits = 30;
const signal = AbortSignal.timeout(1_200_000);
const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done'];
const volumeName = 'cm';

export async function benchLoad(restS = 30): Promise<LoadFigures> {
  const loaded = await underLoad(restS);
  return { ...loaded, ...(await byRelist()) };
}

async function underLoad(restS: number): Promise<Omit<LoadFigures, 'exitRelistP50Ms' | 'exitRelistP99Ms'>> {
  await using cluster = await boot('load');
  cluster.api.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'seen' }, data: { at: '0' } });
  const names = Array.from({ length: full }, (_, i) => `load-${i}`);
  const arrivals = await Promise.all(
    names.slice(0, arriving).map(async (name, i) => {
      await delay((i * 1000) / perSecond);
      return secondsToReady(cluster, name);
    }),
  );
  await Promise.all(names.slice(arriving).map((name) => secondsToReady(cluster, name)));
  await delay(15_000); // What the start has left behind is collected before anything is called rest.
  const rest = await restOf(cluster.keelson.pid ?? 0, restS);
  const changes = await configMapDelays(cluster, names[0] ?? '');
  const exits = await exitDelays(cluster, names);
  return {
    arrivalP50S: percentile(arrivals, 0.5),
    arrivalP99S: percentile(arrivals, 0.99),
    rssFullMiB: rest.rssMiB,
    cpuFullPercent: rest.cpuPercent,
    exitP50Ms: percentile(exits, 0.5),
    exitP99Ms: percentile(exits, 0.99),
    configMapP50Ms: percentile(changes, 0.5),
    configMapP99Ms: percentile(changes, 0.99),
  };
}

/** The same exits with a runtime that streams no events: what is left is listing. */
async function byRelist(): Promise<Pick<LoadFigures, 'exitRelistP50Ms' | 'exitRelistP99Ms'>> {
  await using cluster = await boot('relist', ['io.containerd.grpc.v1.events']);
  cluster.api.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'seen' }, data: { at: '0' } });
  const names = Array.from({ length: relistExits }, (_, i) => `relist-${i}`);
  await Promise.all(names.map((name) => secondsToReady(cluster, name)));
  const exits = await exitDelays(cluster, names);
  return { exitRelistP50Ms: percentile(exits, 0.5), exitRelistP99Ms: percentile(exits, 0.99) };
}

async function boot(name: string, disabledPlugins: readonly string[] = []): Promise<Cluster> {
  const cluster = await Cluster.create(name, { images: [busyboxImage()], disabledPlugins });
  await cluster.host.configureNetwork();
  await cluster.startKeelson(['--v=2'], { installed: true });
  return cluster;
}

/** The pod does not come back when it ends; each has the ConfigMap, as most pods have some object. */
async function secondsToReady(cluster: Cluster, name: string): Promise<number> {
  const begin = performance.now();
  cluster.createPod(name, {
    restartPolicy: 'Never',
    containers: [
      { name: 'main', image: BUSYBOX_IMAGE, command, volumeMounts: [{ name: volumeName, mountPath: '/seen' }] },
    ],
    volumes: [{ name: volumeName, configMap: { name: 'seen' } }],
  });
  await cluster.api.until(PODS, 'default', name, (pod) => isReady((pod?.['status'] ?? {}) as PodStatus), signal);
  return (performance.now() - begin) / 1000;
}

/** From the change at the API server to the file that the container reads; all pods have it mounted. */
async function configMapDelays(cluster: Cluster, name: string): Promise<number[]> {
  const uid = cluster.pod(name)?.metadata.uid ?? '';
  const file = cluster.host.path(
    join('/var/lib/kubelet/pods', uid, 'volumes/kubernetes.io~configmap', volumeName, 'at'),
  );
  const delays: number[] = [];
  for (let i = 1; i <= configMapChanges; i++) {
    const begin = performance.now();
    cluster.api.registry.patch(CONFIG_MAPS, 'default', 'seen', { type: 'merge', body: { data: { at: `${i}` } } });
    while ((await readFile(file, 'utf8')) !== `${i}`) await delay(2);
    delays.push(performance.now() - begin);
    await delay(200); // The other pods' files follow; the next change should not meet them.
  }
  return delays;
}

/** From the end of a container's process to the patched status at the API server. */
async function exitDelays(cluster: Cluster, names: readonly string[]): Promise<number[]> {
  const pids = await pidsOf(cluster);
  const delays: number[] = [];
  for (const name of names) {
    await delay(Math.random() * 600); // Or each end would come just after a look at the runtime.
    const { containerStatuses } = (cluster.pod(name) as Pod).status ?? {};
    const id = containerStatuses?.[0]?.containerID?.replace(/^.*:\/\//, '') ?? '';
    const ended = (pod: object | undefined) =>
      (pod as Pod | undefined)?.status?.containerStatuses?.[0]?.state?.terminated !== undefined;
    const patched = cluster.api.until(PODS, 'default', name, ended, signal).then(() => Date.now());
    const script = `kill -9 "$0" && date +%s%3N`;
    const killed = Number(await cluster.host.exec('sh', ['-c', script, pids.get(id) ?? '0']));
    delays.push((await patched) - killed);
  }
  return delays;
}

async function pidsOf(cluster: Cluster): Promise<ReadonlyMap<string, string>> {
  const lines = (await cluster.host.exec('ctr', ['-n', 'k8s.io', 'tasks', 'ls'])).trim().split('\n').slice(1);
  return new Map(lines.map((line) => line.split(/\s+/)).map(([id = '', pid = '']) => [id, pid]));
}

export function loadRows(f: LoadFigures): readonly (readonly [string, string, string])[] {
  const ms = (value: number) => `${value.toFixed(0)} ms`;
  return [
    ['5 pods a second to 100, p50', `${f.arrivalP50S.toFixed(2)} s`, '≤ 1.2 s'],
    ['5 pods a second to 100, p99', `${f.arrivalP99S.toFixed(2)} s`, '≤ 2.5 s'],
    ['memory with 110 pods', `${f.rssFullMiB.toFixed(0)} MiB`, '≤ 150 MiB'],
    ['CPU with 110 pods at rest', `${f.cpuFullPercent.toFixed(2)} %`, '≤ 4 %'],
    ['exit to status, events, p50', ms(f.exitP50Ms), ''],
    ['exit to status, events, p99', ms(f.exitP99Ms), '≤ 150 ms'],
    ['exit to status, relist, p50', ms(f.exitRelistP50Ms), ''],
    ['exit to status, relist, p99', ms(f.exitRelistP99Ms), '≤ 700 ms'],
    ['ConfigMap to container, p50', ms(f.configMapP50Ms), ''],
    ['ConfigMap to container, p99', ms(f.configMapP99Ms), '≤ 1000 ms'],
  ];
}
