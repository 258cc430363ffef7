import type { Container, Pod, VolumeMount } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { waitingReason } from '../api/reasons.ts';
import { expandEnv } from '../lib/expand-env.ts';
import { ContainerError } from './sync-error.ts';

/** What a container can be given of a volume that is set up. */
export interface ContainerVolume {
  /** '' for what the runtime mounts by itself. */
  readonly hostPath: string;
  /** Made by the node, and only by it: containers get it read-only whatever they ask for. */
  readonly readOnly?: boolean;
  /** An image that the runtime mounts, by the name in the pod until it is pulled. */
  readonly image?: cri.ImageSpec;
  readonly pullPolicy?: Container['imagePullPolicy'];
  /** Host path of a block device. */
  readonly device?: string;
}

export interface MountInput {
  readonly pod: Pod;
  readonly container: Container;
  readonly env: ReadonlyMap<string, string>;
  readonly volumes: ReadonlyMap<string, ContainerVolume>;
  /** Whether the pod's runtime handler can make everything below a mount read-only. */
  readonly recursiveReadOnly: boolean;
  /** Whether the host runs SELinux. */
  readonly selinux: boolean;
}

/** A mount whose host path may still have to be found out. */
export interface PlannedMount {
  readonly mount: cri.Mount;
  /** The part of the volume that is mounted, at `mount.hostPath`, instead of all of it. */
  readonly part?: { readonly volume: string; readonly index: number; readonly subPath: string };
}

/**
 * The mounts that a container asks for, in its order. Fails with CreateContainerConfigError, in upstream's words, for
 * what cannot be.
 */
export function planVolumeMounts(input: MountInput): PlannedMount[] {
  return (input.container.volumeMounts ?? []).map((mount, index) => planMount(mount, index, input));
}

function planMount(mount: VolumeMount, index: number, input: MountInput): PlannedMount {
  const { pod, container, volumes, env, selinux } = input;
  const volume = volumes.get(mount.name);
  if (!volume || volume.device !== undefined) {
    throw refused(`cannot find volume ${quoted(mount.name)} to mount into container ${quoted(container.name)}`);
  }
  const subPath = subPathOf(mount, env);
  const propagation = propagationOf(mount);
  const recursiveReadOnly = isRecursiveReadOnly(mount, input.recursiveReadOnly);
  const planned: cri.Mount = {
    containerPath: absolute(mount.mountPath),
    ...(mount.readOnly || volume.readOnly ? { readonly: true } : {}),
    ...(propagation ? { propagation } : {}),
    ...(recursiveReadOnly ? { recursiveReadOnly } : {}),
    ...(selinux && isManaged(pod, mount.name) ? { selinuxRelabel: true } : {}),
  };
  if (volume.image) {
    return { mount: { ...planned, image: volume.image, ...(subPath ? { imageSubPath: subPath } : {}) } };
  }
  const whole = { ...planned, hostPath: volume.hostPath };
  return subPath ? { mount: whole, part: { volume: mount.name, index, subPath } } : { mount: whole };
}

/** Whether the volume is the node's, so that it may give it the pod's SELinux label: what an operator brought keeps its own. */
function isManaged(pod: Pod, name: string): boolean {
  const volume = pod.spec.volumes?.find((v) => v.name === name);
  const { emptyDir, configMap, secret, downwardAPI, projected, image } = volume ?? {};
  return (emptyDir ?? configMap ?? secret ?? downwardAPI ?? projected ?? image) !== undefined;
}

/** '' for the whole volume. */
function subPathOf({ subPath = '', subPathExpr }: VolumeMount, env: ReadonlyMap<string, string>): string {
  const path = subPathExpr ? expandedSubPath(subPathExpr, env) : subPath;
  if (path.startsWith('/')) throw refused(`error SubPath \`${path}\` must not be an absolute path`);
  if (path.split('/').includes('..')) throw refused(`unable to provision SubPath \`${path}\`: must not contain '..'`);
  return path;
}

/** Other than in a command, a variable that is missing or empty is an error: the path would be another one. */
function expandedSubPath(expression: string, env: ReadonlyMap<string, string>): string {
  const missing = new Set<string>();
  const path = expandEnv(expression, (name) => {
    const value = env.get(name) ?? '';
    if (value === '') missing.add(name);
    return value;
  });
  if (missing.size > 0) throw refused(`missing value for ${[...missing].sort().join(', ')}`);
  return path;
}

function propagationOf({ mountPropagation = 'None' }: VolumeMount): cri.MountPropagation {
  switch (mountPropagation) {
    case 'None':
      return cri.MountPropagation.PROPAGATION_PRIVATE;
    case 'HostToContainer':
      return cri.MountPropagation.PROPAGATION_HOST_TO_CONTAINER;
    case 'Bidirectional':
      return cri.MountPropagation.PROPAGATION_BIDIRECTIONAL;
    default:
      throw refused(`invalid MountPropagation mode: ${quoted(mountPropagation satisfies never)}`);
  }
}

function isRecursiveReadOnly(mount: VolumeMount, isSupported: boolean): boolean {
  const { name, recursiveReadOnly: mode = 'Disabled', readOnly, mountPropagation = 'None' } = mount;
  if (mode === 'Disabled') return false;
  const refuse = (why: string) => {
    const asked = `volume ${quoted(name)} requested recursive read-only mode, but it is ${why}`;
    return refused(`failed to resolve recursive read-only mode: ${asked}`);
  };
  if (!readOnly) throw refuse('not read-only');
  if (mountPropagation !== 'None') throw refuse(`not compatible with propagation ${quoted(mountPropagation)}`);
  if (mode === 'Enabled' && !isSupported) throw refuse('not supported by the runtime');
  return isSupported;
}

/** What every container gets besides: the pod's /etc/hosts, unless it mounts its own, and a file for its last words. */
export function nodeMounts(
  container: Container,
  files: { readonly hostsPath: string | undefined; readonly terminationLogPath: string | undefined },
  selinux: boolean,
): cri.Mount[] {
  const relabel = selinux ? { selinuxRelabel: true } : {};
  const bringsHosts = container.volumeMounts?.some((mount) => mount.mountPath === '/etc/hosts');
  const wordsPath = container.terminationMessagePath ?? defaultTerminationMessagePath;
  return [
    ...(files.hostsPath && !bringsHosts
      ? [{ containerPath: '/etc/hosts', hostPath: files.hostsPath, ...relabel }]
      : []),
    ...(files.terminationLogPath && wordsPath
      ? [{ containerPath: absolute(wordsPath), hostPath: files.terminationLogPath, ...relabel }]
      : []),
  ];
}

export const defaultTerminationMessagePath = '/dev/termination-log';

/** The block devices that a container asks for. Fails as planVolumeMounts does. */
export function volumeDevices(container: Container, volumes: ReadonlyMap<string, ContainerVolume>): cri.Device[] {
  return (container.volumeDevices ?? []).map(({ name, devicePath }) => {
    if (!devicePath.startsWith('/')) throw refused(`error DevicePath \`${devicePath}\` must be an absolute path`);
    const volume = volumes.get(name);
    if (volume?.device === undefined) {
      throw refused(`cannot find volume ${quoted(name)} to pass into container ${quoted(container.name)}`);
    }
    return { hostPath: volume.device, containerPath: devicePath, permissions: volume.readOnly ? 'r' : 'mrw' };
  });
}

export const absolute = (path: string): string => (path.startsWith('/') ? path : `/${path}`);

const quoted = (text: string): string => JSON.stringify(text);

const refused = (message: string): ContainerError =>
  new ContainerError(waitingReason.createContainerConfigError, message);
