import { rfc3339 } from '../lib/timestamps.ts';
import type { Pressure } from './cgroup-stats.ts';
import type { DiskUsage } from './disk-usage.ts';
import type { FilesystemStats } from './filesystems.ts';
import type { InterfaceStats } from './parse-proc.ts';
import type { FolderUsage } from './runtime-usage.ts';
import type {
  CgroupSample,
  ContainerSample,
  GroupSample,
  NodeSample,
  PodSample,
  PodStorage,
  Snapshot,
  StorageSnapshot,
} from './snapshot.ts';
import type {
  Summary,
  SummaryContainer,
  SummaryCpu,
  SummaryFs,
  SummaryInterface,
  SummaryIo,
  SummaryMemory,
  SummaryNetwork,
  SummaryNode,
  SummaryPod,
  SummaryPsi,
  SummarySwap,
  SummaryVolume,
} from './summary.ts';
import type { VolumeStats } from './volume-stats.ts';

export interface SummaryNodeFacts {
  readonly nodeName: string;
  readonly maxPids: number;
}

/** Everything about the node and its pods. Pods are those with a container that runs. */
export function generateSummary(snapshot: Snapshot, storage: StorageSnapshot, facts: SummaryNodeFacts): Summary {
  return {
    node: nodeSummary(snapshot, storage, facts),
    pods: snapshot.pods.filter(runs).map((pod) => podSummary(pod, storage)),
  };
}

/** What `?only_cpu_and_memory=true` asks for. */
export function generateCpuAndMemorySummary(snapshot: Snapshot, nodeName: string): Summary {
  const { node, groups, pods } = snapshot;
  return {
    node: { nodeName, ...systemContainers(groups, cpuAndMemory), ...cpuAndMemory(node) },
    pods: pods.filter(runs).map((pod) => ({
      podRef: podRef(pod),
      startTime: podStart(pod),
      containers: pod.containers.map((c) => ({
        name: c.observed.name,
        ...cpuAndMemory(c.cgroup),
        startTime: time(c.observed.createdAt),
      })),
      ...(pod.cgroup && { cpu: cpu(pod.cgroup), memory: memory(pod.cgroup), swap: swap(pod.cgroup) }),
    })),
  };
}

const runs = (pod: PodSample): boolean => pod.containers.length > 0;

function nodeSummary(snapshot: Snapshot, storage: StorageSnapshot, facts: SummaryNodeFacts): SummaryNode {
  const { node, groups } = snapshot;
  const { imageFs, runtime } = storage;
  const images = imageFs && runtime.images && folder(imageFs, runtime.images);
  const containers = imageFs && runtime.containers ? folder(imageFs, runtime.containers) : images;
  return {
    nodeName: facts.nodeName,
    ...systemContainers(groups, figures),
    startTime: time(node.startedAt),
    cpu: nodeCpu(node),
    memory: nodeMemory(node),
    io: nodeIo(node),
    network: network(node.interfaces, node.stats.at),
    fs: filesystem(storage.nodeFs, storage.nodeFs.used, storage.nodeFs.inodes - storage.nodeFs.inodesFree),
    runtime: { ...(images && { imageFs: images }), ...(containers && { containerFs: containers }) },
    rlimit: { time: time(snapshot.at), maxpid: facts.maxPids, curproc: node.tasks },
    swap: swap(node),
  };
}

function systemContainers(
  groups: readonly GroupSample[],
  of: (sample: CgroupSample) => Omit<SummaryContainer, 'name'>,
): Pick<SummaryNode, 'systemContainers'> {
  const named = groups.flatMap((group) => (group.name ? [{ name: group.name, ...of(group) }] : []));
  return named.length ? { systemContainers: named } : {};
}

const cpuAndMemory = (sample: CgroupSample) => ({
  startTime: time(sample.startedAt),
  cpu: cpu(sample),
  memory: memory(sample),
  swap: swap(sample),
});

const figures = (sample: CgroupSample) => ({ ...cpuAndMemory(sample), io: io(sample) });

function podSummary(pod: PodSample, storage: StorageSnapshot): SummaryPod {
  const { cgroup, sandbox, containers } = pod;
  const stored = storage.pods.get(pod.observed.uid);
  const withStorage = containers.map((c) => containerSummary(c, storage, stored));
  const volumes = stored?.volumes ?? [];
  return {
    podRef: podRef(pod),
    startTime: podStart(pod),
    containers: withStorage,
    ...(cgroup && { cpu: cpu(cgroup), memory: memory(cgroup), io: io(cgroup) }),
    ...(sandbox && { network: network(sandbox.interfaces, sandbox.cgroup.stats.at) }),
    ...(volumes.length && { volume: volumes.map(volumeSummary) }),
    'ephemeral-storage': ephemeralStorage(withStorage, stored, storage),
    process_stats: { process_count: containers.reduce((sum, c) => sum + c.cgroup.processes.processes, 0) },
    ...(cgroup && { swap: swap(cgroup) }),
  };
}

