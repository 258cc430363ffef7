/**
 * Every reason that users, dashboards and runbooks match on, spelled as upstream spells it
 * (k8s: pkg/kubelet/events/event.go, pkg/kubelet/container/sync_result.go, pkg/kubelet/status).
 */
export const eventReason = {
  created: 'Created',
  started: 'Started',
  failed: 'Failed',
  killing: 'Killing',
  backOff: 'BackOff',
  pulling: 'Pulling',
  pulled: 'Pulled',
  errImageNeverPull: 'ErrImageNeverPull',
  inspectFailed: 'InspectFailed',
  failedToInspectImage: 'FailedToInspectImage',
  sandboxChanged: 'SandboxChanged',
  failedCreatePodSandBox: 'FailedCreatePodSandBox',
  failedKillPod: 'FailedKillPod',
  failedMount: 'FailedMount',
  failedSync: 'FailedSync',
  failedValidation: 'FailedValidation',
  networkNotReady: 'NetworkNotReady',
  unhealthy: 'Unhealthy',
  probeWarning: 'ProbeWarning',
  failedPostStartHook: 'FailedPostStartHook',
  failedPreStopHook: 'FailedPreStopHook',
  lifecycleHttpFallback: 'LifecycleHTTPFallback',
  preempting: 'Preempting',
  deadlineExceeded: 'DeadlineExceeded',
  exceededGracePeriod: 'ExceededGracePeriod',
  failedMapVolume: 'FailedMapVolume',
  volumePermissionChangeInProgress: 'VolumePermissionChangeInProgress',
  alreadyMountedVolume: 'AlreadyMountedVolume',
  // Ours: upstream only logs.
  orphanedPodRemoved: 'OrphanedPodRemoved',
  orphanedPodNotRemoved: 'OrphanedPodNotRemoved',
  dnsConfigForming: 'DNSConfigForming',
  failedToRetrieveImagePullSecret: 'FailedToRetrieveImagePullSecret',
  resizeDeferred: 'ResizeDeferred',
  resizeInfeasible: 'ResizeInfeasible',
  resizeStarted: 'ResizeStarted',
  resizeCompleted: 'ResizeCompleted',
  resizeError: 'ResizeError',
} as const;

/** Why a container waits, in its status. */
export const waitingReason = {
  containerCreating: 'ContainerCreating',
  podInitializing: 'PodInitializing',
  crashLoopBackOff: 'CrashLoopBackOff',
  imagePullBackOff: 'ImagePullBackOff',
  errImagePull: 'ErrImagePull',
  errImageNeverPull: 'ErrImageNeverPull',
  imageInspectError: 'ImageInspectError',
  invalidImageName: 'InvalidImageName',
  registryUnavailable: 'RegistryUnavailable',
  signatureValidationFailed: 'SignatureValidationFailed',
  createContainerConfigError: 'CreateContainerConfigError',
  createContainerError: 'CreateContainerError',
  runContainerError: 'RunContainerError',
  postStartHookError: 'PostStartHookError',
} as const;

export const terminatedReason = {
  completed: 'Completed',
  error: 'Error',
  unknown: 'ContainerStatusUnknown',
  oomKilled: 'OOMKilled',
  startError: 'StartError',
} as const;

export const podCondition = {
  readyToStartContainers: 'PodReadyToStartContainers',
  initialized: 'Initialized',
  ready: 'Ready',
  containersReady: 'ContainersReady',
  scheduled: 'PodScheduled',
  disruptionTarget: 'DisruptionTarget',
  resizePending: 'PodResizePending',
  resizeInProgress: 'PodResizeInProgress',
  allContainersRestarting: 'AllContainersRestarting',
} as const;

export const conditionReason = {
  containersNotReady: 'ContainersNotReady',
  containersNotInitialized: 'ContainersNotInitialized',
  unknownContainerStatuses: 'UnknownContainerStatuses',
  readinessGatesNotReady: 'ReadinessGatesNotReady',
  podCompleted: 'PodCompleted',
  podFailed: 'PodFailed',
  terminationByKubelet: 'TerminationByKubelet',
  restartAllContainersStarted: 'RestartAllContainersStarted',
  error: 'Error',
} as const;
