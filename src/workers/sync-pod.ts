import type { Node, Pod } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { eventReason } from '../api/reasons.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { computePodActions } from '../kuberuntime/compute-pod-actions.ts';
import type { ImagePuller } from '../kuberuntime/image-puller.ts';
import type { PodActions } from '../kuberuntime/pod-actions.ts';
import type { PodDirs } from '../kuberuntime/pod-dirs.ts';
import { containerReference, podReference } from '../kuberuntime/pod-reference.ts';
import type { PodRuntime } from '../kuberuntime/pod-runtime.ts';
import type { SyncResult } from '../kuberuntime/sync-result.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, adviceOf, errorFields, isAbort, withHint } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { nodeAffinityReason } from '../pod/admit.ts';
import type { AdmissionDecision } from '../pod/decide-admission.ts';
import type { IsolationFacts } from '../pod/isolation-violation.ts';
import type { ObservedPod } from '../pod/observed.ts';
import type { Pleg } from '../pod/pleg.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import type { DesiredPod, PodManager } from '../pod/pod-manager.ts';
import type { PodNotes } from '../pod/pod-notes.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import {
  containerResources,
  type ResourceOptions,
  sandboxOverhead,
  sandboxResources,
} from '../resources/compute-cgroup-values.ts';
import type { QosCgroups } from '../resources/qos-cgroups.ts';
import { VolumeError } from '../volumes/volume-error.ts';
import { ActiveDeadlines } from './active-deadlines.ts';
import { Admission } from './admission.ts';
import type { PodResizes } from './pod-resizes.ts';
import type { PodSteps, SyncOutcome, WorkerMemory } from './pod-workers.ts';
import type { ContainerProblem } from './problems.ts';

/** What a sync needs of the volumes. */
export interface PodVolumes {
  setUp(pod: Pod, uid: PodUid, signal: AbortSignal): Promise<ReadonlyMap<string, { readonly hostPath: string }>>;
  tearDown(uid: PodUid, signal: AbortSignal): Promise<void>;
  removePodDir(uid: PodUid): Promise<void>;
}

export interface SyncPodOptions {
  readonly cache: PodCache;
  readonly pleg: Pleg;
  readonly runtime: PodRuntime;
  readonly puller: ImagePuller;
  readonly volumes: PodVolumes;
  readonly cgroups: QosCgroups;
  readonly dirs: PodDirs;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly log: Log;
  readonly resources: ResourceOptions;
  readonly maxBackoffMs: number;
  readonly isolation: IsolationFacts;
  readonly manager: PodManager;
  readonly probes: ProbeView;
  readonly notes: PodNotes;
  readonly resizes: PodResizes;
  /** The pod's startTime as it is reported, RFC 3339. */
  readonly startTime: (uid: PodUid) => string | undefined;
  readonly node: () => Node | undefined;
  /** Resolves when `node` gives what the API server has now, as far as that can be had. */
  readonly refreshNode: (signal: AbortSignal) => Promise<void>;
  /** Looks at a pod again. */
  readonly wake: (uid: PodUid) => void;
  /**
   * Resolves when no Service leads new connections to the pod any more, unless nobody else serves it. Soon, whatever
   * goes wrong; rejects only when the signal aborts.
   */
  readonly leaveServices: (uid: PodUid, signal: AbortSignal) => Promise<void>;
  /** Why pods cannot have a network now, or undefined. Host-network pods do not care. */
  readonly networkProblem: () => string | undefined;
}

/** The transaction script of a pod: what each phase of its worker does, in order. */
export class SyncPod implements PodSteps {
  readonly #o: SyncPodOptions;
  readonly #admission: Admission;
  readonly #deadlines: ActiveDeadlines;

  constructor(options: SyncPodOptions) {
    this.#o = options;
    this.#admission = new Admission({ ...options, granted: (desired) => options.resizes.granted(desired) });
    this.#deadlines = new ActiveDeadlines(options);
  }