function containerSummary(
  { observed, cgroup }: ContainerSample,
  storage: StorageSnapshot,
  stored: PodStorage | undefined,
): SummaryContainer {
  const layer = storage.runtime.layers.get(observed.id);
  const logs = stored?.logs.get(observed.name) ?? nothing;
  // The runtime has not measured a container that is new: then the time is the epoch's begin, as upstream.
  const layerFs = { ...(storage.imageFs ?? storage.nodeFs), at: layer?.at ?? 0 };
  return {
    name: observed.name,
    ...figures(cgroup),
    startTime: time(observed.createdAt),
    rootfs: filesystem(layerFs, layer?.bytes ?? 0, layer?.inodes ?? 0),
    logs: filesystem(storage.nodeFs, logs.bytes, logs.inodes),
  };
}

const nothing: DiskUsage = { bytes: 0, inodes: 0 };

/** What the pod takes of the node's disk: layers, logs, volumes that end with it, its /etc/hosts. */
function ephemeralStorage(
  containers: readonly SummaryContainer[],
  stored: PodStorage | undefined,
  { nodeFs }: StorageSnapshot,
): SummaryFs {
  let { bytes, inodes } = stored?.other ?? nothing;
  for (const { rootfs, logs } of containers) {
    bytes += (rootfs?.usedBytes ?? 0) + (logs?.usedBytes ?? 0);
    inodes += (rootfs?.inodesUsed ?? 0) + (logs?.inodesUsed ?? 0);
  }
  for (const { volume, used, inodesUsed } of stored?.volumes ?? []) {
    if (!volume.isLocal) continue;
    bytes += used;
    inodes += inodesUsed;
  }
  return filesystem(nodeFs, bytes, inodes);
}

const podRef = ({ observed: { name, namespace, uid } }: PodSample) => ({ name, namespace, uid });

const podStart = ({ observed }: PodSample): string => time(observed.sandboxes[0]?.createdAt ?? 0);

function cpu({ stats, nanoCores }: CgroupSample): SummaryCpu {
  return {
    time: time(stats.at),
    usageNanoCores: nanoCores ?? 0,
    usageCoreNanoSeconds: stats.cpu.usage,
    ...(stats.psi && { psi: psi(stats.psi.cpu) }),
  };
}

function memory({ stats }: CgroupSample): SummaryMemory {
  const { usage, workingSet, rss, pageFaults, majorPageFaults } = stats.memory;
  const { memoryLimit } = stats.spec;
  return {
    time: time(stats.at),
    ...(Number.isFinite(memoryLimit) && { availableBytes: Math.max(0, memoryLimit - workingSet) }),
    usageBytes: usage,
    workingSetBytes: workingSet,
    rssBytes: rss,
    pageFaults,
    majorPageFaults,
    ...(stats.psi && { psi: psi(stats.psi.memory) }),
  };
}

const io = ({ stats }: CgroupSample): SummaryIo => ({
  time: time(stats.at),
  ...(stats.psi && { psi: psi(stats.psi.io) }),
});

const nodeCpu = (node: NodeSample) => ({ ...cpu(node), ...(node.psi && { psi: psi(node.psi.cpu) }) });
const nodeMemory = (node: NodeSample) => ({ ...memory(node), ...(node.psi && { psi: psi(node.psi.memory) }) });
const nodeIo = (node: NodeSample) => ({ ...io(node), ...(node.psi && { psi: psi(node.psi.io) }) });

function swap({ stats }: CgroupSample): SummarySwap {
  const { swapLimit } = stats.spec;
  return {
    time: time(stats.at),
    ...(Number.isFinite(swapLimit) && { swapAvailableBytes: Math.max(0, swapLimit - stats.memory.swap) }),
    swapUsageBytes: stats.memory.swap,
  };
}

const psi = ({ full, some }: Pressure): SummaryPsi => ({ full, some });

/** The interface that stands for all, where there is one of this name: upstream's default for nodes and pods alike. */
const mainInterface = 'eth0';

function network(interfaces: readonly InterfaceStats[], at: number): SummaryNetwork {
  const all = interfaces.map(interfaceSummary);
  const main = all.find((i) => i.name === mainInterface) ?? { name: '' };
  return { time: time(at), ...main, interfaces: all };
}

const interfaceSummary = ({ name, rxBytes, rxErrors, txBytes, txErrors }: InterfaceStats): SummaryInterface => ({
  name,
  rxBytes,
  rxErrors,
  txBytes,
  txErrors,
});

const folder = (fs: FilesystemStats, usage: FolderUsage): SummaryFs =>
  filesystem({ ...fs, at: usage.at }, usage.bytes, usage.inodes);

function filesystem(fs: FilesystemStats, usedBytes: number, inodesUsed: number): SummaryFs {
  return {
    time: time(fs.at),
    availableBytes: fs.available,
    capacityBytes: fs.capacity,
    usedBytes,
    inodesFree: fs.inodesFree,
    inodes: fs.inodes,
    inodesUsed,
  };
}

const volumeSummary = (stats: VolumeStats): SummaryVolume => ({
  ...filesystem(stats, stats.used, stats.inodesUsed),
  name: stats.volume.name,
  ...(stats.volume.claim && { pvcRef: stats.volume.claim }),
});

/** A summary names the same few seconds thousands of times. */
let lastTime = { second: Number.NaN, text: '' };

function time(ms: number): string {
  const second = Math.floor(ms / 1_000);
  if (second !== lastTime.second) lastTime = { second, text: rfc3339(second * 1_000) };
  return lastTime.text;
}
