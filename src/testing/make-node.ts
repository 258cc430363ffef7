import type { MachineFacts } from '../host/machine.ts';
import { kubeletVersion, type NodeSettings } from '../node/generate-node-status.ts';
import type { RuntimeState } from '../node/runtime-state.ts';

/** The machine on which test/golden/node was recorded. */
export const goldenFacts: MachineFacts = {
  hostname: 'peer-node',
  architecture: 'amd64',
  kernelVersion: '6.18.44-fc-v595',
  osImage: 'Debian GNU/Linux 12 (bookworm)',
  machineId: '3d1219c7c4c5404aaa1f6d2a48adfda4',
  bootId: '983b3c58-9cca-4a31-9532-179080df8610',
  systemUuid: '3d1219c7c4c5404aaa1f6d2a48adfda4',
  cpuCount: 2,
  onlineCpus: '0-1',
  memoryBytes: 24_684_096 * 1024,
  swapBytes: 0,
  hugePages: [
    { pageBytes: 2 ** 21, pages: 0 },
    { pageBytes: 2 ** 30, pages: 0 },
  ],
  maxPids: 32_768,
  swapController: true,
  selinux: false,
};

export const goldenRootFilesystem = {
  capacityBytes: 264_212_084 * 1024,
  availableBytes: 85_141_118_976,
  inodes: 1_000_000,
  inodesFree: 900_000,
};

/** The kubelet's defaults, as in test/golden/node/configz.json. */
export const goldenSettings: NodeSettings = {
  nodeName: 'peer-node',
  hostname: 'peer-node',
  nodeLabels: {},
  registerWithTaints: [],
  kubeletPort: 10_250,
  nodeStatusMaxImages: 50,
  enableControllerAttachDetach: true,
  providerId: '',
  podCidrs: [],
  version: kubeletVersion('0.1.0'),
  maxPods: 110,
  podsPerCore: 0,
  kubeReserved: {},
  systemReserved: {},
  evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '10%' },
};

/** A runtime that answered at monotonic `answeredAt` and is fine. */
export function readyRuntime(answeredAt: number): RuntimeState {
  const conditions = [
    { type: 'RuntimeReady', status: true },
    { type: 'NetworkReady', status: true },
  ];
  return {
    answeredAt,
    name: 'containerd',
    version: '1.6.20',
    status: { conditions },
    handlers: [],
    features: undefined,
  };
}
