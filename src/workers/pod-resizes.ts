import type { Pod } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { qosClass } from '../api/pod.ts';
import { eventReason, podCondition } from '../api/reasons.ts';
import type { RuntimeService } from '../cri/services.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { applyResize } from '../kuberuntime/apply-resize.ts';
import { podReference } from '../kuberuntime/pod-reference.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { AdmissionDecision } from '../pod/decide-admission.ts';
import { newestContainer, type ObservedPod } from '../pod/observed.ts';
import type { Pleg } from '../pod/pleg.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';
import type { PodNotes, Resizing } from '../pod/pod-notes.ts';
import { allocatedPod, allocationOf, isResizable } from '../resources/allocation.ts';
import type { ResourceOptions } from '../resources/compute-cgroup-values.ts';
import { computeResize } from '../resources/compute-resize.ts';
import {
  compareResizes,
  containersToRestart,
  infeasible,
  type NodeCapacity,
  type PendingResize,
  type ResizeRefusal,
} from '../resources/decide-resize.ts';
import type { QosCgroups } from '../resources/qos-cgroups.ts';
import { resizeMessage } from './resize-message.ts';

export interface PodResizesOptions {
  readonly notes: PodNotes;
  readonly pleg: Pleg;
  readonly runtime: RuntimeService;
  readonly cgroups: QosCgroups;
  readonly resources: ResourceOptions;
  readonly capacity: NodeCapacity;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly log: Log;
  /** Looks at a pod again. */
  readonly wake: (uid: PodUid) => void;
}

/** What is to be said of a pod's resize, in its conditions. */
export interface ResizeView {
  readonly pending?: ResizeRefusal & { readonly generation: number };
  readonly inProgress?: { readonly generation: number; readonly error?: string };
}

type Pending = PendingResize & ResizeRefusal & { readonly generation: number };

/** A resize that failed is tried again after upstream's pod worker delay. */
const failedResizeRetryMs = 10_000;

/**
 * What pods were granted, and how that follows what they ask for (KEP-1287). A wish is granted, put off
 * until others leave room, or refused; what was granted is written down before anything is changed, and
 * then carried out until the kernel has it, over restarts of keelson too.
 */
export class PodResizes {
  readonly #o: PodResizesOptions;
  readonly #pending = new Map<PodUid, Pending>();

  constructor(options: PodResizesOptions) {
    this.#o = options;
  }

