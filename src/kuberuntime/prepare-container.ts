import type { Container, Pod, ResourceList, Service } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import type { PodUid } from '../api/ids.ts';
import { isStaticPod } from '../api/pod.ts';
import { waitingReason } from '../api/reasons.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { orderPodIPs } from '../pod/order-pod-ips.ts';
import { containerConfig } from './container-config.ts';
import { type EnvFile, readEnvFile } from './env-file.ts';
import type { EnvObjects } from './env-objects.ts';
import { envFileFailure, envFileKey, generateEnv } from './generate-env.ts';
import {
  type ContainerVolume,
  nodeMounts,
  type PlannedMount,
  planVolumeMounts,
  volumeDevices,
} from './generate-mounts.ts';
import type { PodDirs } from './pod-dirs.ts';
import { requireSeccompFile } from './seccomp-file.ts';
import { type ImageUser, type NodeSecurity, nonRootViolation } from './security-context.ts';
import { ContainerError } from './sync-error.ts';

/** What of the node goes into containers. */
export interface ContainerSources {
  readonly dirs: PodDirs;
  readonly security: NodeSecurity;
  /** Services whose variables containers get; what is known now. */
  readonly services: () => Iterable<Service>;
  /** Whether the Services have been read at all. */
  readonly servicesRead: () => boolean;
  readonly envObjects: EnvObjects;
  readonly subPaths: SubPaths;
  /** What the node has for pods; stands in for limits that containers do not have. */
  readonly allocatable: () => ResourceList;
  readonly hostIPs: () => readonly string[];
  /** What the runtime's handlers can do; none where the runtime does not tell. */
  readonly handlers: () => readonly cri.RuntimeHandler[];
  /** Whether the host runs SELinux. */
  readonly selinux: boolean;
  readonly log: Log;
}

/** Makes parts of volumes available; VolumeManager does. */
export interface SubPaths {
  subPath(
    request: {
      readonly uid: PodUid;
      readonly volume: string;
      readonly volumePath: string;
      readonly container: string;
      readonly index: number;
      readonly subPath: string;
    },
    signal: AbortSignal,
  ): Promise<string>;
}

/** One container that is about to be created. */
export interface ContainerRequest {
  readonly pod: Pod;
  readonly uid: PodUid;
  readonly container: Container;
  readonly attempt: number;
  readonly image: cri.Image;
  /** The pod's addresses as the runtime has them; the node's for a host-network pod. */
  readonly podIPs: readonly string[];
  readonly hostsPath: string;
  readonly volumes: ReadonlyMap<string, ContainerVolume>;
  readonly resources: cri.LinuxContainerResources;
  /** The container whose processes an ephemeral one sees, by its id in the runtime. */
  readonly targetId?: string;
  /** Which of the runtime's handlers runs the pod; '' is the default one. */
  readonly runtimeHandler?: string;
  /** The user ids of a pod with users of its own. */
  readonly userNamespace?: cri.UserNamespace | undefined;
}

/**
 * Gathers everything that a container is created with (variables, files, the checks that need the image)
 * and composes its CRI configuration. Fails with a ContainerError whose code is the waiting reason; the
 * caller tells of it.
 */
