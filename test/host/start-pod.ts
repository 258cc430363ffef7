import { type ContainerConfig, NamespaceMode, type PodSandboxConfig } from '../../src/api/cri.ts';
import type { TestHost } from './test-host.ts';

export interface StartedPod {
  readonly sandboxId: string;
  readonly containerId: string;
  readonly sandboxConfig: PodSandboxConfig;
  readonly ip: string;
}

export interface PodOptions {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  /** Without the labels of Kubernetes: a keelson on the same runtime does not take it for an orphan. */
  readonly unlabelled?: boolean;
}

/** A pod by bare CRI calls: what a test uses that has no keelson, and the floor that keelson is measured against. */
export async function startPod(host: TestHost, options: PodOptions): Promise<StartedPod> {
  const signal = AbortSignal.timeout(60_000);
  const { runtime } = host.cri();
  const sandboxConfig = withoutLabels(sandboxConfigOf(options.name), options);
  const sandboxId = await runtime.runPodSandbox(sandboxConfig, '', signal);
  const config = withoutLabels(containerConfigOf(options), options);
  const containerId = await runtime.createContainer(sandboxId, config, sandboxConfig, signal);
  await runtime.startContainer(containerId, signal);
  const { network } = await runtime.podSandboxStatus(sandboxId, signal);
  return { sandboxId, containerId, sandboxConfig, ip: network?.ip ?? '' };
}

const withoutLabels = <T extends object>(config: T, { unlabelled }: PodOptions): T =>
  unlabelled ? { ...config, labels: {} } : config;

export function sandboxConfigOf(name: string): PodSandboxConfig {
  return {
    metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt: 0 },
    hostname: name,
    logDirectory: `/var/log/pods/default_${name}_uid-${name}`,
    labels: { 'io.kubernetes.pod.name': name, 'io.kubernetes.pod.uid': `uid-${name}` },
    linux: { cgroupParent: `/test/${name}`, securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
  };
}

export function containerConfigOf(options: PodOptions, attempt = 0): ContainerConfig {
  return {
    metadata: { name: 'main', attempt },
    image: { image: options.image },
    ...(options.command && { command: options.command }),
    labels: { 'io.kubernetes.pod.uid': `uid-${options.name}`, 'io.kubernetes.container.name': 'main' },
    logPath: `main/${attempt}.log`,
    linux: {
      resources: { cpuShares: 2, cpuPeriod: 100_000, cpuQuota: -1 },
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
    },
  };
}
