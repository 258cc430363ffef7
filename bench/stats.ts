import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { PodStatus } from '../src/api/core-v1.ts';
import { TestClient } from '../test/apiserver/client.ts';
import { PODS } from '../test/apiserver/kinds.ts';
import { Cluster, isReady, NODE } from '../test/host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../test/images/images.ts';
import { machine, percentile } from './measure.ts';

/** One endpoint of a full node: milliseconds from request to the last byte, garbage in MiB of a scrape, size in MiB. */
export interface ScrapeFigures {
  readonly path: string;
  /** Reading and writing alone, in a process that does nothing else. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly garbageMiB: number;
  readonly sizeMiB: number;
  /** Through the daemon's port and the stand-in API server, for what that is worth. */
  readonly httpP50Ms: number;
}

export interface StatsFigures {
  readonly pods: number;
  readonly scrapes: readonly ScrapeFigures[];
}

/** What bench/stats-child.ts is told. */
export interface StatsTask {
  readonly criSocket: string;
  readonly cgroupRoot: string;
  readonly rootDir: string;
  readonly podLogsDir: string;
  readonly rounds: number;
}

export type StatsReport = readonly Omit<ScrapeFigures, 'httpP50Ms'>[];

const full = 110;
const httpRounds = 10;
/** Figures are kept for two seconds: a scrape before that costs nothing, and says nothing. */
const freshMs = 2_100;
const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done'];

export async function benchStats(pods = full, rounds = 20): Promise<StatsFigures> {
  await using cluster = await Cluster.create('statsbench', { images: [busyboxImage()] });
  await cluster.host.configureNetwork();
  await cluster.startKeelson(['--v=2'], { installed: true });
  const signal = AbortSignal.timeout(600_000);
  const names = Array.from({ length: pods }, (_, i) => `stats-${i}`);
  for (const name of names) {
    cluster.createPod(name, {
      containers: [{ name: 'main', image: BUSYBOX_IMAGE, command, volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
      volumes: [{ name: 'v', emptyDir: {} }],
    });
  }
  const ready = (pod: object | undefined) => isReady(((pod as { status?: PodStatus })?.status ?? {}) as PodStatus);
  await Promise.all(names.map((name) => cluster.api.until(PODS, 'default', name, ready, signal)));
  await delay(15_000); // What the start has left behind is collected before anything is measured.
  const report = await measureAlone(cluster, rounds);
  const scrapes: ScrapeFigures[] = [];
  for (const alone of report) scrapes.push({ ...alone, httpP50Ms: await throughHttp(cluster, alone.path) });
  return { pods, scrapes };
}

/** The same cgroups and files, from a process of its own: garbage of nobody else is counted. */
async function measureAlone(cluster: Cluster, rounds: number): Promise<StatsReport> {
  const { host } = cluster;
  const task: StatsTask = {
    criSocket: `unix://${host.folder}/run/containerd/containerd.sock`,
    cgroupRoot: `/${host.id}`,
    rootDir: host.path('/var/lib/kubelet'),
    podLogsDir: host.path('/var/log/pods'),
    rounds,
  };
  const child: ChildProcess = fork(fileURLToPath(new URL('./stats-child.ts', import.meta.url)), [], {
    // A young generation that holds a whole scrape: what is used after it is what it has left behind.
    execArgv: ['--expose-gc', '--min-semi-space-size=128', '--max-semi-space-size=128'],
  });
  child.send(task);
  const ended = once(child, 'exit').then(() => {
    throw new Error('the measuring process ended without a report');
  });
  ended.catch(() => {});
  const [report] = (await Promise.race([once(child, 'message'), ended])) as [StatsReport];
  child.disconnect();
  return report;
}

async function throughHttp(cluster: Cluster, path: string): Promise<number> {
  await using client = TestClient.admin(cluster.api);
  const times: number[] = [];
  const url = `/api/v1/nodes/${NODE}/proxy${path}`;
  for (let i = 0; i < httpRounds; i++) {
    await delay(freshMs);
    const begin = performance.now();
    const { text } = await client.send('GET', url);
    times.push(performance.now() - begin);
    // Compressed, as the API server asks for it.
    if (text.length < 1_000) throw new Error(`${path}: only ${text.length} bytes`);
  }
  return percentile(times, 0.5);
}

/** Bounds of a full node. */
const bounds: Readonly<Record<string, string>> = {
  '/metrics/cadvisor': '≤ 120 ms, ≤ 5 MiB',
  '/stats/summary': '≤ 60 ms',
};

export function statsTable({ pods, scrapes }: StatsFigures): string {
  const rows = scrapes.map((s) => {
    const figures = [`${s.p50Ms.toFixed(0)} ms`, `${s.p99Ms.toFixed(0)} ms`, `${s.garbageMiB.toFixed(1)} MiB`];
    const more = [`${s.sizeMiB.toFixed(2)} MiB`, `${s.httpP50Ms.toFixed(0)} ms`];
    const cells = [...figures, ...more].map((cell) => cell.padStart(10));
    return `${s.path.padEnd(22)}${cells.join('')}  ${bounds[s.path] ?? ''}`;
  });
  const head = ['p50', 'p99', 'garbage', 'size', 'over HTTP'].map((cell) => cell.padStart(10));
  return [machine(), `${`${pods} pods`.padEnd(22)}${head.join('')}`, ...rows].join('\n');
}
