import { join } from 'node:path';
import type { Container, Pod, Profile } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { containersOf } from '../api/pod.ts';
import { appArmorProfile } from '../pod/app-armor.ts';

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

/** What of the node decides how containers are confined. */
export interface NodeSecurity {
  /** Where profiles that pods name lie. */
  readonly seccompRoot: string;
  /** Whether those who ask for no profile get the runtime's; without, they get none. */
  readonly seccompDefault?: boolean;
  /** Paths of this machine that are hidden beside those that every machine has. */
  readonly maskedPaths?: readonly string[];
}

export interface SecuritySettings extends NodeSecurity {
  /** The user ids of a pod with users of its own. */
  readonly userNamespace?: cri.UserNamespace | undefined;
  /** The container whose processes this one sees besides its own, by its id in the runtime. */
  readonly targetId?: string | undefined;
}

/** The namespaces a pod shares with the host or among its containers. */
export function namespaceOptions(pod: Pod, users?: cri.UserNamespace, targetId?: string): cri.NamespaceOption {
  const { hostNetwork, hostPID, hostIPC, shareProcessNamespace } = pod.spec;
  const pid = hostPID
    ? cri.NamespaceMode.NODE
    : shareProcessNamespace
      ? cri.NamespaceMode.POD
      : cri.NamespaceMode.CONTAINER;
  // Where all see each other already there is nothing to join.
  const joins = targetId && pid === cri.NamespaceMode.CONTAINER;
  return {
    network: hostNetwork ? cri.NamespaceMode.NODE : cri.NamespaceMode.POD,
    ...(joins ? { pid: cri.NamespaceMode.TARGET, targetId } : { pid }),
    ipc: hostIPC ? cri.NamespaceMode.NODE : cri.NamespaceMode.POD,
    usernsOptions: users ?? { mode: cri.NamespaceMode.NODE },
  };
}

/** fsGroup first, then the supplemental groups, as the runtime is to add them to every process. */
export function supplementalGroups(pod: Pod): readonly number[] {
  const context = pod.spec.securityContext;
  return [...(context?.fsGroup === undefined ? [] : [context.fsGroup]), ...(context?.supplementalGroups ?? [])];
}

/** Whether the groups that the image gives the user count too; absent where the pod does not say. */
function groupsPolicy(pod: Pod): Pick<cri.LinuxContainerSecurityContext, 'supplementalGroupsPolicy'> {
  const policy = pod.spec.securityContext?.supplementalGroupsPolicy;
  return policy === 'Strict' ? { supplementalGroupsPolicy: cri.SupplementalGroupsPolicy.Strict } : {};
}

/** What the sandbox itself runs as. Its seccomp profile is always the runtime's default: nobody configures the pause process. */
export function sandboxSecurityContext(pod: Pod, users?: cri.UserNamespace): cri.LinuxSandboxSecurityContext {
  const context = pod.spec.securityContext;
  const groups = supplementalGroups(pod);
  const privileged = containersOf(pod).some((c) => c.container.securityContext?.privileged === true);
  return {
    namespaceOptions: namespaceOptions(pod, users),
    seccomp: { profileType: cri.ProfileType.RuntimeDefault },
    ...(context?.runAsUser === undefined ? {} : { runAsUser: { value: context.runAsUser } }),
    ...(context?.runAsGroup === undefined ? {} : { runAsGroup: { value: context.runAsGroup } }),
    ...(groups.length > 0 ? { supplementalGroups: groups } : {}),
    ...groupsPolicy(pod),
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
  settings: SecuritySettings,
): cri.LinuxContainerSecurityContext {
  const own = container.securityContext;
  const shared = pod.spec.securityContext;
  const groups = supplementalGroups(pod);
  const runAsUser = own?.runAsUser ?? shared?.runAsUser;
  const runAsGroup = own?.runAsGroup ?? shared?.runAsGroup;
  const unmasked = own?.procMount === 'Unmasked';
  const selinux = own?.seLinuxOptions ?? shared?.seLinuxOptions;
  const apparmor = appArmorProfile(pod, container);
  return {
    namespaceOptions: namespaceOptions(pod, settings.userNamespace, settings.targetId),
    seccomp: seccompProfile(pod, container, settings),
    maskedPaths: unmasked ? [] : [...maskedPaths, ...(settings.maskedPaths ?? [])],
    readonlyPaths: unmasked ? [] : readonlyPaths,
    ...runAs(runAsUser, user),
    ...(runAsGroup === undefined ? {} : { runAsGroup: { value: runAsGroup } }),
    ...(groups.length > 0 ? { supplementalGroups: groups } : {}),
    ...groupsPolicy(pod),
    ...(own?.privileged ? { privileged: true } : {}),
    ...(own?.readOnlyRootFilesystem ? { readonlyRootfs: true } : {}),
    ...(noNewPrivileges(container) ? { noNewPrivs: true } : {}),
    ...(selinux ? { selinuxOptions: selinux } : {}),
    ...(apparmor ? appArmor(apparmor) : {}),
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

/** The file of the container's seccomp profile on this node; undefined when it asks for none of its own. */
export function seccompFile(pod: Pod, container: Container, { seccompRoot }: NodeSecurity): string | undefined {
  const profile = container.securityContext?.seccompProfile ?? pod.spec.securityContext?.seccompProfile;
  return profile?.type === 'Localhost' ? join(seccompRoot, profile.localhostProfile ?? '') : undefined;
}

function seccompProfile(pod: Pod, container: Container, settings: SecuritySettings): cri.SecurityProfile {
  const profile = container.securityContext?.seccompProfile ?? pod.spec.securityContext?.seccompProfile;
  const otherwise = settings.seccompDefault ? 'RuntimeDefault' : 'Unconfined';
  return securityProfile(profile?.type ?? otherwise, seccompFile(pod, container, settings));
}

/** Runtimes before the structured field read the annotation's form of the same. */
function appArmor(profile: Profile): Pick<cri.LinuxContainerSecurityContext, 'apparmor' | 'apparmorProfile'> {
  const { type, localhostProfile = '' } = profile;
  const names = {
    RuntimeDefault: 'runtime/default',
    Unconfined: 'unconfined',
    Localhost: `localhost/${localhostProfile}`,
  };
  return { apparmor: securityProfile(type, localhostProfile), apparmorProfile: names[type] };
}

function securityProfile(type: Profile['type'], localhostRef = ''): cri.SecurityProfile {
  switch (type) {
    case 'RuntimeDefault':
      return { profileType: cri.ProfileType.RuntimeDefault };
    case 'Localhost':
      return { profileType: cri.ProfileType.Localhost, localhostRef };
    case 'Unconfined':
      return { profileType: cri.ProfileType.Unconfined };
    default:
      return type satisfies never;
  }
}

/** Files of a pod with users of its own appear as owned by those. */
export function mapMounts(mounts: readonly cri.Mount[], users: cri.UserNamespace | undefined): readonly cri.Mount[] {
  if (users?.mode !== cri.NamespaceMode.POD) return mounts;
  const { uids = [], gids = [] } = users;
  return mounts.map((mount) => ({ ...mount, uidMappings: uids, gidMappings: gids }));
}

/** The largest user id that the API takes. */
const maxUserId = 2 ** 31 - 1;

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
  if (image.uid !== undefined && (image.uid < 0 || image.uid > maxUserId)) {
    const range = `(Must be 1-(${maxUserId})): must be between 0 and ${maxUserId}, inclusive`;
    return `container has runAsNonRoot and image has an invalid user id (${image.uid}). ${range} ${where}`;
  }
  return undefined;
}
