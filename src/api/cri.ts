/**
 * The messages of CRI v1 that keelson sends or reads, as protobufjs hands them over: camel-case names,
 * 64-bit integers as numbers, enums as numbers. A field that the other side did not set may be absent,
 * null (a message) or its zero value, so readers must take all three for "not set".
 * Field numbers and the services are in proto/cri-v1.proto.
 */

export const CgroupDriver = {
  SYSTEMD: 0,
  CGROUPFS: 1,
} as const;
export type CgroupDriver = (typeof CgroupDriver)[keyof typeof CgroupDriver];

export const Protocol = {
  TCP: 0,
  UDP: 1,
  SCTP: 2,
} as const;
export type Protocol = (typeof Protocol)[keyof typeof Protocol];

export const NamespaceMode = {
  POD: 0,
  CONTAINER: 1,
  NODE: 2,
  TARGET: 3,
} as const;
export type NamespaceMode = (typeof NamespaceMode)[keyof typeof NamespaceMode];

export const SupplementalGroupsPolicy = {
  Merge: 0,
  Strict: 1,
} as const;
export type SupplementalGroupsPolicy = (typeof SupplementalGroupsPolicy)[keyof typeof SupplementalGroupsPolicy];

export const PodSandboxState = {
  SANDBOX_READY: 0,
  SANDBOX_NOTREADY: 1,
} as const;
export type PodSandboxState = (typeof PodSandboxState)[keyof typeof PodSandboxState];

export const ContainerState = {
  CONTAINER_CREATED: 0,
  CONTAINER_RUNNING: 1,
  CONTAINER_EXITED: 2,
  CONTAINER_UNKNOWN: 3,
} as const;
export type ContainerState = (typeof ContainerState)[keyof typeof ContainerState];

export const MountPropagation = {
  PROPAGATION_PRIVATE: 0,
  PROPAGATION_HOST_TO_CONTAINER: 1,
  PROPAGATION_BIDIRECTIONAL: 2,
} as const;
export type MountPropagation = (typeof MountPropagation)[keyof typeof MountPropagation];

export const Signal = {
  RUNTIME_DEFAULT: 0,
  SIGABRT: 1,
  SIGALRM: 2,
  SIGBUS: 3,
  SIGCHLD: 4,
  SIGCLD: 5,
  SIGCONT: 6,
  SIGFPE: 7,
  SIGHUP: 8,
  SIGILL: 9,
  SIGINT: 10,
  SIGIO: 11,
  SIGIOT: 12,
  SIGKILL: 13,
  SIGPIPE: 14,
  SIGPOLL: 15,
  SIGPROF: 16,
  SIGPWR: 17,
  SIGQUIT: 18,
  SIGSEGV: 19,
  SIGSTKFLT: 20,
  SIGSTOP: 21,
  SIGSYS: 22,
  SIGTERM: 23,
  SIGTRAP: 24,
  SIGTSTP: 25,
  SIGTTIN: 26,
  SIGTTOU: 27,
  SIGURG: 28,
  SIGUSR1: 29,
  SIGUSR2: 30,
  SIGVTALRM: 31,
  SIGWINCH: 32,
  SIGXCPU: 33,
  SIGXFSZ: 34,
  SIGRTMIN: 35,
  SIGRTMINPLUS1: 36,
  SIGRTMINPLUS2: 37,
  SIGRTMINPLUS3: 38,
  SIGRTMINPLUS4: 39,
  SIGRTMINPLUS5: 40,
  SIGRTMINPLUS6: 41,
  SIGRTMINPLUS7: 42,
  SIGRTMINPLUS8: 43,
  SIGRTMINPLUS9: 44,
  SIGRTMINPLUS10: 45,
  SIGRTMINPLUS11: 46,
  SIGRTMINPLUS12: 47,
  SIGRTMINPLUS13: 48,
  SIGRTMINPLUS14: 49,
  SIGRTMINPLUS15: 50,
  SIGRTMAXMINUS14: 51,
  SIGRTMAXMINUS13: 52,
  SIGRTMAXMINUS12: 53,
  SIGRTMAXMINUS11: 54,
  SIGRTMAXMINUS10: 55,
  SIGRTMAXMINUS9: 56,
  SIGRTMAXMINUS8: 57,
  SIGRTMAXMINUS7: 58,
  SIGRTMAXMINUS6: 59,
  SIGRTMAXMINUS5: 60,
  SIGRTMAXMINUS4: 61,
  SIGRTMAXMINUS3: 62,
  SIGRTMAXMINUS2: 63,
  SIGRTMAXMINUS1: 64,
  SIGRTMAX: 65,
} as const;
export type Signal = (typeof Signal)[keyof typeof Signal];

