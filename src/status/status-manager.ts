import type { Pod, PodStatus } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { isOver, podKey } from '../api/pod.ts';
import { computeStrategicStatusPatch } from '../kubeapi/compute-patch.ts';
import { isConflict, isNotFound, type KubeApi, type ObjectName } from '../kubeapi/kube-api.ts';
import { failureLevel } from '../kubeapi/outage-log.ts';
import { pods } from '../kubeapi/resources.ts';
import { backoffDelay, jittered } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Histogram } from '../lib/metrics.ts';
import { Semaphore } from '../lib/semaphore.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import { PodGuard } from '../pod/pod-guard.ts';
import type { DesiredPod, PodManager } from '../pod/pod-manager.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import type { PodResizes } from '../workers/pod-resizes.ts';
import type { WorkerView } from '../workers/pod-workers.ts';
import { withExplanation } from './condition-messages.ts';
import { type ExplainInput, type Explanation, explainPod } from './explain-pod.ts';
import { isNodeCondition } from './generate-conditions.ts';
import { generatePodStatus } from './generate-pod-status.ts';

export interface StatusManagerOptions {
  readonly manager: PodManager;
  readonly cache: PodCache;
  readonly worker: (uid: PodUid) => WorkerView | undefined;
  readonly probes: ProbeView;
  readonly lastAnswer?: ExplainInput['lastAnswer'];
  readonly resizes: Pick<PodResizes, 'granted' | 'view'>;
  /** Undefined when standalone: statuses are derived and shown, and nobody is told. */
  readonly api: KubeApi | undefined;
  readonly hostIPs: () => readonly string[];
  /** What the runtime calls itself; empty until it has answered: then its name is part of every container id. */
  readonly runtimeName: () => string;
  /** How far the pull of an image is, in words. */
  readonly pullProgress?: (image: string) => string | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when a pod's derived status changed. */
  readonly changed: (uid: PodUid) => void;
  /** How long a status took from its change to the API server. */
  readonly syncDuration?: Histogram;
}

/** A status, and as JSON what it was before its explanation was added: whether something has happened shows there. */
interface Version {
  readonly status: PodStatus;
  readonly facts: string;
}

interface Entry {
  latest: Version;
  explanation: Explanation | undefined;
  /** What was last brought to the server in this run. */
  sent: Version | undefined;
  /** What the API server holds, as far as we know: the base of the next patch. */
  reported: PodStatus | undefined;
  /** UID of the API object that carries the status: the pod's own, or its mirror's. */
  objectUid: string | undefined;
  /** Milliseconds since the epoch of the last report. */
  sentAt: number;
  /** Monotonic milliseconds of the first change that the server has not been told of. */
  unsentSince: number | undefined;
  deleted: boolean;
  sending: boolean;
  failures: number;
  timer: Disposable | undefined;
}

const retry = { initialMs: 250, maxMs: 10_000 } as const;
/** A pod that starts says so only when it takes longer than this, and how far it is no more often: most are Ready by then, and one patch does. */
const startingPaceMs = 2_000;
/** Why a pod waits is told no more often than this when nothing else of it has changed. */
const sentencePaceMs = 10_000;
/** Requests in flight: statuses must not crowd out the watch and the lease. */
const maxParallelRequests = 8;

/**
 * Derives each pod's status when it is woken, and brings it to the API server: one request per pod at
 * a time, always the newest status, until the server has it. A pod that is deleted there and finished
 * here is removed with its UID as precondition. Nobody sets a status: it follows from what is known.
 */
export class StatusManager {
  readonly #o: StatusManagerOptions;
  readonly #entries = new Map<PodUid, Entry>();
  readonly #slots = new Semaphore(maxParallelRequests);
  readonly #stopped = new AbortController();
  readonly #guard: PodGuard;

  constructor(options: StatusManagerOptions) {
    this.#o = options;
    this.#guard = new PodGuard(options.log, 'cannot derive the status');
  }

  /** The newest derived status, also of a pod whose source has forgotten it. */
  get(uid: PodUid): PodStatus | undefined {
    return this.#entries.get(uid)?.latest.status;
  }

  /** Why the pod is not ready, as of now. */
  explain(uid: PodUid): Explanation | undefined {
    const entry = this.#entries.get(uid);
    const view = this.#o.worker(uid);
    const pod = this.#o.manager.get(uid)?.pod ?? view?.desired?.pod;
    if (!entry || !view || !pod) return undefined;
    return this.#explain(uid, pod, view, entry.latest.status, entry.explanation);
  }

