import type { Config } from '../config/config.ts';
import { readFilesystem } from '../host/machine.ts';
import type { KubeClient } from '../kubeapi/client.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { systemClock as clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { kubeletVersion } from '../node/generate-node-status.ts';
import { NodeLease } from '../node/lease.ts';
import { NodeController } from '../node/node-controller.ts';
import { RuntimeMonitor } from '../node/runtime-state.ts';
import { version } from '../version.ts';
import type { HostParts } from './host-parts.ts';

export interface NodeHalf {
  readonly controller: NodeController;
  readonly monitor: RuntimeMonitor;
  /** Absent when standalone: there is nobody to tell. */
  readonly lease: NodeLease | undefined;
}

export interface NodeHalfInput {
  readonly config: Config;
  readonly host: HostParts;
  readonly api: KubeClient | undefined;
  readonly events: EventSink;
  /** Called when the runtime or its network became usable, or stopped being so: pods wait for it. */
  readonly runtimeChanged: () => void;
  readonly log: Log;
}

/** Eviction, which would see pressure, is not part of this version: the node never reports any. */
const noPressure = { memory: false, disk: false, pid: false } as const;

/** What speaks for the node as a whole: its object, its status, its heartbeat. */
export function buildNodeHalf({ config, host, api, events, runtimeChanged, log }: NodeHalfInput): NodeHalf {
  const { kubelet, flags } = config;
  const onChange = () => {
    controller.wake();
    runtimeChanged();
  };
  const monitor: RuntimeMonitor = new RuntimeMonitor({ runtime: host.cri.runtime, clock, log, onChange });
  const controller: NodeController = new NodeController({
    api,
    register: kubelet.registerNode,
    settings: {
      ...host.reservations,
      nodeName: host.nodeName,
      hostname: host.nodeName,
      nodeLabels: flags.nodeLabels,
      registerWithTaints: kubelet.registerWithTaints,
      kubeletPort: kubelet.port,
      nodeStatusMaxImages: kubelet.nodeStatusMaxImages,
      enableControllerAttachDetach: kubelet.enableControllerAttachDetach,
      providerId: kubelet.providerID,
      podCidrs: kubelet.podCIDR ? kubelet.podCIDR.split(',') : [],
      version: kubeletVersion(version),
    },
    sources: {
      facts: host.facts,
      rootFilesystem: () => readFilesystem(flags.rootDir),
      ips: host.nodeIps,
      runtime: () => monitor.state(),
      images: (signal) => host.cri.images.listImages(signal),
      pressures: () => noPressure,
      problems: () => [],
    },
    updateMs: kubelet.nodeStatusUpdateFrequency,
    reportMs: kubelet.nodeStatusReportFrequency,
    clock,
    log,
    events,
  });
  const lease =
    api &&
    new NodeLease({
      api,
      nodeName: host.nodeName,
      leaseDurationSeconds: kubelet.nodeLeaseDurationSeconds,
      node: () => controller.current(),
      clock,
      log,
      onHeartbeatFailure: () => api.resetConnections(),
    });
  return { controller, monitor, lease };
}