  /**
   * 1. A pod that is new here is admitted, or the sync ends with the reason.
   *    From here on the pod is seen with the resources that it was granted.
   * 2. A pod whose time is over is ended.
   * 3. Observed and desired are compared; what must not run is stopped.
   *    Cgroups follow what was granted.
   * 4. If anything is to start: cgroup, folders, volumes, then sandbox and containers with their hooks.
   * 5. The runtime is looked at again, so that the status shows what was done.
   */
  async sync(wanted: DesiredPod, memory: WorkerMemory, signal: AbortSignal): Promise<SyncOutcome> {
    const { cache, clock, runtime, maxBackoffMs, probes, resizes } = this.#o;
    const { uid } = wanted;
    const observed = cache.get(uid);
    if (!this.#admission.isIn(uid)) {
      const decision = await this.#enter(wanted, observed, signal);
      if (decision.type === 'reject') return this.#reject(wanted, memory, decision);
      // Others have to leave first, and whoever leaves has this pod looked at again.
      if (decision.type === 'wait') {
        memory.tell?.({ kind: 'room' });
        return { problems: new Map(), backoffs: memory.backoffs, waitsFor: true };
      }
    }
    const desired = resizes.consider(wanted, observed, () => this.#admission.fits(wanted));
    const { pod } = desired;
    const { backoffs } = memory;
    // Whoever ended it has woken the worker for the next phase.
    if (this.#deadlines.watch(desired)) return { problems: new Map(), backoffs };
    const restartForResize = resizes.restarting(uid);
    const now = clock.now();
    const actions = computePodActions({ pod, observed, probes, backoffs, maxBackoffMs, restartForResize, now });
    if (actions.completed) {
      return { terminate: { kind: 'completed' }, problems: new Map(), backoffs: actions.backoffs };
    }
    await runtime.clear(desired, actions, signal);
    const resizeAt = await resizes.carryOut(
      desired,
      () => cache.get(uid),
      () => this.activePods(),
      signal,
    );
    let results: readonly SyncResult[] = [];
    if (actions.start.length > 0) {
      results = await this.#start(desired, actions, memory, signal).catch((error: unknown) => {
        this.#tellOfFiles(desired.pod, error);
        throw error;
      });
    } else await this.#keepVolumes(desired, signal);
    this.#reportBackOff(desired, actions, memory);
    await this.#observe(uid, actions, results, signal);
    return this.#outcome(desired, actions, results, resizeAt);
  }

