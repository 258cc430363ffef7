import type { Node, Pod } from '../api/core-v1.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { podKey } from '../api/pod.ts';
import { eventReason } from '../api/reasons.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { podReference } from '../kuberuntime/pod-reference.ts';
import type { Log } from '../lib/log.ts';
import { type AdmissionDecision, decideAdmission } from '../pod/decide-admission.ts';
import { type IsolationFacts, isolationViolation } from '../pod/isolation-violation.ts';
import { isAlive, type ObservedPod } from '../pod/observed.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import type { DesiredPod, PodManager } from '../pod/pod-manager.ts';

export interface AdmissionOptions {
  readonly manager: PodManager;
  readonly cache: PodCache;
  readonly events: EventSink;
  readonly log: Log;
  readonly node: () => Node | undefined;
  readonly isolation: IsolationFacts;
  /** The pod with the resources that it was granted, which may be fewer than it asks for by now. */
  readonly granted: (desired: DesiredPod) => Pod;
  /** Looks at a pod again. */
  readonly wake: (uid: PodUid) => void;
}

const preemptionMessage = 'Preempted in order to admit critical pod';

/**
 * Who has a place on this node. A pod that once was let in keeps its place until it is gone; one that
 * waits for the place of others is looked at whenever one of them leaves.
 */
export class Admission {
  readonly #o: AdmissionOptions;
  readonly #admitted = new Set<PodUid>();
  readonly #waiting = new Set<PodUid>();

  constructor(options: AdmissionOptions) {
    this.#o = options;
  }

  isIn(uid: PodUid): boolean {
    return this.#admitted.has(uid);
  }

  /** Lets the pod in if it may be here, and ends others for its sake where it is worth that. */
  enter(desired: DesiredPod, observed: ObservedPod | undefined): AdmissionDecision {
    const { uid } = desired;
    if (this.#admitted.has(uid)) return admitted;
    // What runs already was admitted by whoever started it.
    const decision = observed?.containers.length ? admitted : this.#decide(desired, this.#o.granted(desired));
    this.#waiting.delete(uid);
    if (decision.type === 'admit') this.#admitted.add(uid);
    if (decision.type === 'wait') this.#makeRoom(desired, decision.victims);
    return decision;
  }

  /** Whether the pod, which has its place, could have what it asks for now; who is worth it gets room made. */
  fits(desired: DesiredPod): AdmissionDecision {
    const decision = this.#decide(desired, desired.pod);
    this.#waiting.delete(desired.uid);
    if (decision.type === 'wait') this.#makeRoom(desired, decision.victims);
    return decision;
  }

  /** The pods that have a place here (let in by us, or running since before we began), as they were granted. */
  activePods(): readonly Pod[] {
    return this.#active().map((d) => this.#o.granted(d));
  }

  /** The pod has nothing here any more. */
  left(uid: PodUid): void {
    this.#admitted.delete(uid);
    this.#waiting.delete(uid);
    for (const waiting of [...this.#waiting]) this.#o.wake(waiting);
  }

  #active(): DesiredPod[] {
    const { manager, cache } = this.#o;
    return [...manager.all()].filter(
      (d) => this.#admitted.has(d.uid) || cache.get(d.uid)?.containers.some(isAlive) === true,
    );
  }

  #decide(desired: DesiredPod, pod: Pod): AdmissionDecision {
    const violation = isolationViolation(desired.pod, this.#o.isolation);
    if (violation) return { type: 'reject', ...violation };
    const active = this.#active();
    const leaving = active.filter((d) => d.intent !== undefined || d.pod.metadata.deletionTimestamp !== undefined);
    return decideAdmission({
      pod,
      node: this.#o.node(),
      others: active.map((d) => this.#o.granted(d)),
      leaving: new Set<string>(leaving.map((d) => d.uid)),
    });
  }

  #makeRoom(desired: DesiredPod, victims: readonly Pod[]): void {
    const { manager, events, log } = this.#o;
    this.#waiting.add(desired.uid);
    const intent = { reason: eventReason.preempting, message: preemptionMessage };
    for (const victim of victims) {
      const uid = podUid(victim.metadata.uid ?? '');
      log.info({ podUid: uid, pod: podKey(victim), for: podKey(desired.pod) }, 'preempting a pod');
      events.event(podReference(victim), 'Warning', intent.reason, intent.message);
      manager.terminate(uid, intent);
    }
  }
}

const admitted = { type: 'admit' } as const;
