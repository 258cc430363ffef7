import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { ContainerState, PodSandboxState } from '../src/api/cri.ts';
import { containerId, podUid, sandboxId } from '../src/api/ids.ts';
import { type CriClient, createCriClient } from '../src/cri/cri-client.ts';
import { detectCgroups } from '../src/host/detect-cgroups.ts';
import { readMachineFacts } from '../src/host/machine.ts';
import { readMountInfo } from '../src/host/mount-table.ts';
import { RemoteFiles } from '../src/host/remote-files.ts';
import { type Clock, systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { ObservedContainer, ObservedPod } from '../src/pod/observed.ts';
import type { Endpoint, ServedRequest } from '../src/server/endpoint.ts';
import { statsEndpoints } from '../src/server/stats-endpoints.ts';
import { CgroupReader } from '../src/stats/cgroup-reader.ts';
import { DiskMeter } from '../src/stats/filesystems.ts';
import { RuntimeMeter } from '../src/stats/runtime-usage.ts';
import { StatsProvider } from '../src/stats/stats-provider.ts';
import { VolumeMeter } from '../src/stats/volume-stats.ts';
import { percentile } from './measure.ts';
import type { StatsReport, StatsTask } from './stats.ts';

/*
 * The process of the stats bench that reads and writes, and does nothing else: it looks at the bench host's cgroups from
 * outside, so that garbage and time are its own. Ends with the connection to its parent.
 */

/** Takes what is written as a socket would, and forgets it. */
class NoResponse extends EventEmitter {
  bytes = 0;

  setTimeout(): this {
    return this;
  }

  writeHead(): this {
    return this;
  }

  write(chunk: Uint8Array, done: () => void): boolean {
    this.bytes += chunk.length;
    setImmediate(done);
    return true;
  }

  end(text?: string): void {
    this.bytes += text?.length ?? 0;
    this.emit('finish');
  }
}

process.on('disconnect', () => process.exit());
const [task] = (await once(process, 'message')) as [StatsTask];

const requestFor = (path: string): ServedRequest =>
  ({
    raw: { headers: {} },
    url: new URL(path, 'https://node'),
    params: {},
    user: { username: 'bench', groups: [] },
    signal: new AbortController().signal,
  }) as unknown as ServedRequest;

/** Every scrape finds the one before it too old. */
let skewMs = 0;
const clock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() + skewMs };
const stepMs = 3_000;

const cri = createCriClient({ endpoint: task.criSocket, requestTimeoutMs: 30_000, clock, log: silentLog });
const pods = await observedPods(cri);
const endpoints = await buildEndpoints();
const report: StatsReport[number][] = [];
for (const path of ['/metrics/cadvisor', '/metrics/resource', '/stats/summary']) {
  report.push(await measure(endpoints, path));
}
process.send?.(report);

async function measure(all: readonly Endpoint[], path: string): Promise<StatsReport[number]> {
  const endpoint = all.find((e) => e.path === path);
  const times: number[] = [];
  const garbage: number[] = [];
  let bytes = 0;
  // The first ones compile.
  for (let i = -5; i < task.rounds; i++) {
    skewMs += stepMs;
    const response = new NoResponse();
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    const begin = performance.now();
    await endpoint?.handle?.(requestFor(path), response as unknown as ServerResponse);
    const elapsed = performance.now() - begin;
    const used = process.memoryUsage().heapUsed - before;
    if (i < 0) continue;
    times.push(elapsed);
    garbage.push(used / 2 ** 20);
    bytes = response.bytes;
  }
  return {
    path,
    p50Ms: percentile(times, 0.5),
    p99Ms: percentile(times, 0.99),
    garbageMiB: percentile(garbage, 0.5),
    sizeMiB: bytes / 2 ** 20,
  };
}

async function buildEndpoints(): Promise<readonly Endpoint[]> {
  const root = `${task.cgroupRoot}/kubepods`;
  const files = new RemoteFiles({ mounts: { list: readMountInfo }, rootDir: '/', clock });
  const volumes = new VolumeMeter({ pods: () => [], volumes: () => [], periodMs: -1, files, clock, log: silentLog });
  const provider = new StatsProvider({
    reader: new CgroupReader(detectCgroups(await readMountInfo())),
    driver: 'cgroupfs',
    pods: () => pods,
    podCgroup: (uid) => `${root}/besteffort/pod${uid}`,
    groups: [
      { path: root, name: 'pods' },
      { path: `${root}/besteffort`, name: undefined },
    ],
    rootDir: task.rootDir,
    podLogsDir: task.podLogsDir,
    runtime: new RuntimeMeter({ runtime: cri.runtime, images: cri.images, clock, log: silentLog }),
    volumes,
    clock,
  });
  return statsEndpoints({
    provider,
    disks: new DiskMeter(['/var/lib/kubelet', '/run/containerd'], clock),
    nodeName: 'bench',
    facts: await readMachineFacts(),
    topology: { cores: 1, sockets: 1 },
    log: silentLog,
  });
}

/** What the PLEG would know of them. */
async function observedPods({ runtime }: CriClient): Promise<readonly ObservedPod[]> {
  const signal = AbortSignal.timeout(60_000);
  const sandboxes = await runtime.listPodSandbox({ state: { state: PodSandboxState.SANDBOX_READY } }, signal);
  const containers = await runtime.listContainers({ state: { state: ContainerState.CONTAINER_RUNNING } }, signal);
  return sandboxes.map(({ id = '', metadata, createdAt = 0 }): ObservedPod => {
    const sandbox = { id: sandboxId(id), state: 'ready', attempt: 0, ips: [], hostNetwork: false } as const;
    const own = containers.filter((c) => c.podSandboxId === id);
    return {
      uid: podUid(metadata?.uid ?? ''),
      name: metadata?.name ?? '',
      namespace: metadata?.namespace ?? '',
      sandboxes: [{ ...sandbox, createdAt: Math.floor(createdAt / 1e6) }],
      containers: own.map(
        (c) =>
          ({
            id: containerId(c.id ?? ''),
            name: c.metadata?.name ?? '',
            sandboxId: sandbox.id,
            state: 'running',
            createdAt: Math.floor((c.createdAt ?? 0) / 1e6),
            startedAt: Math.floor((c.createdAt ?? 0) / 1e6),
            image: 'docker.io/library/busybox:1.35',
          }) as ObservedContainer,
      ),
    };
  });
}
