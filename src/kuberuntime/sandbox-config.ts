import { isIPv6 } from 'node:net';
import type { Container, Pod } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { criLabels } from '../api/labels.ts';
import { configSeenAnnotation, configSourceAnnotation, isSidecar } from '../api/pod.ts';
import { dottedSysctl } from '../api/sysctl.ts';
import { sandboxSecurityContext } from './security-context.ts';

export interface SandboxInput {
  readonly pod: Pod;
  readonly attempt: number;
  readonly source: 'api' | 'file';
  /** RFC 3339: when keelson first saw the pod. */
  readonly seenAt: string;
  readonly dns: cri.DNSConfig;
  /** What the kernel is told; a pod on the host's network has the host's name, whatever stands here. */
  readonly hostname: string;
  /** The user ids of a pod with users of its own. */
  readonly userNamespace?: cri.UserNamespace | undefined;
  readonly podLogsDir: string;
  readonly cgroupParent: string;
  /** The pod's resources without its overhead, and the overhead alone (all zero where there is none). */
  readonly resources: cri.LinuxContainerResources;
  readonly overhead: cri.LinuxContainerResources;
}

/** The CRI configuration of a pod's sandbox, as kubelet 1.36 would send it. */
export function sandboxConfig(input: SandboxInput): cri.PodSandboxConfig {
  const { pod } = input;
  const { name, namespace = 'default', uid = '' } = pod.metadata;
  const serving = [...(pod.spec.initContainers ?? []).filter(isSidecar), ...pod.spec.containers];
  const ports = serving.flatMap(portMappings);
  const sysctls = pod.spec.securityContext?.sysctls ?? [];
  return {
    metadata: { name, namespace, uid, attempt: input.attempt },
    labels: {
      ...pod.metadata.labels,
      [criLabels.podName]: name,
      [criLabels.podNamespace]: namespace,
      [criLabels.podUid]: uid,
    },
    annotations: {
      ...pod.metadata.annotations,
      [configSourceAnnotation]: pod.metadata.annotations?.[configSourceAnnotation] ?? input.source,
      [configSeenAnnotation]: pod.metadata.annotations?.[configSeenAnnotation] ?? input.seenAt,
    },
    dnsConfig: input.dns,
    ...(pod.spec.hostNetwork ? {} : { hostname: input.hostname }),
    logDirectory: podLogDirectory(input.podLogsDir, pod),
    ...(ports.length > 0 ? { portMappings: ports } : {}),
    linux: {
      cgroupParent: input.cgroupParent,
      resources: input.resources,
      overhead: input.overhead,
      securityContext: sandboxSecurityContext(pod, input.userNamespace),
      ...(sysctls.length > 0
        ? { sysctls: Object.fromEntries(sysctls.map((s) => [dottedSysctl(s.name), s.value])) }
        : {}),
    },
  };
}

/** Where the pod's containers log to: `<podLogsDir>/<namespace>_<name>_<uid>`. */
export function podLogDirectory(podLogsDir: string, pod: Pod): string {
  const { name, namespace = 'default', uid } = pod.metadata;
  return `${podLogsDir}/${namespace}_${name}_${uid}`;
}

/** The container's ports, each once: a name, or the same mapping in the same address family, counts where it stands first. */
function portMappings(container: Container): cri.PortMapping[] {
  const taken = new Set<string>();
  const mappings: cri.PortMapping[] = [];
  for (const { name, containerPort, hostPort = 0, hostIP = '', protocol = 'TCP' } of container.ports ?? []) {
    const family = hostIP === '' ? 'any' : isIPv6(hostIP) ? 'v6' : 'v4';
    const key = name || `${family}-${protocol}-${hostIP}:${containerPort}:${hostPort}`;
    if (taken.has(key)) continue;
    taken.add(key);
    mappings.push({ protocol: cri.Protocol[protocol], containerPort, hostPort, hostIp: hostIP });
  }
  return mappings;
}
