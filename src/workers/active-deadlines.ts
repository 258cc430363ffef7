import type { PodUid } from '../api/ids.ts';
import { eventReason } from '../api/reasons.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { podReference } from '../kuberuntime/pod-reference.ts';
import type { Clock } from '../lib/clock.ts';
import type { DesiredPod, PodManager } from '../pod/pod-manager.ts';

export interface ActiveDeadlinesOptions {
  readonly manager: PodManager;
  readonly events: EventSink;
  readonly clock: Clock;
  /** The pod's startTime as it is reported, RFC 3339; undefined while nothing is. */
  readonly startTime: (uid: PodUid) => string | undefined;
}

const message = 'Pod was active on the node longer than the specified deadline';

/** Timers do not reach further than some 24 days: a later deadline is looked at again on the way. */
const longestWaitMs = 2 ** 31 - 1;

/**
 * Ends pods whose activeDeadlineSeconds are over, counted from the start time that their status reports, so
 * that neither restarts of containers nor of keelson give them more. Each pod has one timer; the end comes
 * also to a pod whose worker is busy starting it.
 */
export class ActiveDeadlines {
  readonly #o: ActiveDeadlinesOptions;
  readonly #timers = new Map<PodUid, Disposable>();

  constructor(options: ActiveDeadlinesOptions) {
    this.#o = options;
  }

  /** Minds the pod's deadline as it is now; may be called with every look at the pod. True when it is over. */
  watch(desired: DesiredPod): boolean {
    const { clock } = this.#o;
    const { uid, pod } = desired;
    this.forget(uid);
    const seconds = pod.spec.activeDeadlineSeconds;
    if (seconds === undefined || desired.intent) return false;
    const startTime = this.#o.startTime(uid) ?? pod.status?.startTime;
    const startedAt = startTime === undefined ? desired.seenAt : Date.parse(startTime);
    const left = startedAt + seconds * 1000 - clock.now();
    if (left <= 0) {
      this.#end(desired);
      return true;
    }
    this.#timers.set(
      uid,
      clock.after(Math.min(left, longestWaitMs), () => this.#lookAgain(uid)),
    );
    return false;
  }

  /** The pod is ending, or gone. */
  forget(uid: PodUid): void {
    this.#timers.get(uid)?.[Symbol.dispose]();
    this.#timers.delete(uid);
  }

  #lookAgain(uid: PodUid): void {
    const desired = this.#o.manager.get(uid);
    if (desired && desired.pod.metadata.deletionTimestamp === undefined) this.watch(desired);
  }

  #end({ uid, pod }: DesiredPod): void {
    this.#o.events.event(podReference(pod), 'Normal', eventReason.deadlineExceeded, message);
    this.#o.manager.terminate(uid, { reason: eventReason.deadlineExceeded, message });
  }
}
