import type { Container, HTTPGetAction, LifecycleHandler, Pod } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { criAnnotations, criLabels } from '../api/labels.ts';
import { expandEnv, lookupIn } from '../lib/expand-env.ts';
import { containerHash, goJson } from './container-hash.ts';
import { defaultTerminationMessagePath } from './generate-mounts.ts';
import { containerSecurityContext, type ImageUser, mapMounts, type SecuritySettings } from './security-context.ts';

export interface ContainerInput {
  readonly pod: Pod;
  readonly container: Container;
  readonly attempt: number;
  /** The image to run, as the runtime named it: an id or digest. */
  readonly imageRef: string;
  readonly imageUser: ImageUser;
  /** The environment, expanded. */
  readonly env: ReadonlyMap<string, string>;
  readonly mounts: readonly cri.Mount[];
  readonly devices: readonly cri.Device[];
  readonly resources: cri.LinuxContainerResources;
  readonly security: SecuritySettings;
}

/** The CRI configuration of one container, as kubelet 1.36 would send it. */
export function containerConfig(input: ContainerInput): cri.ContainerConfig {
  const { pod, container, attempt } = input;
  const known = lookupIn(input.env);
  const expand = (text: string) => expandEnv(text, known);
  const stopSignal = criSignal(container.lifecycle?.stopSignal);
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
    mounts: mapMounts(input.mounts, input.security.userNamespace),
    ...(input.devices.length > 0 ? { devices: input.devices } : {}),
    logPath: `${container.name}/${attempt}.log`,
    ...(container.stdin ? { stdin: true } : {}),
    ...(container.stdinOnce ? { stdinOnce: true } : {}),
    ...(container.tty ? { tty: true } : {}),
    ...(stopSignal ? { stopSignal } : {}),
    linux: {
      resources: input.resources,
      securityContext: containerSecurityContext(pod, container, input.imageUser, input.security),
    },
  };
}

/** A name of the API (SIGRTMIN+3) as the runtime's number of it; RUNTIME_DEFAULT for none and for one that it has not. */
function criSignal(name: string | undefined): cri.Signal {
  const key = (name ?? '').replace('+', 'PLUS').replace('-', 'MINUS');
  return (cri.Signal as Readonly<Record<string, cri.Signal>>)[key] ?? cri.Signal.RUNTIME_DEFAULT;
}

function annotations(pod: Pod, container: Container, attempt: number): Record<string, string> {
  const { deletionGracePeriodSeconds: deletion } = pod.metadata;
  const { terminationGracePeriodSeconds: termination } = pod.spec;
  const preStop = container.lifecycle?.preStop;
  return {
    [criAnnotations.hash]: containerHash(container),
    [criAnnotations.restartCount]: String(attempt),
    [criAnnotations.terminationMessagePath]: container.terminationMessagePath ?? defaultTerminationMessagePath,
    [criAnnotations.terminationMessagePolicy]: container.terminationMessagePolicy ?? 'File',
    ...(deletion === undefined ? {} : { [criAnnotations.podDeletionGracePeriod]: String(deletion) }),
    ...(termination === undefined ? {} : { [criAnnotations.podTerminationGracePeriod]: String(termination) }),
    ...(preStop === undefined ? {} : { [criAnnotations.preStopHandler]: goJson(goOrderedHandler(preStop)) }),
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

const goOrderedHandler = ({ exec, httpGet, tcpSocket, sleep }: LifecycleHandler) => ({
  ...(exec ? { exec: exec.command?.length ? { command: exec.command } : {} } : {}),
  ...(httpGet ? { httpGet: goOrderedHttpGet(httpGet) } : {}),
  ...(tcpSocket ? { tcpSocket: { port: tcpSocket.port, ...(tcpSocket.host ? { host: tcpSocket.host } : {}) } } : {}),
  ...(sleep ? { sleep: { seconds: sleep.seconds } } : {}),
});

const goOrderedHttpGet = ({ path, port, host, scheme, httpHeaders }: HTTPGetAction) => ({
  ...(path ? { path } : {}),
  port,
  ...(host ? { host } : {}),
  ...(scheme ? { scheme } : {}),
  ...(httpHeaders?.length ? { httpHeaders: httpHeaders.map(({ name, value }) => ({ name, value })) } : {}),
});
