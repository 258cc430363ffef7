import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { hostExec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { Proxier } from '../src/proxy/proxier.ts';

const run = promisify(execFile);
const never = new AbortController().signal;
const endpointsPerService = 5;
const changes = 20;

/** Milliseconds; `floor`: the same scripts run by bare nft calls, in a namespace of their own, in the same run. */
export interface ServicesFigures {
  readonly services: number;
  readonly endpoints: number;
  readonly loadMs: number;
  readonly loadFloorMs: number;
  readonly changeP50Ms: number;
  readonly changeFloorP50Ms: number;
  readonly restartMs: number;
  readonly restartWrites: number;
  readonly rssMiB: number;
}

/** Needs root. Works in network namespaces of its own, which it removes. */
export async function benchServices(sizes: readonly number[] = [1_000, 10_000]): Promise<readonly ServicesFigures[]> {
  const figures: ServicesFigures[] = [];
  for (const size of sizes) figures.push(await benchSize(size));
  return figures;
}

export function servicesTable(figures: readonly ServicesFigures[]): string {
  const ms = (value: number) => `${value.toFixed(value < 100 ? 1 : 0)} ms`;
  const rows = figures.map((one) => [
    `${one.services} x ${one.endpoints}`,
    `${ms(one.loadMs)} (bare nft ${ms(one.loadFloorMs)}, x${(one.loadMs / one.loadFloorMs).toFixed(2)})`,
    `${ms(one.changeP50Ms)} (bare nft ${ms(one.changeFloorP50Ms)}, x${(one.changeP50Ms / one.changeFloorP50Ms).toFixed(2)})`,
    `${ms(one.restartMs)}, ${one.restartWrites} writes`,
    `${one.rssMiB.toFixed(0)} MiB`,
  ]);
  const all = [['Services', 'load all', 'one change p50', 'restart', 'RSS'], ...rows];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  return all.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n');
}

async function benchSize(size: number): Promise<ServicesFigures> {
  const ours = `keelson-bench-${process.pid}`;
  const bare = `${ours}-floor`;
  await run('ip', ['netns', 'add', ours]);
  try {
    await run('ip', ['netns', 'add', bare]);
    return await measure(size, ours, bare);
  } finally {
    for (const name of [ours, bare]) await run('ip', ['netns', 'del', name]).catch(() => {});
  }
}

async function measure(size: number, ours: string, bare: string): Promise<ServicesFigures> {
  const scripts: string[] = [];
  const exec = recording(ours, scripts);
  const proxier = newProxier(exec);
  const loadMs = await timed(async () => {
    tell(proxier, size);
    await proxier.syncOnce('change', never);
  });
  const loadScript = scripts.splice(0).join('');
  const loadFloorMs = await timed(() => bareNft(bare, loadScript));
  const took: number[] = [];
  const floor: number[] = [];
  for (let i = 0; i < changes; i++) {
    const index = (i * 379) % size;
    const removed = slice(index, endpointsPerService - 1);
    took.push(
      await timed(async () => {
        proxier.onSliceChange(`d/${removed.metadata.name}`, removed);
        await proxier.syncOnce('change', never);
      }),
    );
    const script = scripts.splice(0).join('');
    floor.push(await timed(() => bareNft(bare, script)));
  }
  const rssMiB = process.memoryUsage.rss() / 2 ** 20;
  const restarted = newProxier(exec);
  tell(restarted, size);
  for (let i = 0; i < changes; i++) {
    const same = slice((i * 379) % size, endpointsPerService - 1);
    restarted.onSliceChange(`d/${same.metadata.name}`, same);
  }
  const restartMs = await timed(() => restarted.syncOnce('change', never));
  return {
    services: size,
    endpoints: endpointsPerService,
    loadMs,
    loadFloorMs,
    changeP50Ms: median(took),
    changeFloorP50Ms: median(floor),
    restartMs,
    restartWrites: scripts.length,
    rssMiB,
  };
}

function newProxier(exec: Pick<Exec, 'run'>): Proxier {
  const settings = { masqueradeAll: false, clusterCidrs: ['10.128.0.0/9'], masqueradeBit: 14 };
  return new Proxier({ exec, clock: systemClock, log: silentLog, nodeName: 'node', ...settings });
}

function tell(proxier: Proxier, size: number): void {
  for (let i = 0; i < size; i++) {
    const one = service(i);
    const its = slice(i, endpointsPerService);
    proxier.onServiceChange(`d/${one.metadata.name}`, one);
    proxier.onSliceChange(`d/${its.metadata.name}`, its);
  }
  proxier.sourcesSynced();
}

const service = (i: number): Service => ({
  metadata: { name: `s${i}`, namespace: 'd' },
  spec: { clusterIP: `10.${96 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`, ports: [{ port: 80 }] },
});

const slice = (i: number, count: number): EndpointSlice => ({
  metadata: { name: `s${i}-1`, namespace: 'd', labels: { [serviceNameLabel]: `s${i}` } },
  addressType: 'IPv4',
  endpoints: Array.from({ length: count }, (_, k) => {
    const n = i * endpointsPerService + k;
    // As in a cluster of a hundred nodes: one endpoint in a hundred is local.
    const nodeName = n % 100 === 0 ? 'node' : 'other';
    return { addresses: [`10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`], nodeName };
  }),
  ports: [{ name: '', port: 8080, protocol: 'TCP' }],
});

function recording(namespace: string, scripts: string[]): Pick<Exec, 'run'> {
  return {
    run: (file, args, options) => {
      if (args[0] === '-f') scripts.push(options.input ?? '');
      return hostExec.run('ip', ['netns', 'exec', namespace, file, ...args], options);
    },
  };
}

async function bareNft(namespace: string, script: string): Promise<void> {
  const child = spawn('ip', ['netns', 'exec', namespace, 'nft', '-f', '-'], { stdio: ['pipe', 'inherit', 'inherit'] });
  child.stdin.end(script);
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`nft ended with ${code}`);
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
