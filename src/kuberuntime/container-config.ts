import type { Container, Pod, VolumeMount } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { criAnnotations, criLabels } from '../api/labels.ts';
import { containerHash, goJson } from './container-hash.ts';
import { expandEnv, lookupIn } from './expand-env.ts';
import { containerSecurityContext, type ImageUser } from './security-context.ts';

export interface ContainerInput {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  /** The image to run, as the runtime named it: an id or digest. */
  readonly imageRef: string;
  readonly imageUser: ImageUser;
  /** The environment, expanded. */
  readonly env: ReadonlyMap<string, string>;
  /** Host paths of the pod's volumes by volume name. */
  readonly volumes: ReadonlyMap<string, { readonly hostPath: string }>;
  /** Host path of the pod's own /etc/hosts; undefined where the container brings its own. */
  readonly hostsPath: string | undefined;
  /** Host path of the file for the container's last words. */
  readonly terminationLogPath: string | undefined;
  readonly resources: cri.LinuxContainerResources;
  readonly seccompRoot: string;
}

/** The CRI configuration of one container, as kubelet 1.36 would send it. */
export function containerConfig(input: ContainerInput): cri.ContainerConfig {
  const { pod, container, attempt } = input;
  const known = lookupIn(input.env);
  const expand = (text: string) => expandEnv(text, known);
  return {
    metadata: { name: container.name, attempt },
    image: { image: input.imageRef, userSpecifiedImage: container.image ?? '' },
    command: (container.command ?? []).map(expand),
    args: (container.args ?? []).map(expand),
    ...(container.workingDir ? { workingDir: container.workingDir } : {}),
    labels: {
      [criLabels.containerName]: container.name,
      [criLabels.podName]: pod.metadata.name,
      [criLabels.podNamespace]: pod.metadata.namespace ?? 'default',
      [criLabels.podUid]: pod.metadata.uid ?? '',
    },
    annotations: annotations(pod, container, attempt),
    envs: [...input.env].map(([key, value]) => ({ key, value: Buffer.from(value) })),
    mounts: mounts(input),
    logPath: `${container.name}/${attempt}.log`,
    ...(container.stdin ? { stdin: true } : {}),
    ...(container.stdinOnce ? { stdinOnce: true } : {}),
    ...(container.tty ? { tty: true } : {}),
    linux: {
      resources: input.resources,
      securityContext: containerSecurityContext(pod, container, input.imageUser, input.seccompRoot),
    },
  };
}

function annotations(pod: Pod, container: Container, attempt: number): Record<string, string> {
  const grace = pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds;
  const preStop = (container.lifecycle as { readonly preStop?: object } | undefined)?.preStop;
  return {
    [criAnnotations.hash]: containerHash(container),
    [criAnnotations.restartCount]: String(attempt),
    [criAnnotations.terminationMessagePath]: container.terminationMessagePath ?? '/dev/termination-log',
    [criAnnotations.terminationMessagePolicy]: container.terminationMessagePolicy ?? 'File',
    ...(grace === undefined ? {} : { [criAnnotations.podTerminationGracePeriod]: String(grace) }),
    ...(preStop === undefined ? {} : { [criAnnotations.preStopHandler]: goJson(preStop) }),
    ...(container.ports?.length ? { [criAnnotations.ports]: goJson(container.ports.map(goOrderedPort)) } : {}),
  };
}

/** Go prints struct fields in their declared order; the annotation is compared as text. */
const goOrderedPort = (port: NonNullable<Container['ports']>[number]) => ({
  ...(port.name ? { name: port.name } : {}),
  ...(port.hostPort ? { hostPort: port.hostPort } : {}),
  containerPort: port.containerPort,
  ...(port.protocol ? { protocol: port.protocol } : {}),
  ...(port.hostIP ? { hostIP: port.hostIP } : {}),
});

function mounts(input: ContainerInput): cri.Mount[] {
  const { container } = input;
  const declared = (container.volumeMounts ?? []).map((mount) => volumeMount(mount, input));
  const all = [...declared];
  const taken = new Set(declared.map((m) => m.containerPath));
  if (input.hostsPath && !taken.has('/etc/hosts')) {
    all.push({ containerPath: '/etc/hosts', hostPath: input.hostsPath });
  }
  if (input.terminationLogPath) {
    const containerPath = container.terminationMessagePath ?? '/dev/termination-log';
    all.push({ containerPath, hostPath: input.terminationLogPath });
  }
  return all;
}

/** The volumes whose content keelson writes are never writable for the container, whatever the mount says. */
function volumeMount(mount: VolumeMount, input: ContainerInput): cri.Mount {
  const volume = input.pod.spec.volumes?.find((v) => v.name === mount.name);
  const ours = volume?.configMap ?? volume?.secret ?? volume?.downwardAPI ?? volume?.projected;
  const readonly = mount.readOnly === true || ours !== undefined;
  const propagation = cri.MountPropagation[propagationNames[mount.mountPropagation ?? 'None']];
  return {
    containerPath: mount.mountPath.startsWith('/') ? mount.mountPath : `/${mount.mountPath}`,
    hostPath: input.volumes.get(mount.name)?.hostPath ?? '',
    ...(readonly ? { readonly } : {}),
    ...(propagation ? { propagation } : {}),
  };
}

const propagationNames = {
  None: 'PROPAGATION_PRIVATE',
  HostToContainer: 'PROPAGATION_HOST_TO_CONTAINER',
  Bidirectional: 'PROPAGATION_BIDIRECTIONAL',
} as const;
