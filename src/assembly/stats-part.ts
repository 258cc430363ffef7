import { join } from 'node:path';
import type { PodUid } from '../api/ids.ts';
import type { Config } from '../config/config.ts';
import { detectCgroups } from '../host/detect-cgroups.ts';
import { readMountInfo } from '../host/mount-table.ts';
import type { RemoteFiles } from '../host/remote-files.ts';
import { systemClock as clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { podCgroupName, podsRootName, qosCgroupName } from '../resources/cgroup-names.ts';
import type { Endpoint } from '../server/endpoint.ts';
import { statsEndpoints } from '../server/stats-endpoints.ts';
import { CgroupReader } from '../stats/cgroup-reader.ts';
import { DiskMeter } from '../stats/filesystems.ts';
import { parseCpuTopology, parseOwnCgroup } from '../stats/parse-proc.ts';
import { readText } from '../stats/read-text.ts';
import { RuntimeMeter } from '../stats/runtime-usage.ts';
import { StatsProvider, type StatsProviderOptions } from '../stats/stats-provider.ts';
import { VolumeMeter } from '../stats/volume-stats.ts';
import { computeMeasuredVolumes } from '../volumes/measured-volumes.ts';
import type { VolumeManager } from '../volumes/volume-manager.ts';
import type { HostParts } from './host-parts.ts';
import type { PodsHalf } from './pods-half.ts';

export interface StatsPart {
  readonly provider: StatsProvider;
  readonly endpoints: readonly Endpoint[];
  /** Keeps rates and volumes' sizes current until the signal is aborted. */
  readonly run: (signal: AbortSignal) => Promise<void>;
}

export interface StatsPartInput {
  readonly config: Config;
  readonly host: HostParts;
  readonly podsHalf: PodsHalf;
  readonly volumes: VolumeManager;
  readonly remoteFiles: RemoteFiles;
  readonly log: Log;
}

/** What everything here uses: read by one part for all who ask. */
export async function buildStatsPart(input: StatsPartInput): Promise<StatsPart> {
  const { config, host, podsHalf, volumes, remoteFiles, log } = input;
  const { kubelet, flags } = config;
  const { cache } = podsHalf;
  const podsDir = join(flags.rootDir, 'pods');
  const desired = (uid: PodUid) => (podsHalf.workers.view(uid)?.desired ?? podsHalf.manager.get(uid))?.pod;
  const meter = new VolumeMeter({
    pods: () => cache.uids(),
    volumes: (uid) => {
      const pod = desired(uid);
      return pod ? computeMeasuredVolumes(pod, volumes.mounted(uid), join(podsDir, uid)) : [];
    },
    periodMs: kubelet.volumeStatsAggPeriod,
    files: remoteFiles,
    clock,
    log,
  });
  const reader = new CgroupReader(detectCgroups(await readMountInfo()));
  const runtime = new RuntimeMeter({ runtime: host.cri.runtime, images: host.cri.images, clock, log });
  const provider = new StatsProvider({
    reader,
    driver: host.cgroups.driver,
    pods: () => cache.uids().flatMap((uid) => cache.get(uid) ?? []),
    podCgroup: (uid) => {
      const pod = desired(uid);
      return pod && host.cgroups.criParent(podCgroupName(pod, kubelet.cgroupRoot));
    },
    groups: groupsOf(config, host, reader.version),
    rootDir: flags.rootDir,
    podLogsDir: kubelet.podLogsDir,
    runtime,
    volumes: meter,
    clock,
  });
  const endpoints = statsEndpoints({
    provider,
    // Volumes, what runtimes mount for containers, and file systems that hold no files.
    disks: new DiskMeter([flags.rootDir, '/run/containerd', '/var/lib/containerd', '/run/netns', '/sys'], clock),
    nodeName: host.nodeName,
    facts: host.facts,
    topology: parseCpuTopology(readText('/proc/cpuinfo')),
    log,
  });
  return {
    provider,
    endpoints,
    run: async (signal) => {
      using _runtime = runtime;
      await Promise.all([provider.run(signal), meter.run(signal)]);
    },
  };
}

/** The pods' root, the QoS classes, and the cgroup that keelson itself is in. */
function groupsOf({ kubelet }: Config, host: HostParts, version: 1 | 2): StatsProviderOptions['groups'] {
  const path = (name: readonly string[]) => host.cgroups.criParent(name);
  const own = parseOwnCgroup(readText('/proc/self/cgroup'), version);
  return [
    { path: path(podsRootName(kubelet.cgroupRoot)), name: 'pods' },
    { path: path(qosCgroupName('Burstable', kubelet.cgroupRoot)), name: undefined },
    { path: path(qosCgroupName('BestEffort', kubelet.cgroupRoot)), name: undefined },
    ...(own && own !== '/' ? [{ path: own, name: 'kubelet' as const }] : []),
  ];
}