  /** The pod with what it was granted. */
  granted({ uid, pod }: DesiredPod): Pod {
    return allocatedPod(pod, this.#o.notes.get(uid));
  }

  view(uid: PodUid): ResizeView {
    const pending = this.#pending.get(uid);
    const { resizing } = this.#o.notes.get(uid);
    return { ...(pending ? { pending } : {}), ...(resizing ? { inProgress: resizing } : {}) };
  }

  /** Containers that have to be restarted for what was granted, by id. */
  restarting(uid: PodUid): ReadonlySet<string> {
    return new Set(this.#o.notes.get(uid).resizing?.restart);
  }

  /** Whether cgroups of the pod are being changed step by step. */
  isResizing(uid: PodUid): boolean {
    return this.#o.notes.get(uid).resizing !== undefined;
  }

  /**
   * Decides what the pod asks for, and returns it with what it was granted. `fits` says whether the node
   * has room; nobody else may take that room before this returns.
   */
  consider(desired: DesiredPod, observed: ObservedPod | undefined, fits: () => AdmissionDecision): DesiredPod {
    const { uid, pod } = desired;
    const { notes } = this.#o;
    if (!notes.get(uid).allocated) {
      if (isResizable(pod) && desired.source === 'api') notes.note(uid, allocationOf(pod));
      return desired;
    }
    const before = this.granted(desired);
    if (before === pod) {
      this.#pending.delete(uid);
      return desired;
    }
    const { capacity, resources } = this.#o;
    const refusal = infeasible(before, pod, capacity, resources) ?? deferral(fits());
    if (refusal) {
      this.#refuse(desired, before, refusal);
      return { ...desired, pod: before };
    }
    this.#grant(desired, before, observed);
    return desired;
  }

  /** The pod's folder exists now: what it was granted is written where it was too early before. */
  settle(uid: PodUid): void {
    if (this.#o.notes.get(uid).allocated) this.#o.notes.note(uid, {});
  }

  /** Others have left, or need less: those who wait for room are looked at, the most deserving first. */
  roomFreed(): void {
    const waiting = [...this.#pending].filter(([, pending]) => pending.reason === 'Deferred');
    for (const [uid] of waiting.sort(([, a], [, b]) => compareResizes(a, b))) this.#o.wake(uid);
  }

  forget(uid: PodUid): void {
    this.#pending.delete(uid);
  }

  /**
   * Brings the cgroups of a running pod to what it was granted. Resolves with the moment of the next try when that
   * did not work, milliseconds since the epoch. Containers that are to be restarted are left to that.
   */
  async carryOut(
    desired: DesiredPod,
    observed: () => ObservedPod | undefined,
    activePods: () => readonly Pod[],
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const { uid, pod } = desired;
    const { notes, cgroups, pleg, resources, clock } = this.#o;
    const { resizing } = notes.get(uid);
    if (!resizing) return undefined;
    await notes.flush(uid);
    try {
      const cgroup = await cgroups.readPod(pod);
      if (cgroup) {
        const restarting = new Set(resizing.restart);
        const plan = computeResize({ pod, observed: observed(), cgroup, restarting, options: resources });
        const changed = await applyResize(pod, plan, cgroup.memoryUsage, this.#o, signal);
        await cgroups.setActivePods(activePods(), signal);
        if (changed.length > 0) await pleg.sawUpdated(uid, changed, signal);
      }
    } catch (error) {
      if (isAbort(error)) throw error;
      this.#failed(desired, resizing, error);
      return clock.now() + failedResizeRetryMs;
    }
    this.#progress(desired, resizing, observed());
    return undefined;
  }

  #refuse(desired: DesiredPod, granted: Pod, refusal: ResizeRefusal): void {
    const { clock, events } = this.#o;
    const { uid, pod } = desired;
    const generation = pod.metadata.generation ?? 0;
    const known = this.#pending.get(uid);
    const since = known?.since ?? clock.now();
    const guaranteed = (pod.status?.qosClass ?? qosClass(pod)) === 'Guaranteed';
    this.#pending.set(uid, { ...refusal, generation, since, granted, desired: pod, guaranteed });
    const { reason, message } = refusal;
    const same = (said: { reason?: string; message?: string; generation?: number } | undefined) =>
      said?.reason === reason && said.message === message && said.generation === generation;
    // A predecessor may have said it already.
    if (same(known ?? reported(pod))) return;
    const eventType = reason === 'Infeasible' ? eventReason.resizeInfeasible : eventReason.resizeDeferred;
    const text = resizeMessage(`Pod resize ${reason}`, pod, generation, message);
    events.event(podReference(pod), 'Warning', eventType, text);
  }

  #grant(desired: DesiredPod, before: Pod, observed: ObservedPod | undefined): void {
    const { notes, events, log } = this.#o;
    const { uid, pod } = desired;
    const generation = pod.metadata.generation ?? 0;
    const earlier = notes.get(uid).resizing?.restart ?? [];
    const restart = [...new Set([...earlier, ...containersToRestart(before, pod, observed)])];
    this.#pending.delete(uid);
    notes.note(uid, { ...allocationOf(pod), resizing: { generation, restart } });
    log.info({ podUid: uid, generation, restart }, 'resizing a pod');
    events.event(
      podReference(pod),
      'Normal',
      eventReason.resizeStarted,
      resizeMessage('Pod resize started', pod, generation),
    );
    this.roomFreed();
  }

  #failed(desired: DesiredPod, resizing: Resizing, error: unknown): void {
    const { notes, events, log } = this.#o;
    const message = error instanceof Error ? error.message : String(error);
    if (resizing.error === message) return;
    log.warn({ podUid: desired.uid, ...errorFields(error) }, 'cannot resize a pod, will try again');
    notes.note(desired.uid, { resizing: { ...resizing, error: message } });
    const text = resizeMessage('Pod resize error', desired.pod, resizing.generation, message);
    events.event(podReference(desired.pod), 'Warning', eventReason.resizeError, text);
  }

  /** The cgroups are as they should be; done when nobody is left to be restarted. */
  #progress(desired: DesiredPod, resizing: Resizing, observed: ObservedPod | undefined): void {
    const { notes, events, wake } = this.#o;
    const restart = resizing.restart.filter((id) => {
      const container = observed?.containers.find((c) => c.id === id);
      return container !== undefined && newestContainer(observed, container.name) === container;
    });
    if (restart.length > 0) {
      const { generation } = resizing;
      const changed = resizing.error !== undefined || restart.length < resizing.restart.length;
      if (changed) notes.note(desired.uid, { resizing: { generation, restart } });
      return;
    }
    notes.note(desired.uid, { resizing: undefined });
    const text = resizeMessage('Pod resize completed', desired.pod, resizing.generation);
    events.event(podReference(desired.pod), 'Normal', eventReason.resizeCompleted, text);
    // Meanwhile it may have been asked for something else.
    wake(desired.uid);
  }
}

/** What keeps the resize waiting; undefined when the node has room. */
function deferral(decision: AdmissionDecision): ResizeRefusal | undefined {
  switch (decision.type) {
    case 'admit':
      return undefined;
    case 'reject':
      return { reason: 'Deferred', message: decision.message };
    case 'wait':
      return { reason: 'Deferred', message: 'Waiting for preempted pods to end' };
    default:
      return decision satisfies never;
  }
}

function reported(pod: Pod): { reason?: string; message?: string; generation?: number } | undefined {
  const condition = pod.status?.conditions?.find((c) => c.type === podCondition.resizePending);
  if (!condition) return undefined;
  const { reason, message, observedGeneration } = condition;
  return {
    ...(reason === undefined ? {} : { reason }),
    ...(message === undefined ? {} : { message }),
    ...(observedGeneration === undefined ? {} : { generation: observedGeneration }),
  };
}
