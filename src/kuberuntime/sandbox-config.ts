import { createHash } from 'node:crypto';
import type { ContainerPort, Pod } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { criLabels } from '../api/labels.ts';
import { configSeenAnnotation, configSourceAnnotation } from '../api/pod.ts';
import { sandboxSecurityContext } from './security-context.ts';

export interface SandboxInput {
  readonly pod: Pod;
  readonly attempt: number;
  readonly source: 'api' | 'file';
  /** RFC 3339: when keelson first saw the pod. */
  readonly seenAt: string;
  readonly dns: cri.DNSConfig;
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
  const ports = pod.spec.containers.flatMap((c) => c.ports ?? []).map(portMapping);
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
    ...(pod.spec.hostNetwork ? {} : { hostname: podHostname(pod) }),
    logDirectory: podLogDirectory(input.podLogsDir, pod),
    ...(ports.length > 0 ? { portMappings: ports } : {}),
    linux: {
      cgroupParent: input.cgroupParent,
      resources: input.resources,
      overhead: input.overhead,
      securityContext: sandboxSecurityContext(pod),
      ...(sysctls.length > 0 ? { sysctls: Object.fromEntries(sysctls.map((s) => [s.name, s.value])) } : {}),
    },
  };
}

/** Where the pod's containers log to: `<podLogsDir>/<namespace>_<name>_<uid>`. */
export function podLogDirectory(podLogsDir: string, pod: Pod): string {
  const { name, namespace = 'default', uid } = pod.metadata;
  return `${podLogsDir}/${namespace}_${name}_${uid}`;
}

/** The kernel allows 63 characters, and a host name must not end in a dot or a dash. */
export function podHostname(pod: Pod): string {
  const name = pod.spec.hostname || pod.metadata.name;
  return name.slice(0, 63).replace(/[-.]+$/, '') || createHash('sha256').update(name).digest('hex').slice(0, 12);
}

function portMapping(port: ContainerPort): cri.PortMapping {
  return {
    protocol: cri.Protocol[port.protocol ?? 'TCP'],
    containerPort: port.containerPort,
    hostPort: port.hostPort ?? 0,
    hostIp: port.hostIP ?? '',
  };
}
