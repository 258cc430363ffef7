import type { Container, Pod, Profile } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';

/** Paths that the runtime hides from, or makes read-only for, containers with `procMount: Default` (upstream's lists). */
const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
] as const;
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'] as const;

/** The namespaces a pod shares with the host or among its containers. */
export function namespaceOptions(pod: Pod): cri.NamespaceOption {
  const { hostNetwork, hostPID, hostIPC, shareProcessNamespace, hostUsers } = pod.spec;
  const pid = hostPID
    ? cri.NamespaceMode.NODE
    : shareProcessNamespace
      ? cri.NamespaceMode.POD
      : cri.NamespaceMode.CONTAINER;
  return {
    network: hostNetwork ? cri.NamespaceMode.NODE : cri.NamespaceMode.POD,
    pid,
    ipc: hostIPC ? cri.NamespaceMode.NODE : cri.NamespaceMode.POD,
    usernsOptions: { mode: hostUsers === false ? cri.NamespaceMode.POD : cri.NamespaceMode.NODE },
  };
}

/** fsGroup first, then the supplemental groups, as the runtime is to add them to every process. */
export function supplementalGroups(pod: Pod): readonly number[] {
  const context = pod.spec.securityContext;
  return [...(context?.fsGroup === undefined ? [] : [context.fsGroup]), ...(context?.supplementalGroups ?? [])];
}

/** What the sandbox itself runs as. Its seccomp profile is always the runtime's default: nobody configures the pause process. */
export function sandboxSecurityContext(pod: Pod): cri.LinuxSandboxSecurityContext {
  const context = pod.spec.securityContext;
  const groups = supplementalGroups(pod);
  const privileged = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].some(
    (c) => c.securityContext?.privileged === true,
  );
  return {
    namespaceOptions: namespaceOptions(pod),
    seccomp: { profileType: cri.ProfileType.RuntimeDefault },
    ...(context?.runAsUser === undefined ? {} : { runAsUser: { value: context.runAsUser } }),
    ...(context?.runAsGroup === undefined ? {} : { runAsGroup: { value: context.runAsGroup } }),
    ...(groups.length > 0 ? { supplementalGroups: groups } : {}),
    ...(context?.seLinuxOptions ? { selinuxOptions: context.seLinuxOptions } : {}),
    ...(privileged ? { privileged } : {}),
  };
}

/** The numeric or named user that the image asks for. */
export interface ImageUser {
  readonly uid: number | undefined;
  readonly username: string;
}

/** What a container's processes run as and may do: the container's own settings before the pod's. */
export function containerSecurityContext(
  pod: Pod,
  container: Container,
  user: ImageUser,
  seccompRoot: string,
): cri.LinuxContainerSecurityContext {
  const own = container.securityContext;
  const shared = pod.spec.securityContext;
  const groups = supplementalGroups(pod);
  const runAsUser = own?.runAsUser ?? shared?.runAsUser;
  const runAsGroup = own?.runAsGroup ?? shared?.runAsGroup;
  const unmasked = own?.procMount === 'Unmasked';
  const selinux = own?.seLinuxOptions ?? shared?.seLinuxOptions;
  const apparmor = own?.appArmorProfile ?? shared?.appArmorProfile;
  return {
    namespaceOptions: namespaceOptions(pod),
    seccomp: securityProfile(own?.seccompProfile ?? shared?.seccompProfile, seccompRoot),
    maskedPaths: unmasked ? [] : maskedPaths,
    readonlyPaths: unmasked ? [] : readonlyPaths,
    ...runAs(runAsUser, user),
    ...(runAsGroup === undefined ? {} : { runAsGroup: { value: runAsGroup } }),
    ...(groups.length > 0 ? { supplementalGroups: groups } : {}),
    ...(own?.privileged ? { privileged: true } : {}),
    ...(own?.readOnlyRootFilesystem ? { readonlyRootfs: true } : {}),
    ...(noNewPrivileges(container) ? { noNewPrivs: true } : {}),
    ...(selinux ? { selinuxOptions: selinux } : {}),
    ...(apparmor ? { apparmor: securityProfile(apparmor, '') } : {}),
    ...(own?.capabilities
      ? {
          capabilities: {
            addCapabilities: own.capabilities.add ?? [],
            dropCapabilities: own.capabilities.drop ?? [],
          },
        }
      : {}),
  };
}

function runAs(
  runAsUser: number | undefined,
  image: ImageUser,
): Pick<cri.LinuxContainerSecurityContext, 'runAsUser' | 'runAsUsername'> {
  if (runAsUser !== undefined) return { runAsUser: { value: runAsUser } };
  if (image.uid !== undefined) return { runAsUser: { value: image.uid } };
  return image.username ? { runAsUsername: image.username } : {};
}

function noNewPrivileges(container: Container): boolean {
  const own = container.securityContext;
  if (own?.allowPrivilegeEscalation !== false) return false;
  // The API server refuses these combinations; a manifest file may hold them, and then they win.
  const needsPrivileges = own.privileged === true || own.capabilities?.add?.includes('CAP_SYS_ADMIN') === true;
  return !needsPrivileges;
}

function securityProfile(profile: Profile | undefined, localhostRoot: string): cri.SecurityProfile {
  if (!profile) return { profileType: cri.ProfileType.Unconfined };
  switch (profile.type) {
    case 'RuntimeDefault':
      return { profileType: cri.ProfileType.RuntimeDefault };
    case 'Localhost':
      return {
        profileType: cri.ProfileType.Localhost,
        localhostRef: `${localhostRoot}${localhostRoot ? '/' : ''}${profile.localhostProfile ?? ''}`,
      };
    case 'Unconfined':
      return { profileType: cri.ProfileType.Unconfined };
    default:
      return profile.type satisfies never;
  }
}

/** Why the container must not start as root, or undefined when it may start (upstream's wording). */
export function nonRootViolation(pod: Pod, container: Container, image: ImageUser): string | undefined {
  const nonRoot = container.securityContext?.runAsNonRoot ?? pod.spec.securityContext?.runAsNonRoot;
  if (nonRoot !== true) return undefined;
  const uid = container.securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser;
  const where = `(pod: "${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})", container: ${container.name})`;
  if (uid !== undefined) {
    return uid === 0 ? `container's runAsUser breaks non-root policy ${where}` : undefined;
  }
  if (image.uid === 0) return `container has runAsNonRoot and image will run as root ${where}`;
  if (image.uid === undefined && image.username) {
    return `container has runAsNonRoot and image has non-numeric user (${image.username}), cannot verify user is non-root ${where}`;
  }
  return undefined;
}
