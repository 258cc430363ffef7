import type { Config } from '../config/config.ts';
import { type CriClient, createCriClient } from '../cri/cri-client.ts';
import { instrumentCri } from '../cri/instrument.ts';
import type { Cgroups } from '../host/cgroups.ts';
import { type Confinement, readConfinement } from '../host/confinement.ts';
import { hostExec } from '../host/exec.ts';
import { instrumentCgroups } from '../host/instrument-cgroups.ts';
import { type MachineFacts, readMachineFacts } from '../host/machine.ts';
import { chooseNodeIps, readDefaultRoutes, readHostAddresses } from '../host/node-ip.ts';
import { openCgroups } from '../host/open-cgroups.ts';
import { systemClock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { NodeAllocatable, ResourceOptions } from '../resources/compute-cgroup-values.ts';
import type { NodeCapacity } from '../resources/decide-resize.ts';
import { computePodsAllocatable, type Reservations } from '../resources/node-resources.ts';
import { QosCgroups } from '../resources/qos-cgroups.ts';
import type { Metrics } from './metrics-part.ts';

/** What both halves stand on: the machine, its cgroups, the runtime's socket. */
export interface HostParts {
  readonly facts: MachineFacts;
  readonly confinement: Confinement;
  readonly nodeName: string;
  /** The node's addresses, the main one first; looked at again every few seconds, because hosts get new ones. */
  readonly nodeIps: () => readonly string[];
  readonly reservations: Reservations;
  readonly resources: ResourceOptions;
  /** What pods could have if there were only one. */
  readonly capacity: NodeCapacity;
  readonly cgroups: Cgroups;
  readonly qosCgroups: QosCgroups;
  readonly cri: CriClient;
}

export async function buildHostParts(config: Config, metrics: Metrics, log: Log): Promise<HostParts> {
  const { kubelet, flags } = config;
  const facts = await readMachineFacts();
  const opened = await openCgroups(kubelet.cgroupDriver, hostExec, systemClock);
  const cgroups = instrumentCgroups(opened, metrics.cgroups, systemClock);
  const reservations: Reservations = {
    maxPods: kubelet.maxPods,
    podsPerCore: kubelet.podsPerCore,
    kubeReserved: kubelet.kubeReserved,
    systemReserved: kubelet.systemReserved,
    evictionHard: kubelet.evictionHard,
  };
  const resources = resourceOptions(config, facts, cgroups);
  const enforced = kubelet.enforceNodeAllocatable?.includes('pods') === true;
  const forPods = computePodsAllocatable(facts, reservations, cgroups.version);
  const allocatable: NodeAllocatable = enforced ? forPods : {};
  const cgroupRoot = kubelet.cgroupRoot;
  const qosCgroups = new QosCgroups({ cgroups, options: resources, allocatable, cgroupRoot, log });
  const routes = await readDefaultRoutes();
  // Fails here, once and clearly, when --node-ip names an address that the host does not have.
  chooseNodeIps(flags.nodeIps, routes, readHostAddresses());
  return {
    facts,
    confinement: await readConfinement(),
    nodeName: flags.hostnameOverride ?? facts.hostname,
    nodeIps: cached(() => chooseNodeIps(flags.nodeIps, routes, readHostAddresses()), addressesAgeMs),
    reservations,
    resources,
    capacity: { cpuMilli: forPods.cpuMilli ?? 0, memoryBytes: forPods.memoryBytes ?? 0 },
    cgroups,
    qosCgroups,
    cri: instrumentCri(connectRuntime(config, log), metrics.runtime, systemClock),
  };
}

/** Asking the kernel for all interfaces takes a millisecond, and every pod status wants to know. */
const addressesAgeMs = 10_000;

function cached<T>(read: () => T, maxAgeMs: number): () => T {
  let known: { readonly value: T; readonly at: number } | undefined;
  return () => {
    const now = systemClock.monotonic();
    if (!known || now - known.at > maxAgeMs) known = { value: read(), at: now };
    return known.value;
  };
}

/** Images may be served behind a socket of their own. */
function connectRuntime({ kubelet }: Config, log: Log): CriClient {
  const common = { requestTimeoutMs: kubelet.runtimeRequestTimeout, clock: systemClock, log };
  const runtime = createCriClient({ ...common, endpoint: kubelet.containerRuntimeEndpoint });
  const { imageServiceEndpoint } = kubelet;
  if (!imageServiceEndpoint || imageServiceEndpoint === kubelet.containerRuntimeEndpoint) return runtime;
  const images = createCriClient({ ...common, endpoint: imageServiceEndpoint });
  return {
    runtime: runtime.runtime,
    images: images.images,
    close: () => {
      runtime.close();
      images.close();
    },
  };
}

function resourceOptions({ kubelet }: Config, facts: MachineFacts, cgroups: Cgroups): ResourceOptions {
  return {
    cgroupVersion: cgroups.version,
    cpuCfsQuota: kubelet.cpuCFSQuota,
    cpuCfsPeriodUs: kubelet.cpuCFSQuotaPeriod * 1000,
    memoryCapacityBytes: facts.memoryBytes,
    hugePageSizes: facts.hugePages.map((p) => p.pageBytes),
    swapController: facts.swapController,
    ...(kubelet.memorySwap.swapBehavior === 'LimitedSwap' ? { limitedSwapBytes: facts.swapBytes } : {}),
    singleProcessOomKill: kubelet.singleProcessOOMKill ?? cgroups.version === 1,
    podPidsLimit: kubelet.podPidsLimit,
  };
}
