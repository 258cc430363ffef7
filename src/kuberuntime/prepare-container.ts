import type { Container, Pod, Service } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import type { PodUid } from '../api/ids.ts';
import { waitingReason } from '../api/reasons.ts';
import { containerConfig } from './container-config.ts';
import { generateEnv } from './generate-env.ts';
import type { PodDirs } from './pod-dirs.ts';
import { nonRootViolation } from './security-context.ts';
import { ContainerError } from './sync-error.ts';
import { unsupportedFields } from './unsupported-fields.ts';

/** What of the node goes into containers. */
export interface ContainerSources {
  readonly dirs: PodDirs;
  readonly seccompRoot: string;
  /** Services whose variables containers get; what is known now. */
  readonly services: () => Iterable<Service>;
}

/** One container that is about to be created. */
export interface ContainerRequest {
  readonly pod: Pod;
  readonly uid: PodUid;
  readonly container: Container;
  readonly attempt: number;
  readonly image: cri.Image;
  /** The pod's addresses, the first is the primary one; the node's for a host-network pod. */
  readonly podIPs: readonly string[];
  readonly hostsPath: string;
  readonly volumes: ReadonlyMap<string, { readonly hostPath: string }>;
  readonly resources: cri.LinuxContainerResources;
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
  const { pod, uid, container, attempt, image } = request;
  const imageUser = { uid: image.uid?.value, username: image.username ?? '' };
  const refusal = nonRootViolation(pod, container, imageUser);
  if (refusal) throw new ContainerError(waitingReason.createContainerConfigError, refusal);
  const broken = unsupportedFields(pod, container).find((f) => f.severity === 'refuse');
  if (broken)
    throw new ContainerError(
      waitingReason.createContainerConfigError,
      `${broken.field} is not supported by this version of keelson`,
    );
  return containerConfig({
    pod,
    container,
    attempt,
    imageRef: image.id ?? '',
    imageUser,
    env: generateEnv(pod, container, sources.services()),
    volumes: request.volumes,
    hostsPath: request.hostsPath,
    terminationLogPath: await sources.dirs.createTerminationLog(uid, container, attempt),
    resources: request.resources,
    seccompRoot: sources.seccompRoot,
  });
}