export async function prepareContainer(
  request: ContainerRequest,
  sources: ContainerSources,
  signal: AbortSignal,
): Promise<cri.ContainerConfig> {
  signal.throwIfAborted();
  const { pod, uid, container, attempt, image, volumes } = request;
  // Without them it would start, and not find what it asked for.
  if (container.resources?.claims?.length) {
    throw refused(`spec.containers{${container.name}}.resources.claims is not supported by this version of keelson`);
  }
  const devices = volumeDevices(container, volumes);
  const env = await makeEnv(request, sources, signal);
  const planned = planVolumeMounts({
    pod,
    container,
    env,
    volumes,
    recursiveReadOnly: canMakeRecursiveReadOnly(sources.handlers(), request.runtimeHandler ?? ''),
    selinux: sources.selinux,
  });
  const imageUser = userOf(image);
  const refusal = nonRootViolation(pod, container, imageUser);
  if (refusal) throw refused(refusal);
  await requireSeccompFile(pod, container, sources.security);
  const own = await resolveMounts(planned, request, sources, signal);
  const files = {
    hostsPath: request.podIPs.length > 0 || pod.spec.hostNetwork ? request.hostsPath : undefined,
    terminationLogPath: await sources.dirs.createTerminationLog(uid, container, attempt),
  };
  return containerConfig({
    pod,
    container,
    attempt,
    imageRef: image.id ?? '',
    imageUser,
    env,
    mounts: [...own, ...nodeMounts(container, files, sources.selinux)],
    devices,
    resources: request.resources,
    security: { ...sources.security, userNamespace: request.userNamespace, targetId: request.targetId },
  });
}

async function makeEnv(
  { pod, uid, container, podIPs, volumes }: ContainerRequest,
  sources: ContainerSources,
  signal: AbortSignal,
): Promise<Map<string, string>> {
  // A static pod may be what the API server itself runs in.
  if (!isStaticPod(pod) && !sources.servicesRead()) {
    throw refused('services have not yet been read at least once, cannot construct envvars');
  }
  const files = await readEnvFiles(uid, container, volumes, sources.log);
  const hostIPs = sources.hostIPs();
  const input = {
    ...{ pod, uid, container, files, hostIPs },
    podIPs: orderPodIPs(podIPs, hostIPs[0]),
    services: sources.services(),
    allocatable: sources.allocatable(),
  };
  return sources.envObjects.use({ uid, pod, container }, (objects) => generateEnv({ ...input, objects }), signal);
}

async function readEnvFiles(
  uid: PodUid,
  container: Container,
  volumes: ContainerRequest['volumes'],
  log: Log,
): Promise<ReadonlyMap<string, EnvFile>> {
  const files = new Map<string, EnvFile>();
  for (const { valueFrom } of container.env ?? []) {
    const ref = valueFrom?.fileKeyRef;
    if (!ref || files.has(envFileKey(ref))) continue;
    const volume = volumes.get(ref.volumeName);
    if (!volume?.hostPath) {
      throw refused(`cannot find the volume ${JSON.stringify(ref.volumeName)} referenced by FileKeyRef`);
    }
    try {
      files.set(envFileKey(ref), await readEnvFile(volume.hostPath, ref.path));
    } catch (cause) {
      log.warn({ podUid: uid, container: container.name, ...errorFields(cause) }, 'cannot read an env file');
      throw refused(envFileFailure, cause);
    }
  }
  return files;
}

async function resolveMounts(
  planned: readonly PlannedMount[],
  { uid, container }: ContainerRequest,
  { subPaths }: ContainerSources,
  signal: AbortSignal,
): Promise<cri.Mount[]> {
  const mounts: cri.Mount[] = [];
  for (const { mount, part } of planned) {
    if (!part) {
      mounts.push(mount);
      continue;
    }
    const request = { uid, container: container.name, volumePath: mount.hostPath ?? '', ...part };
    const hostPath = await subPaths.subPath(request, signal).catch((cause: unknown) => {
      if (isAbort(cause)) throw cause;
      throw refused(cause instanceof Error ? cause.message : String(cause), cause);
    });
    mounts.push({ ...mount, hostPath });
  }
  return mounts;
}

/** An image that names no user runs as root. */
function userOf({ uid, username = '' }: cri.Image): ImageUser {
  if (uid) return { uid: uid.value ?? 0, username: '' };
  return username === '' ? { uid: 0, username } : { uid: undefined, username };
}

const canMakeRecursiveReadOnly = (handlers: readonly cri.RuntimeHandler[], name: string): boolean =>
  handlers.find((handler) => (handler.name ?? '') === name)?.features?.recursiveReadOnlyMounts === true;

const refused = (message: string, cause?: unknown): ContainerError =>
  new ContainerError(waitingReason.createContainerConfigError, message, { cause });