  wake(uid: PodUid): void {
    const desired = this.#o.manager.get(uid);
    const view = this.#o.worker(uid);
    if (!desired && !view) {
      this.#entries.get(uid)?.timer?.[Symbol.dispose]();
      this.#entries.delete(uid);
      this.#guard.forget(uid);
      return;
    }
    const pod = desired ?? view?.desired;
    if (!pod || !view || !this.#o.runtimeName()) return;
    const entry = this.#guard.run(uid, () => this.#derive(pod, view));
    if (entry && desired && this.#o.api) this.#sendSoon(desired, entry);
  }

  stop(): void {
    this.#stopped.abort();
    for (const entry of this.#entries.values()) entry.timer?.[Symbol.dispose]();
  }

  #derive(desired: DesiredPod, view: WorkerView): Entry {
    const { cache, clock, hostIPs, manager, probes, resizes, changed } = this.#o;
    const { uid } = desired;
    const pod = resizes.granted(desired);
    const known = this.#entries.get(uid);
    const stored = desired.source === 'api' ? pod.status : manager.mirrorOf(pod)?.pod.status;
    const plain = generatePodStatus({
      pod,
      observed: cache.get(uid),
      worker: view.state,
      problems: view.problems,
      probes,
      inPostStart: view.progress?.step.kind === 'postStart' ? view.progress.step.container : undefined,
      previous: withForeignConditions(known?.latest.status ?? stored, stored),
      resize: resizes.view(uid),
      hostIPs: hostIPs(),
      runtimeName: this.#o.runtimeName(),
      now: clock.now(),
    });
    const explanation = this.#explain(uid, pod, view, plain, known?.explanation);
    const derived: Version = { status: withExplanation(plain, explanation), facts: JSON.stringify(plain) };
    // Most are what they were: one copy is kept.
    const latest = known && isEqual(known.latest, derived) ? known.latest : derived;
    const entry: Entry = known ?? {
      latest,
      explanation,
      sent: undefined,
      reported: undefined,
      objectUid: undefined,
      sentAt: 0,
      unsentSince: undefined,
      deleted: false,
      sending: false,
      failures: 0,
      timer: undefined,
    };
    const differs = known?.latest.facts !== latest.facts;
    entry.latest = latest;
    entry.explanation = explanation;
    this.#entries.set(uid, entry);
    if (differs) entry.unsentSince ??= clock.monotonic();
    if (differs) changed(uid);
    return entry;
  }

  #explain(uid: PodUid, pod: Pod, worker: WorkerView, status: PodStatus, previous: Explanation | undefined) {
    const { cache, clock, probes, lastAnswer = nothing, pullProgress = nothing } = this.#o;
    const observed = cache.get(uid);
    const views = { worker, probes, lastAnswer, pullProgress };
    return explainPod({ pod, status, observed, ...views, previous, now: clock.now() });
  }

  #sendSoon(desired: DesiredPod, entry: Entry): void {
    if (entry.sending || this.#stopped.signal.aborted) return;
    // Most wakes change nothing that anybody is told of.
    if (entry.sent && entry.failures === 0 && !this.#isOutdated(desired.uid, entry, entry.sent)) {
      if (isEqual(entry.sent, entry.latest)) return;
    }
    const delay = this.#isToDelete(desired.uid, entry) ? 0 : this.#pause(desired, entry);
    if (delay > 0) {
      entry.timer ??= this.#o.clock.after(delay, () => {
        entry.timer = undefined;
        this.wake(desired.uid);
      });
      return;
    }
    entry.timer?.[Symbol.dispose]();
    entry.timer = undefined;
    void this.#send(desired.uid, entry);
  }

  /** How long a report that only tells of progress may wait for better news, in milliseconds. */
  #pause(desired: DesiredPod, { latest, sent, sentAt, failures, objectUid }: Entry): number {
    const now = this.#o.clock.now();
    if (failures > 0) return 0;
    const isSame = objectUid === this.#target(desired)?.uid;
    if (isSame && sent && sent.facts === latest.facts) return leftOf(sentencePaceMs, sentAt, now);
    const starts = latest.status.phase === 'Pending' && !hasNews(latest.status);
    return starts ? leftOf(startingPaceMs, Math.max(desired.seenAt, sentAt), now) : 0;
  }

  async #send(uid: PodUid, entry: Entry): Promise<void> {
    entry.sending = true;
    try {
      let sent: Version | undefined;
      // What changes while a request is on its way is found here, not queued: only the newest status counts.
      while (!sent || this.#isOutdated(uid, entry, sent)) {
        const version = entry.latest;
        await this.#slots.run(this.#stopped.signal, () => this.#sendOnce(uid, entry, version));
        sent = version;
        entry.failures = 0;
      }
    } catch (error) {
      if (isAbort(error)) return;
      entry.failures++;
      if (entry.failures === 1)
        this.#o.log[failureLevel(error)](
          { podUid: uid, ...errorFields(error) },
          'cannot report a pod status, will try again',
        );
      const delay = jittered(backoffDelay(entry.failures, retry), 0.2);
      entry.timer = this.#o.clock.after(delay, () => {
        entry.timer = undefined;
        this.wake(uid);
      });
    } finally {
      entry.sending = false;
    }
    // A sentence that changed meanwhile follows in its own time.
    const desired = this.#o.manager.get(uid);
    if (!desired || entry.failures > 0 || entry.deleted || !entry.sent) return;
    if (!isEqual(entry.sent, entry.latest)) this.#sendSoon(desired, entry);
  }

  /** Brings one status to the server, then removes the object if that was the last one. */
  async #sendOnce(uid: PodUid, entry: Entry, version: Version): Promise<void> {
    const { status } = version;
    const { api, manager, log } = this.#o;
    const desired = manager.get(uid);
    const target = desired && this.#target(desired);
    if (!api || !desired || !target) return;
    if (entry.objectUid !== target.uid) {
      entry.objectUid = target.uid;
      entry.reported = target.status;
    }
    const { namespace = 'default', name } = desired.pod.metadata;
    try {
      // The UID in the patch is a precondition: the server refuses it when the name belongs to another pod by now.
      const [before, after] = [entry.reported && ownPart(entry.reported), ownPart(status)];
      const body = computeStrategicStatusPatch('Pod', before, after, { uid: target.uid });
      if (body) {
        const patch = { type: 'strategic', body, subresource: 'status' } as const;
        await api.patch(pods, { namespace, name }, patch, this.#stopped.signal);
      }
      entry.reported = status;
      entry.sent = version;
      entry.sentAt = this.#o.clock.now();
      if (body && entry.unsentSince !== undefined)
        this.#o.syncDuration?.observe((this.#o.clock.monotonic() - entry.unsentSince) / 1000);
      entry.unsentSince = entry.latest.facts === version.facts ? undefined : this.#o.clock.monotonic();
      if (entry.latest.facts !== version.facts || !this.#isToDelete(uid, entry)) return;
      await api.delete(pods, { namespace, name }, { gracePeriodSeconds: 0, uid: target.uid }, this.#stopped.signal);
      entry.deleted = true;
      log.info({ podUid: uid, pod: podKey(desired.pod) }, 'pod removed from the API server');
    } catch (error) {
      // The object is gone, or another one has its name: the watch will say so, there is nothing left to report.
      // A server that many write to at a time answers with a conflict, too, and may be asked again.
      if (!isNotFound(error) && !(isConflict(error) && (await this.#isGone({ namespace, name }, target.uid))))
        throw error;
      entry.reported = status;
      entry.deleted = true;
    }
  }

  async #isGone(ref: ObjectName, uid: string): Promise<boolean> {
    try {
      return (await this.#o.api?.get(pods, ref, this.#stopped.signal))?.metadata.uid !== uid;
    } catch (error) {
      if (isNotFound(error)) return true;
      throw error;
    }
  }

  /** Whether there is more to tell than a new sentence, or another object to tell it of. */
  #isOutdated(uid: PodUid, entry: Entry, sent: Version): boolean {
    const desired = this.#o.manager.get(uid);
    const target = desired && this.#target(desired);
    const moved = target !== undefined && target.uid !== entry.objectUid;
    return moved || sent.facts !== entry.latest.facts || this.#isToDelete(uid, entry);
  }

  /** A pod that is deleted at the API server and has left no trace here. */
  #isToDelete(uid: PodUid, entry: Entry): boolean {
    const desired = this.#o.manager.get(uid);
    const finished = this.#o.worker(uid)?.state.phase === 'finished';
    return (
      finished && !entry.deleted && desired?.source === 'api' && desired.pod.metadata.deletionTimestamp !== undefined
    );
  }

  #target(desired: DesiredPod): { readonly uid: string; readonly status: PodStatus | undefined } | undefined {
    if (desired.source === 'api') return { uid: desired.uid, status: desired.pod.status };
    const mirror = this.#o.manager.mirrorOf(desired.pod);
    return mirror && { uid: mirror.uid, status: mirror.pod.status };
  }
}

const isEqual = (a: Version, b: Version): boolean =>
  a === b || (a.facts === b.facts && JSON.stringify(a.status.conditions) === JSON.stringify(b.status.conditions));

const nothing = () => undefined;

/** Whether a pending status says more than that things take their course. */
function hasNews(status: PodStatus): boolean {
  const all = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])];
  return all.some((s) => s.state?.running || s.state?.terminated || s.state?.waiting?.message);
}

