import { join } from 'node:path';
import type { Node, RuntimeClass, Service } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import type { PodUid } from '../api/ids.ts';
import { podKey } from '../api/pod.ts';
import { quantityValue } from '../api/quantity.ts';
import type { Config } from '../config/config.ts';
import { subscribeContainerdEvents } from '../cri/containerd-events.ts';
import { BadObjects } from '../kubeapi/bad-objects.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import { EnvObjects } from '../kuberuntime/env-objects.ts';
import { LogRotator } from '../kuberuntime/log-rotator.ts';
import { PodDirs } from '../kuberuntime/pod-dirs.ts';
import { podReference } from '../kuberuntime/pod-reference.ts';
import { PodRuntime } from '../kuberuntime/pod-runtime.ts';
import { fetchPullSecrets } from '../kuberuntime/pull-secrets.ts';
import type { SandboxMaker } from '../kuberuntime/sandbox-maker.ts';
import { lastWordsOf } from '../kuberuntime/termination-message.ts';
import { systemClock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { Pleg } from '../pod/pleg.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { PodChanges } from '../pod/pod-changes.ts';
import { type PodChange, PodManager } from '../pod/pod-manager.ts';
import { PodNotes } from '../pod/pod-notes.ts';
import { RuntimeEvents } from '../pod/runtime-events.ts';
import { allowedSysctls } from '../pod/sysctl-violation.ts';
import { type ProbedPod, ProbeManager } from '../probes/probe-manager.ts';
import { MirrorPods } from '../status/mirror-pods.ts';
import { StatusManager } from '../status/status-manager.ts';
import type { ObjectSource } from '../volumes/object-source.ts';
import type { VolumeManager } from '../volumes/volume-manager.ts';
import { PodResizes } from '../workers/pod-resizes.ts';
import { PodWorkers } from '../workers/pod-workers.ts';
import { SyncPod } from '../workers/sync-pod.ts';
import { instrumentSteps } from '../workers/worker-metrics.ts';
import { isEnding, isStopped } from '../workers/worker-state.ts';
import type { HostParts } from './host-parts.ts';
import { buildImagePuller } from './image-parts.ts';
import { countEnds, type Metrics, measurePulls } from './metrics-part.ts';
import { buildSandboxMaker } from './sandboxes.ts';

export interface PodsHalfInput {
  readonly config: Config;
  readonly host: HostParts;
  readonly api: KubeApi | undefined;
  readonly events: EventSink;
  readonly volumes: VolumeManager;
  readonly objects: ObjectSource;
  readonly node: () => Node | undefined;
  readonly refreshNode: (signal: AbortSignal) => Promise<void>;
  readonly services: () => Iterable<Service>;
  /** Resolves when a pod that has begun to end is out of the rules. */
  readonly leaveServices: (uid: PodUid, signal: AbortSignal) => Promise<void>;
  /** Resolves when the Services have been read. */
  readonly servicesSynced: Promise<void>;
  readonly networkProblem: () => string | undefined;
  /** RuntimeClasses by name, as the API server has them now; undefined on a node without one. */
  readonly runtimeClasses: ReadonlyMap<string, RuntimeClass> | undefined;
  readonly runtimeHandlers: () => readonly cri.RuntimeHandler[];
  /** What the runtime calls itself; empty until it has answered. */
  readonly runtimeName: () => string;
  readonly sourcesReady: () => boolean;
  /** Called when a pod's derived status changed. */
  readonly statusChanged: (uid: PodUid) => void;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** The kubelet's half, wired: desired → workers → runtime → observed → status. */
export interface PodsHalf {
  readonly manager: PodManager;
  readonly cache: PodCache;
  readonly changes: PodChanges;
  readonly logRotator: LogRotator;
  readonly pleg: Pleg;
  readonly runtimeEvents: RuntimeEvents;
  readonly workers: PodWorkers;
  readonly sandboxes: SandboxMaker;
  readonly probes: ProbeManager;
  readonly statuses: StatusManager;
  readonly notes: PodNotes;
  readonly mirrors: MirrorPods | undefined;
}

export function buildPodsHalf(input: PodsHalfInput): PodsHalf {
  const { config, host, api, events, metrics, log } = input;
  const { kubelet, flags } = config;
  const clock = systemClock;
  const { runtime, images } = host.cri;
  const cache = new PodCache();
  const notes = new PodNotes({ rootDir: flags.rootDir, log });
  // The only backward arrow: a key, and whoever is woken reads both truths anew.
  const wake = (uid: PodUid) => {
    probes.sync(uid);
    workers.wake(uid);
    statuses.wake(uid);
    changes.tell(uid);
    logRotator.podChanged(uid);
  };
  const changes = new PodChanges();
  const told = (uid: PodUid, change: PodChange) => {
    metrics.podStarts.saw(uid, manager.get(uid));
    if (change === 'desired') wake(uid);
    else statuses.wake(uid);
  };
  const bad = new BadObjects(log);
  const manager: PodManager = new PodManager(clock.now, told, (pod, holder) =>
    bad.found(`Pod ${podKey(pod)}`, [`metadata.uid ${pod.metadata.uid} is that of ${podKey(holder)}`]),
  );
  const probes: ProbeManager = new ProbeManager({
    runtime,
    cache,
    notes,
    pod: (uid) => probedPod(manager, workers, uid),
    duration: metrics.probeDuration,
    hostIPs: host.nodeIps,
    events,
    clock,
    log,
    wake,
    answered: (uid) => statuses.wake(uid),
  });
  const logRotator: LogRotator = new LogRotator({
    podLogsDir: kubelet.podLogsDir,
    cache,
    runtime,
    maxSize: quantityValue(kubelet.containerLogMaxSize),
    maxFiles: kubelet.containerLogMaxFiles,
    maxWorkers: kubelet.containerLogMaxWorkers,
    monitorIntervalMs: kubelet.containerLogMonitorInterval,
    clock,
    log,
  });
  const ended = countEnds(metrics.terminated, manager);
  const pleg = new Pleg({
    runtime,
    cache,
    clock,
    log,
    wake,
    terminationMessage: lastWordsOf,
    metrics: metrics.pleg,
    ended,
  });
  const dirs = new PodDirs({
    rootDir: flags.rootDir,
    podLogsDir: kubelet.podLogsDir,
    clusterDomain: kubelet.clusterDomain,
  });
  const puller = buildImagePuller(config, measurePulls(images, metrics.podStarts), api, metrics.images, log);
  let servicesRead = false;
  void input.servicesSynced.then(() => {
    servicesRead = true;
    workers.wakeAll();
  });
  const sandboxes = buildSandboxMaker(input);
  const podRuntime = new PodRuntime({
    runtime,
    pleg,
    puller,
    dirs,
    events,
    clock,
    notes,
    log,
    containers: {
      dirs,
      security: {
        seccompRoot: join(flags.rootDir, 'seccomp'),
        seccompDefault: kubelet.seccompDefault,
        maskedPaths: host.confinement.thermalPaths,
      },
      services: input.services,
      servicesRead: () => servicesRead,
      envObjects: new EnvObjects({ objects: input.objects, wake: (uid) => workers.wake(uid) }),
      subPaths: input.volumes,
      allocatable: () => input.node()?.status?.allocatable ?? {},
      hostIPs: host.nodeIps,
      handlers: input.runtimeHandlers,
      selinux: host.facts.selinux,
      log,
    },
    sandboxes,
    metrics: metrics.containers,
    hookMetrics: metrics.hooks,
    hostIPs: host.nodeIps,
    pullSecrets: (pod) =>
      fetchPullSecrets(pod, input.objects, (type, reason, message) =>
        events.event(podReference(pod), type, reason, message),
      ),
  });
  const resizes = new PodResizes({
    notes,
    pleg,
    runtime,
    cgroups: host.qosCgroups,
    resources: host.resources,
    capacity: host.capacity,
    events,
    clock,
    log,
    wake: (uid) => workers.wake(uid),
  });
  const steps = new SyncPod({
    cache,
    pleg,
    manager,
    runtime: podRuntime,
    puller,
    volumes: input.volumes,
    cgroups: host.qosCgroups,
    dirs,
    events,
    clock,
    log,
    resources: host.resources,
    maxBackoffMs: kubelet.crashLoopBackOff.maxContainerRestartPeriod,
    isolation: {
      allowedSysctls: allowedSysctls(kubelet.allowedUnsafeSysctls, host.facts.kernelVersion),
      appArmor: host.confinement.appArmor,
    },
    probes: probes.view,
    notes,
    resizes,
    startTime: (uid) => statuses.get(uid)?.startTime,
    node: input.node,
    refreshNode: input.refreshNode,
    wake: (uid) => workers.wake(uid),
    networkProblem: input.networkProblem,
    leaveServices: input.leaveServices,
  });
  const workers: PodWorkers = new PodWorkers({
    manager,
    cache,
    steps: instrumentSteps(steps, { manager, metrics: metrics.workers, clock }),
    clock,
    log,
    sourcesReady: input.sourcesReady,
    syncFrequencyMs: kubelet.syncFrequency,
    changed: (uid) => {
      probes.sync(uid);
      statuses.wake(uid);
    },
  });
  const statuses: StatusManager = new StatusManager({
    manager,
    cache,
    worker: (uid) => workers.view(uid),
    probes: probes.view,
    lastAnswer: (container, type) => probes.last(container, type),
    resizes,
    api,
    hostIPs: host.nodeIps,
    runtimeName: input.runtimeName,
    clock,
    log,
    changed: (uid) => {
      metrics.podStarts.derived(manager.get(uid), statuses.get(uid));
      input.statusChanged(uid);
    },
    syncDuration: metrics.statusSync,
    pullProgress: (image) => puller.howFar(image),
  });
  const containerdEvents = (signal: AbortSignal) =>
    subscribeContainerdEvents({ endpoint: kubelet.containerRuntimeEndpoint, clock, log }, signal);
  const runtimeEvents = new RuntimeEvents({ runtime, pleg, containerdEvents, clock, log });
  const mirrors = api && new MirrorPods({ api, manager, node: input.node, log });
  return {
    manager,
    cache,
    changes,
    logRotator,
    pleg,
    runtimeEvents,
    workers,
    sandboxes,
    probes,
    statuses,
    notes,
    mirrors,
  };
}

/** Before the workers begin, the pods that are wanted are taken for pods that go on: verdicts are there when the first look comes. */
function probedPod(manager: PodManager, workers: PodWorkers, uid: PodUid): ProbedPod | undefined {
  const view = workers.view(uid);
  const desired = manager.get(uid) ?? view?.desired;
  if (!desired || (view && isStopped(view.state))) return undefined;
  const { pod, source } = desired;
  const terminating = view ? isEnding(view.state) : pod.metadata.deletionTimestamp !== undefined;
  return { pod, mirror: source === 'file' ? manager.mirrorOf(pod)?.pod : undefined, terminating };
}