export const ContainerEventType = {
  CONTAINER_CREATED_EVENT: 0,
  CONTAINER_STARTED_EVENT: 1,
  CONTAINER_STOPPED_EVENT: 2,
  CONTAINER_DELETED_EVENT: 3,
} as const;
export type ContainerEventType = (typeof ContainerEventType)[keyof typeof ContainerEventType];

export const ProfileType = {
  RuntimeDefault: 0,
  Unconfined: 1,
  Localhost: 2,
} as const;
export type ProfileType = (typeof ProfileType)[keyof typeof ProfileType];

export interface VersionRequest {
  readonly version?: string;
}

export interface VersionResponse {
  readonly version?: string;
  readonly runtimeName?: string;
  readonly runtimeVersion?: string;
  readonly runtimeApiVersion?: string;
}

export interface StatusRequest {
  readonly verbose?: boolean;
}

export interface StatusResponse {
  readonly status?: RuntimeStatus | null;
  readonly info?: Readonly<Record<string, string>>;
  readonly runtimeHandlers?: readonly RuntimeHandler[];
  readonly features?: RuntimeFeatures | null;
}

export interface RuntimeStatus {
  readonly conditions?: readonly RuntimeCondition[];
}

export interface RuntimeCondition {
  readonly type?: string;
  readonly status?: boolean;
  readonly reason?: string;
  readonly message?: string;
}

export interface RuntimeHandler {
  readonly name?: string;
  readonly features?: RuntimeHandlerFeatures | null;
}

export interface RuntimeHandlerFeatures {
  readonly recursiveReadOnlyMounts?: boolean;
  readonly userNamespaces?: boolean;
}

export interface RuntimeFeatures {
  readonly supplementalGroupsPolicy?: boolean;
  readonly userNamespacesHostNetwork?: boolean;
}

export type RuntimeConfigRequest = Readonly<Record<string, never>>;

export interface RuntimeConfigResponse {
  readonly linux?: LinuxRuntimeConfiguration | null;
}

export interface LinuxRuntimeConfiguration {
  readonly cgroupDriver?: CgroupDriver;
}

export interface UpdateRuntimeConfigRequest {
  readonly runtimeConfig?: RuntimeConfig | null;
}

export interface RuntimeConfig {
  readonly networkConfig?: NetworkConfig | null;
}

export interface NetworkConfig {
  readonly podCidr?: string;
}

export type UpdateRuntimeConfigResponse = Readonly<Record<string, never>>;

export interface RunPodSandboxRequest {
  readonly config?: PodSandboxConfig | null;
  readonly runtimeHandler?: string;
}