/** Conditions that others write (a scheduler, a readiness gate's controller) come from the object, not from our memory. */
function withForeignConditions(ours: PodStatus | undefined, stored: PodStatus | undefined): PodStatus | undefined {
  if (!ours || ours === stored) return ours;
  const own = ours.conditions ?? [];
  const foreign = (stored?.conditions ?? []).filter((c) => !isNodeCondition(c));
  const kept = own.filter((c) => isNodeCondition(c));
  return { ...ours, conditions: [...kept, ...foreign], ...outcomeOf(stored) };
}

/** A final phase stays, whoever wrote it, and with it what was said of it. */
function outcomeOf(stored: PodStatus | undefined): Partial<PodStatus> {
  if (!stored?.phase || !isOver(stored)) return {};
  const { phase, reason, message } = stored;
  return { phase, ...(reason ? { reason } : {}), ...(message ? { message } : {}) };
}

/** What is left of a pause; nothing when it began in the future, because the clock was set back. */
const leftOf = (pauseMs: number, since: number, now: number): number => (since > now ? 0 : since + pauseMs - now);

/** What is ours to write: the conditions of others may have changed again since we saw them. */
const ownPart = (status: PodStatus): PodStatus =>
  status.conditions ? { ...status, conditions: status.conditions.filter((c) => isNodeCondition(c)) } : status;