  /** The pod's binding may be younger than what we know of the node's labels. */
  async #enter(wanted: DesiredPod, observed: ObservedPod | undefined, signal: AbortSignal): Promise<AdmissionDecision> {
    const decision = this.#admission.enter(wanted, observed);
    if (decision.type !== 'reject' || decision.reason !== nodeAffinityReason) return decision;
    await this.#o.refreshNode(signal);
    return this.#admission.enter(wanted, observed);
  }

  /** Takes up what was just started; anything more than that, or less, is worth a look at the whole pod. */
  async #observe(uid: PodUid, actions: PodActions, results: readonly SyncResult[], signal: AbortSignal): Promise<void> {
    const started = results.filter((r) => r.ok).map((r) => ({ id: r.id, name: r.target, sandboxId: r.sandboxId }));
    const onlyStarted = !clearsRuntime(actions) && started.length === actions.start.length;
    if (!onlyStarted) await this.#o.pleg.refresh(uid, signal);
    else if (started.length > 0) await this.#o.pleg.sawContainers(uid, started, signal);
  }

  activePods(): readonly Pod[] {
    return this.#admission.activePods();
  }

  /** Connections go elsewhere before a container is told to end. */
  async stop(
    uid: PodUid,
    desired: DesiredPod | undefined,
    gracePeriodSeconds: number,
    signal: AbortSignal,
  ): Promise<void> {
    this.#deadlines.forget(uid);
    const [observed] = await Promise.all([this.#o.pleg.refresh(uid, signal), this.#o.leaveServices(uid, signal)]);
    await this.#o.runtime.stop(uid, desired, observed, gracePeriodSeconds, signal);
  }

  async clean(uid: PodUid, desired: DesiredPod | undefined, signal: AbortSignal): Promise<void> {
    await this.#o.volumes.tearDown(uid, signal);
    this.#admission.left(uid);
    this.#o.resizes.forget(uid);
    this.#o.resizes.roomFreed();
    if (!desired) return; // Known from the runtime alone: housekeeping finds its cgroup by the UID.
    await this.#o.cgroups.removePod(this.#o.cgroups.nameOf(desired.pod), signal);
    await this.#o.cgroups.setActivePods(this.activePods(), signal);
  }

  async purge(uid: PodUid, desired: DesiredPod | undefined, signal: AbortSignal): Promise<void> {
    const observed = this.#o.cache.get(uid);
    const { name, namespace = 'default' } = desired?.pod.metadata ?? observed ?? {};
    if (name !== undefined) await this.#o.runtime.remove(uid, { name, namespace }, observed, signal);
    await this.#o.notes.forget(uid);
    await this.#o.volumes.removePodDir(uid);
  }

  async #start(
    desired: DesiredPod,
    actions: PodActions,
    memory: WorkerMemory,
    signal: AbortSignal,
  ): Promise<SyncResult[]> {
    const { cgroups, dirs, resources, runtime } = this.#o;
    const { pod, uid } = desired;
    const trouble = pod.spec.hostNetwork ? undefined : this.#o.networkProblem();
    if (trouble) {
      memory.tell?.({ kind: 'network' });
      const message = `network is not ready: ${trouble}`;
      this.#o.events.event(podReference(pod), 'Warning', eventReason.networkNotReady, message);
      throw new AgentError('NetworkNotReady', message, { retryable: true });
    }
    await cgroups.setActivePods(this.activePods(), signal);
    const resizing = this.#o.resizes.isResizing(uid);
    const cgroupParent = await (resizing ? cgroups.keepPod(pod, signal) : cgroups.ensurePod(pod, signal));
    await dirs.create(uid, pod);
    this.#o.resizes.settle(uid);
    memory.tell?.({ kind: 'volumes' });
    const volumes = await this.#setUpVolumes(desired, signal);
    return runtime.start(
      desired,
      actions,
      {
        cgroupParent,
        sandboxResources: sandboxResources(pod, resources),
        overhead: sandboxOverhead(pod, resources),
        containerResources: (container) => containerResources(pod, container, resources),
        volumes,
        tell: memory.tell,
      },
      signal,
    );
  }

  /** Volumes of a pod that runs follow its objects and fields; one that cannot must not disturb what runs. */
  async #keepVolumes(desired: DesiredPod, signal: AbortSignal): Promise<void> {
    await this.#setUpVolumes(desired, signal).catch((error: unknown) => {
      if (isAbort(error)) throw error;
      this.#o.log.warn({ podUid: desired.uid, ...errorFields(error) }, 'volumes of a running pod are not up to date');
    });
  }

  async #setUpVolumes(desired: DesiredPod, signal: AbortSignal) {
    try {
      return await this.#o.volumes.setUp(desired.pod, desired.uid, signal);
    } catch (error) {
      if (!isAbort(error)) {
        // One event for each volume, so that each can be counted and goes away by itself.
        const { failedMount } = eventReason;
        const failures =
          error instanceof VolumeError
            ? error.failures
            : [{ reason: failedMount, message: adviceOf(error), hint: undefined }];
        const ref = podReference(desired.pod);
        for (const { reason, message, hint } of failures)
          this.#o.events.event(ref, 'Warning', reason, withHint(message, hint));
      }
      throw error;
    }
  }

  /** Volumes, network and runtime tell of their own failures; what is left is that the pod's files cannot be written. */
  #tellOfFiles(pod: Pod, error: unknown): void {
    if (!(error instanceof AgentError) || !['DiskFull', 'WriteFailed'].includes(error.code)) return;
    this.#o.events.event(podReference(pod), 'Warning', eventReason.failedSync, `Error syncing pod: ${adviceOf(error)}`);
  }

  #reject(
    desired: DesiredPod,
    memory: WorkerMemory,
    verdict: { readonly reason: string; readonly message: string },
  ): SyncOutcome {
    const { reason, message } = verdict;
    this.#o.events.event(podReference(desired.pod), 'Warning', reason, message);
    return { terminate: { kind: 'rejected', reason, message }, problems: new Map(), backoffs: memory.backoffs };
  }

  /** One event per delayed restart, not one per look. */
  #reportBackOff(desired: DesiredPod, actions: PodActions, memory: WorkerMemory): void {
    const { name, namespace, uid } = desired.pod.metadata;
    for (const wait of actions.waiting) {
      if (memory.backoffs.get(wait.name)?.lastEndAt === actions.backoffs.get(wait.name)?.lastEndAt) continue;
      const message = `Back-off restarting failed container ${wait.name} in pod ${name}_${namespace}(${uid})`;
      this.#o.events.event(containerReference(desired.pod, wait.name), 'Warning', eventReason.backOff, message);
    }
  }

  #outcome(
    desired: DesiredPod,
    actions: PodActions,
    results: readonly SyncResult[],
    resizeAt: number | undefined,
  ): SyncOutcome {
    const problems = new Map<string, ContainerProblem>();
    for (const { name, reason, message, notBefore } of actions.waiting)
      problems.set(name, { reason, message, until: notBefore });
    const due = actions.waiting.map((w) => w.notBefore);
    if (resizeAt !== undefined) due.push(resizeAt);
    for (const result of results) {
      if (result.ok) continue;
      const container = actions.start.find((s) => s.container.name === result.target)?.container;
      const retryAt = container && this.#o.puller.retryAt(desired.pod, container);
      const until = Math.max(retryAt ?? 0, this.#o.clock.now() + failedStartRetryMs);
      problems.set(result.target, { reason: result.reason, message: result.message, until });
      due.push(until);
    }
    return { problems, backoffs: actions.backoffs, ...(due.length > 0 ? { wakeAt: Math.min(...due) } : {}) };
  }
}

/** A container whose configuration or creation failed is tried again after upstream's pod worker delay. */
const failedStartRetryMs = 10_000;

const clearsRuntime = (actions: PodActions): boolean =>
  actions.kill.length +
    actions.stopSandboxes.length +
    actions.removeContainers.length +
    actions.removeSandboxes.length >
  0;