export interface PodSandboxConfig {
  readonly metadata?: PodSandboxMetadata | null;
  readonly hostname?: string;
  readonly logDirectory?: string;
  readonly dnsConfig?: DNSConfig | null;
  readonly portMappings?: readonly PortMapping[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly linux?: LinuxPodSandboxConfig | null;
  readonly windows?: WindowsPodSandboxConfig | null;
}

export interface PodSandboxMetadata {
  readonly name?: string;
  readonly uid?: string;
  readonly namespace?: string;
  readonly attempt?: number;
}

export interface DNSConfig {
  readonly servers?: readonly string[];
  readonly searches?: readonly string[];
  readonly options?: readonly string[];
}

export interface PortMapping {
  readonly protocol?: Protocol;
  readonly containerPort?: number;
  readonly hostPort?: number;
  readonly hostIp?: string;
}

export interface LinuxPodSandboxConfig {
  readonly cgroupParent?: string;
  readonly securityContext?: LinuxSandboxSecurityContext | null;
  readonly sysctls?: Readonly<Record<string, string>>;
  readonly overhead?: LinuxContainerResources | null;
  readonly resources?: LinuxContainerResources | null;
}

export interface LinuxSandboxSecurityContext {
  readonly namespaceOptions?: NamespaceOption | null;
  readonly selinuxOptions?: SELinuxOption | null;
  readonly runAsUser?: Int64Value | null;
  readonly runAsGroup?: Int64Value | null;
  readonly readonlyRootfs?: boolean;
  readonly supplementalGroups?: readonly number[];
  readonly supplementalGroupsPolicy?: SupplementalGroupsPolicy;
  readonly privileged?: boolean;
  readonly seccomp?: SecurityProfile | null;
  readonly apparmor?: SecurityProfile | null;
  readonly seccompProfilePath?: string;
}

export interface NamespaceOption {
  readonly network?: NamespaceMode;
  readonly pid?: NamespaceMode;
  readonly ipc?: NamespaceMode;
  readonly targetId?: string;
  readonly usernsOptions?: UserNamespace | null;
}

export interface UserNamespace {
  readonly mode?: NamespaceMode;
  readonly uids?: readonly IDMapping[];
  readonly gids?: readonly IDMapping[];
}

export interface IDMapping {
  readonly hostId?: number;
  readonly containerId?: number;
  readonly length?: number;
}

export interface SELinuxOption {
  readonly user?: string;
  readonly role?: string;
  readonly type?: string;
  readonly level?: string;
}

export interface Int64Value {
  readonly value?: number;
}

export interface SecurityProfile {
  readonly profileType?: ProfileType;
  readonly localhostRef?: string;
}

export interface LinuxContainerResources {
  readonly cpuPeriod?: number;
  readonly cpuQuota?: number;
  readonly cpuShares?: number;
  readonly memoryLimitInBytes?: number;
  readonly oomScoreAdj?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly hugepageLimits?: readonly HugepageLimit[];
  readonly unified?: Readonly<Record<string, string>>;
  readonly memorySwapLimitInBytes?: number;
}

export interface HugepageLimit {
  readonly pageSize?: string;
  readonly limit?: number;
}

export interface WindowsPodSandboxConfig {
  readonly securityContext?: WindowsSandboxSecurityContext | null;
}

export interface WindowsSandboxSecurityContext {
  readonly runAsUsername?: string;
  readonly credentialSpec?: string;
  readonly hostProcess?: boolean;
  readonly namespaceOptions?: WindowsNamespaceOption | null;
}

export interface WindowsNamespaceOption {
  readonly network?: NamespaceMode;
}

export interface RunPodSandboxResponse {
  readonly podSandboxId?: string;
}

export interface StopPodSandboxRequest {
  readonly podSandboxId?: string;
}

export type StopPodSandboxResponse = Readonly<Record<string, never>>;

export interface RemovePodSandboxRequest {
  readonly podSandboxId?: string;
}

export type RemovePodSandboxResponse = Readonly<Record<string, never>>;

export interface PodSandboxStatusRequest {
  readonly podSandboxId?: string;
  readonly verbose?: boolean;
}

export interface PodSandboxStatusResponse {
  readonly status?: PodSandboxStatus | null;
  readonly info?: Readonly<Record<string, string>>;
  readonly containersStatuses?: readonly ContainerStatus[];
  readonly timestamp?: number;
}

export interface PodSandboxStatus {
  readonly id?: string;
  readonly metadata?: PodSandboxMetadata | null;
  readonly state?: PodSandboxState;
  readonly createdAt?: number;
  readonly network?: PodSandboxNetworkStatus | null;
  readonly linux?: LinuxPodSandboxStatus | null;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly runtimeHandler?: string;
}

export interface PodSandboxNetworkStatus {
  readonly ip?: string;
  readonly additionalIps?: readonly PodIP[];
}

export interface PodIP {
  readonly ip?: string;
}

export interface LinuxPodSandboxStatus {
  readonly namespaces?: Namespace | null;
}

export interface Namespace {
  readonly options?: NamespaceOption | null;
}

export interface ContainerStatus {
  readonly id?: string;
  readonly metadata?: ContainerMetadata | null;
  readonly state?: ContainerState;
  readonly createdAt?: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  readonly exitCode?: number;
  readonly image?: ImageSpec | null;
  readonly imageRef?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly mounts?: readonly Mount[];
  readonly logPath?: string;
  readonly resources?: ContainerResources | null;
  readonly imageId?: string;
  readonly user?: ContainerUser | null;
  readonly stopSignal?: Signal;
}

export interface ContainerMetadata {
  readonly name?: string;
  readonly attempt?: number;
}

export interface ImageSpec {
  readonly image?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly userSpecifiedImage?: string;
  readonly runtimeHandler?: string;
  readonly imageRef?: string;
}

export interface Mount {
  readonly containerPath?: string;
  readonly hostPath?: string;
  readonly readonly?: boolean;
  readonly selinuxRelabel?: boolean;
  readonly propagation?: MountPropagation;
  readonly uidMappings?: readonly IDMapping[];
  readonly gidMappings?: readonly IDMapping[];
  readonly recursiveReadOnly?: boolean;
  readonly image?: ImageSpec | null;
  readonly imageSubPath?: string;
}

export interface ContainerResources {
  readonly linux?: LinuxContainerResources | null;
  readonly windows?: WindowsContainerResources | null;
}

export interface WindowsContainerResources {
  readonly cpuShares?: number;
  readonly cpuCount?: number;
  readonly cpuMaximum?: number;
  readonly memoryLimitInBytes?: number;
  readonly rootfsSizeInBytes?: number;
  readonly affinityCpus?: readonly WindowsCpuGroupAffinity[];
}

export interface WindowsCpuGroupAffinity {
  readonly cpuMask?: number;
  readonly cpuGroup?: number;
}

export interface ContainerUser {
  readonly linux?: LinuxContainerUser | null;
}

export interface LinuxContainerUser {
  readonly uid?: number;
  readonly gid?: number;
  readonly supplementalGroups?: readonly number[];
}

export interface ListPodSandboxRequest {
  readonly filter?: PodSandboxFilter | null;
}

export interface PodSandboxFilter {
  readonly id?: string;
  readonly state?: PodSandboxStateValue | null;
  readonly labelSelector?: Readonly<Record<string, string>>;
}

export interface PodSandboxStateValue {
  readonly state?: PodSandboxState;
}

export interface ListPodSandboxResponse {
  readonly items?: readonly PodSandbox[];
}

export interface PodSandbox {
  readonly id?: string;
  readonly metadata?: PodSandboxMetadata | null;
  readonly state?: PodSandboxState;
  readonly createdAt?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly runtimeHandler?: string;
}

export interface CreateContainerRequest {
  readonly podSandboxId?: string;
  readonly config?: ContainerConfig | null;
  readonly sandboxConfig?: PodSandboxConfig | null;
}

export interface ContainerConfig {
  readonly metadata?: ContainerMetadata | null;
  readonly image?: ImageSpec | null;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly workingDir?: string;
  readonly envs?: readonly KeyValue[];
  readonly mounts?: readonly Mount[];
  readonly devices?: readonly Device[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly logPath?: string;
  readonly stdin?: boolean;
  readonly stdinOnce?: boolean;
  readonly tty?: boolean;
  readonly linux?: LinuxContainerConfig | null;
  readonly windows?: WindowsContainerConfig | null;
  readonly CDIDevices?: readonly CDIDevice[];
  readonly stopSignal?: Signal;
}

export interface KeyValue {
  readonly key?: string;
  readonly value?: Uint8Array;
}

export interface Device {
  readonly containerPath?: string;
  readonly hostPath?: string;
  readonly permissions?: string;
}

export interface LinuxContainerConfig {
  readonly resources?: LinuxContainerResources | null;
  readonly securityContext?: LinuxContainerSecurityContext | null;
}

export interface LinuxContainerSecurityContext {
  readonly capabilities?: Capability | null;
  readonly privileged?: boolean;
  readonly namespaceOptions?: NamespaceOption | null;
  readonly selinuxOptions?: SELinuxOption | null;
  readonly runAsUser?: Int64Value | null;
  readonly runAsGroup?: Int64Value | null;
  readonly runAsUsername?: string;
  readonly readonlyRootfs?: boolean;
  readonly supplementalGroups?: readonly number[];
  readonly supplementalGroupsPolicy?: SupplementalGroupsPolicy;
  readonly noNewPrivs?: boolean;
  readonly maskedPaths?: readonly string[];
  readonly readonlyPaths?: readonly string[];
  readonly seccomp?: SecurityProfile | null;
  readonly apparmor?: SecurityProfile | null;
  readonly apparmorProfile?: string;
  readonly seccompProfilePath?: string;
}

export interface Capability {
  readonly addCapabilities?: readonly string[];
  readonly dropCapabilities?: readonly string[];
  readonly addAmbientCapabilities?: readonly string[];
}

export interface WindowsContainerConfig {
  readonly resources?: WindowsContainerResources | null;
  readonly securityContext?: WindowsContainerSecurityContext | null;
}

export interface WindowsContainerSecurityContext {
  readonly runAsUsername?: string;
  readonly credentialSpec?: string;
  readonly hostProcess?: boolean;
}

export interface CDIDevice {
  readonly name?: string;
}

export interface CreateContainerResponse {
  readonly containerId?: string;
}

export interface StartContainerRequest {
  readonly containerId?: string;
}

export type StartContainerResponse = Readonly<Record<string, never>>;

export interface StopContainerRequest {
  readonly containerId?: string;
  readonly timeout?: number;
}

export type StopContainerResponse = Readonly<Record<string, never>>;

export interface RemoveContainerRequest {
  readonly containerId?: string;
}

export type RemoveContainerResponse = Readonly<Record<string, never>>;

export interface ListContainersRequest {
  readonly filter?: ContainerFilter | null;
}

export interface ContainerFilter {
  readonly id?: string;
  readonly state?: ContainerStateValue | null;
  readonly podSandboxId?: string;
  readonly labelSelector?: Readonly<Record<string, string>>;
}

export interface ContainerStateValue {
  readonly state?: ContainerState;
}

export interface ListContainersResponse {
  readonly containers?: readonly Container[];
}

export interface Container {
  readonly id?: string;
  readonly podSandboxId?: string;
  readonly metadata?: ContainerMetadata | null;
  readonly image?: ImageSpec | null;
  readonly imageRef?: string;
  readonly state?: ContainerState;
  readonly createdAt?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly imageId?: string;
}

export interface ContainerStatusRequest {
  readonly containerId?: string;
  readonly verbose?: boolean;
}

export interface ContainerStatusResponse {
  readonly status?: ContainerStatus | null;
  readonly info?: Readonly<Record<string, string>>;
}

export interface UpdateContainerResourcesRequest {
  readonly containerId?: string;
  readonly linux?: LinuxContainerResources | null;
  readonly windows?: WindowsContainerResources | null;
  readonly annotations?: Readonly<Record<string, string>>;
}

export type UpdateContainerResourcesResponse = Readonly<Record<string, never>>;

export interface ReopenContainerLogRequest {
  readonly containerId?: string;
}

export type ReopenContainerLogResponse = Readonly<Record<string, never>>;

export interface ExecSyncRequest {
  readonly containerId?: string;
  readonly cmd?: readonly string[];
  readonly timeout?: number;
}

export interface ExecSyncResponse {
  readonly stdout?: Uint8Array;
  readonly stderr?: Uint8Array;
  readonly exitCode?: number;
}

export interface ExecRequest {
  readonly containerId?: string;
  readonly cmd?: readonly string[];
  readonly tty?: boolean;
  readonly stdin?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
}

export interface ExecResponse {
  readonly url?: string;
}

export interface AttachRequest {
  readonly containerId?: string;
  readonly stdin?: boolean;
  readonly tty?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
}

export interface AttachResponse {
  readonly url?: string;
}

export interface PortForwardRequest {
  readonly podSandboxId?: string;
  readonly port?: readonly number[];
}

export interface PortForwardResponse {
  readonly url?: string;
}

export type GetEventsRequest = Readonly<Record<string, never>>;

export interface ContainerEventResponse {
  readonly containerId?: string;
  readonly containerEventType?: ContainerEventType;
  readonly createdAt?: number;
  readonly podSandboxStatus?: PodSandboxStatus | null;
  readonly containersStatuses?: readonly ContainerStatus[];
}

export interface ListImagesRequest {
  readonly filter?: ImageFilter | null;
}

export interface ImageFilter {
  readonly image?: ImageSpec | null;
}

export interface ListImagesResponse {
  readonly images?: readonly Image[];
}

export interface Image {
  readonly id?: string;
  readonly repoTags?: readonly string[];
  readonly repoDigests?: readonly string[];
  readonly size?: number;
  readonly uid?: Int64Value | null;
  readonly username?: string;
  readonly spec?: ImageSpec | null;
  readonly pinned?: boolean;
}

export interface ImageStatusRequest {
  readonly image?: ImageSpec | null;
  readonly verbose?: boolean;
}

export interface ImageStatusResponse {
  readonly image?: Image | null;
  readonly info?: Readonly<Record<string, string>>;
}

export interface PullImageRequest {
  readonly image?: ImageSpec | null;
  readonly auth?: AuthConfig | null;
  readonly sandboxConfig?: PodSandboxConfig | null;
}

export interface AuthConfig {
  readonly username?: string;
  readonly password?: string;
  readonly auth?: string;
  readonly serverAddress?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

export interface PullImageResponse {
  readonly imageRef?: string;
}

export interface RemoveImageRequest {
  readonly image?: ImageSpec | null;
}

export type RemoveImageResponse = Readonly<Record<string, never>>;

export type ImageFsInfoRequest = Readonly<Record<string, never>>;

export interface ImageFsInfoResponse {
  readonly imageFilesystems?: readonly FilesystemUsage[];
  readonly containerFilesystems?: readonly FilesystemUsage[];
}

export interface FilesystemUsage {
  readonly timestamp?: number;
  readonly fsId?: FilesystemIdentifier | null;
  readonly usedBytes?: UInt64Value | null;
  readonly inodesUsed?: UInt64Value | null;
}

export interface FilesystemIdentifier {
  readonly mountpoint?: string;
}

export interface UInt64Value {
  readonly value?: number;
}

export interface ListContainerStatsRequest {
  readonly filter?: ContainerStatsFilter | null;
}

export interface ContainerStatsFilter {
  readonly id?: string;
  readonly podSandboxId?: string;
  readonly labelSelector?: Readonly<Record<string, string>>;
}

export interface ListContainerStatsResponse {
  readonly stats?: readonly ContainerStats[];
}

export interface ContainerStats {
  readonly attributes?: ContainerAttributes | null;
  readonly cpu?: CpuUsage | null;
  readonly memory?: MemoryUsage | null;
  readonly writableLayer?: FilesystemUsage | null;
  readonly swap?: SwapUsage | null;
  readonly io?: IoUsage | null;
}

export interface ContainerAttributes {
  readonly id?: string;
  readonly metadata?: ContainerMetadata | null;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface CpuUsage {
  readonly timestamp?: number;
  readonly usageCoreNanoSeconds?: UInt64Value | null;
  readonly usageNanoCores?: UInt64Value | null;
  readonly psi?: PsiStats | null;
}

export interface MemoryUsage {
  readonly timestamp?: number;
  readonly workingSetBytes?: UInt64Value | null;
  readonly availableBytes?: UInt64Value | null;
  readonly usageBytes?: UInt64Value | null;
  readonly rssBytes?: UInt64Value | null;
  readonly pageFaults?: UInt64Value | null;
  readonly majorPageFaults?: UInt64Value | null;
  readonly psi?: PsiStats | null;
}

export interface SwapUsage {
  readonly timestamp?: number;
  readonly swapAvailableBytes?: UInt64Value | null;
  readonly swapUsageBytes?: UInt64Value | null;
}

export interface IoUsage {
  readonly timestamp?: number;
  readonly psi?: PsiStats | null;
}

export interface PsiStats {
  readonly Full?: PsiData | null;
  readonly Some?: PsiData | null;
}

export interface PsiData {
  readonly Total?: number;
  readonly Avg10?: number;
  readonly Avg60?: number;
  readonly Avg300?: number;
}
