import type { Container, ObjectReference, Pod } from '../api/core-v1.ts';
import type { ContainerId, PodUid } from '../api/ids.ts';
import { eventReason } from '../api/reasons.ts';
import type { RuntimeService } from '../cri/services.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import { goDuration } from '../lib/go-duration.ts';
import type { Log } from '../lib/log.ts';
import type { Histogram } from '../lib/metrics.ts';
import { StallMeter } from '../lib/stall-meter.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import { PodGuard } from '../pod/pod-guard.ts';
import type { PodNotes } from '../pod/pod-notes.ts';
import { computeProbes, hasProbes, type WantedProbe } from './compute-probes.ts';
import {
  firstProbeDelay,
  initialProbeState,
  isLate,
  isStarved,
  mayProbe,
  nextProbeState,
  type ProbeState,
  probeNumbers,
} from './next-probe-state.ts';
import { type ProbeLabels, probeTitles } from './probe-metrics.ts';
import type { LastAnswer, ProbeResult, ProbeType, ProbeView } from './probe-results.ts';
import { rememberedResult } from './remembered-result.ts';
import { type ProbeAnswer, runProbe } from './run-probe.ts';

/** A pod as far as its probes go. */
export interface ProbedPod {
  readonly pod: Pod;
  /** Where its status is kept, if that is another object: a static pod's mirror. */
  readonly mirror: Pod | undefined;
  /** It has to end: readiness alone is still asked. */
  readonly terminating: boolean;
}

export interface ProbeManagerOptions {
  readonly runtime: RuntimeService;
  readonly cache: PodCache;
  readonly notes: PodNotes;
  /** Undefined for a pod of which nothing runs any more. */
  readonly pod: (uid: PodUid) => ProbedPod | undefined;
  readonly hostIPs: () => readonly string[];
  readonly events: EventSink;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when a verdict changed. */
  readonly wake: (uid: PodUid) => void;
  /** Called when a probe began to answer otherwise, and its verdict stands yet: of interest to who explains a pod. */
  readonly answered?: (uid: PodUid) => void;
  readonly duration?: Histogram;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** How often a probe was answered how, for metrics. */
export interface ProbeCounts {
  successful: number;
  failed: number;
  unknown: number;
}

/** One probe of one container. */
interface Entry {
  readonly uid: PodUid;
  /** Renewed with every look at the pod. */
  wanted: WantedProbe;
  pod: Pod;
  terminating: boolean;
  state: ProbeState;
  /** The verdict was remembered from before a restart of keelson. */
  readonly remembered: boolean;
  readonly counts: ProbeCounts;
  last: LastAnswer | undefined;
  /** When it is or was to be asked, monotonic milliseconds; undefined before the first time. */
  dueAt: number | undefined;
  timer: Disposable | undefined;
  /** The question under way. */
  asking: AbortController | undefined;
}

type Entries = Map<string, Entry>;

/**
 * Asks containers how they are. Owns one small entry per pod, container and probe; everything else is
 * looked up when a pod is synced: what is wanted, and which containers run. Verdicts are kept by container
 * id, so that a restarted container begins anew, and are noted on disk, so that a restarted keelson does not.
 *
 *   waiting ──due──► asking ──answer──► waiting, a period after it was due
 *      └─ held: startup has not succeeded yet, or the verdict stands until there is a new container
 *
 * Late probes. Whether an answer comes in time is measured by timers of this process, and these lie when
 * the machine has no time for it. So the manager measures how long it could not run while it waited. A
 * probe whose time ran out while at least half of it was lost that way is not counted: the verdict stays,
 * and a ProbeWarning says so. A failure that counts although it was asked half a period late or more says
 * how late in its event: whoever reads it knows that the machine was short of time, not the container alone.
 */
export class ProbeManager {
  readonly #o: ProbeManagerOptions;
  readonly #random: () => number;
  readonly #stalls: StallMeter;
  readonly #pods = new Map<PodUid, Entries>();
  readonly #byContainer = new Map<ContainerId, Partial<Record<ProbeType, Entry>>>();
  /** Containers that ran before were seen by another keelson. Milliseconds since the epoch. */
  readonly #since: number;
  #stopped = false;
  readonly #guard: PodGuard;

  constructor(options: ProbeManagerOptions) {
    this.#o = options;
    this.#guard = new PodGuard(options.log, 'cannot probe the containers');
    this.#random = options.random ?? Math.random;
    this.#stalls = new StallMeter(options.clock);
    this.#since = options.clock.now();
  }

  readonly view: ProbeView = (container, type) => this.#byContainer.get(container)?.[type]?.state.result;

  /** What the probe said last; undefined before it was asked, and where there is none. */
  last(container: ContainerId, type: ProbeType): LastAnswer | undefined {
    return this.#byContainer.get(container)?.[type]?.last;
  }

  /** Every probe there is now, with its counters. */
  *counts(): Generator<{
    readonly pod: Pod;
    readonly container: string;
    readonly type: ProbeType;
    readonly counts: Readonly<ProbeCounts>;
  }> {
    for (const entries of this.#pods.values())
      for (const { pod, wanted, counts } of entries.values())
        yield { pod, container: wanted.container.name, type: wanted.type, counts };
  }

  /** Reads both truths of a pod and starts, changes or ends its probes. Cheap, and called with every wake. */
  sync(uid: PodUid): void {
    if (!this.#stopped) this.#guard.run(uid, () => this.#sync(uid));
  }

  #sync(uid: PodUid): void {
    const known = this.#pods.get(uid);
    const probed = this.#o.pod(uid);
    if (!probed || !hasProbes(probed.pod)) {
      if (known) this.#forgetPod(uid, known);
      return;
    }
    const { pod, terminating } = probed;
    const wanted = computeProbes({
      pod,
      observed: this.#o.cache.get(uid),
      hostIPs: this.#o.hostIPs(),
      inPostStart: (container, id, startedAt) => this.#inPostStart(uid, container, id, startedAt),
    });
    const entries: Entries = known ?? new Map();
    if (!known && wanted.length === 0) return;
    this.#pods.set(uid, entries);
    this.#removeOthers(uid, entries, wanted);
    for (const probe of wanted) {
      const key = keyOf(probe);
      const entry = entries.get(key) ?? this.#add(uid, entries, probe, probed);
      entry.wanted = probe;
      entry.pod = pod;
      entry.terminating = terminating;
    }
    for (const entry of entries.values()) this.#schedule(entry);
  }

  /** Asks nobody any more. Verdicts stay as they are. */
  [Symbol.dispose](): void {
    this.#stopped = true;
    for (const entries of this.#pods.values()) for (const entry of entries.values()) this.#hold(entry);
  }

  /** A hook of a container from before our time is no business of ours: it may have had another agent. */
  #inPostStart(uid: PodUid, container: Container, id: ContainerId, startedAt: number): boolean {
    if (!container.lifecycle?.postStart || startedAt < this.#since) return false;
    return !this.#o.notes.get(uid).postStartDone?.includes(id);
  }

  #add(uid: PodUid, entries: Entries, wanted: WantedProbe, { pod, mirror, terminating }: ProbedPod): Entry {
    const { containerId: id, type } = wanted;
    const status = (mirror ?? pod).status;
    const result = rememberedResult(this.#o.notes.get(uid), status, wanted, this.#o.clock.now());
    const entry: Entry = {
      uid,
      wanted,
      pod,
      terminating,
      state: result ? { ...initialProbeState, result } : initialProbeState,
      remembered: result !== undefined,
      counts: { successful: 0, failed: 0, unknown: 0 },
      last: undefined,
      dueAt: undefined,
      timer: undefined,
      asking: undefined,
    };
    entries.set(keyOf(wanted), entry);
    const byType = this.#byContainer.get(id) ?? {};
    this.#byContainer.set(id, byType);
    byType[type] = entry;
    return entry;
  }

  /** Containers that run no more, and probes that are wanted no more. */
  #removeOthers(uid: PodUid, entries: Entries, wanted: readonly WantedProbe[]): void {
    const keys = new Set(wanted.map(keyOf));
    const gone = [...entries].filter(([key]) => !keys.has(key));
    for (const [key, entry] of gone) {
      entries.delete(key);
      this.#forget(entry);
    }
    if (gone.some(([, entry]) => entry.state.result)) this.#note(uid, entries);
  }

  #forgetPod(uid: PodUid, entries: Entries): void {
    this.#pods.delete(uid);
    for (const entry of entries.values()) this.#forget(entry);
  }

  #forget(entry: Entry): void {
    this.#hold(entry);
    this.#o.duration?.remove(...labelsOf(entry));
    const { containerId: id, type } = entry.wanted;
    const byType = this.#byContainer.get(id);
    if (!byType) return;
    delete byType[type];
    if (Object.keys(byType).length === 0) this.#byContainer.delete(id);
  }

  #hold(entry: Entry): void {
    entry.timer?.[Symbol.dispose]();
    entry.timer = undefined;
    entry.asking?.abort();
    entry.asking = undefined;
  }

  /** Sets the timer of a probe that may be asked, unless it has one or is being asked; holds any other. */
  #schedule(entry: Entry): void {
    const { type, probe, startedAt } = entry.wanted;
    const { result } = entry.state;
    if (!mayProbe({ type, result, started: this.#isStarted(entry), terminating: entry.terminating })) {
      this.#hold(entry);
      return;
    }
    if (entry.timer || entry.asking) return;
    const { clock } = this.#o;
    const now = clock.monotonic();
    if (entry.dueAt === undefined) {
      const first = { type, probe, startedAt, remembered: entry.remembered, now: clock.now(), random: this.#random() };
      entry.dueAt = now + firstProbeDelay(first);
    }
    entry.timer = clock.after(Math.max(0, entry.dueAt - now), () => {
      entry.timer = undefined;
      void this.#ask(entry);
    });
  }

  #isStarted({ wanted }: Entry): boolean {
    if (!wanted.container.startupProbe) return true;
    return this.view(wanted.containerId, 'startup')?.verdict === 'success';
  }

  async #ask(entry: Entry): Promise<void> {
    const { clock, runtime, log } = this.#o;
    const askedAt = clock.monotonic();
    const lateMs = askedAt - (entry.dueAt ?? askedAt);
    const asking = new AbortController();
    entry.asking = asking;
    this.#stalls.enter();
    const lostBefore = this.#stalls.lostMs();
    const over = () => {
      entry.asking = undefined;
      entry.dueAt = nextDue(entry.dueAt ?? askedAt, clock.monotonic(), probeNumbers(entry.wanted.probe).periodMs);
    };
    try {
      const answer = await runProbe(runtime, entry.wanted, asking.signal);
      const lostMs = this.#stalls.lostMs() - lostBefore;
      if (entry.asking !== asking) return;
      over();
      if (answer.kind !== 'failure')
        this.#o.duration?.observe((clock.monotonic() - askedAt) / 1000, ...labelsOf(entry));
      const kindBefore = entry.last?.kind;
      this.#take(entry, answer, { lateMs, lostMs });
      if (entry.last?.kind !== kindBefore) this.#o.answered?.(entry.uid);
    } catch (error) {
      // Held or forgotten meanwhile: whoever did that knows what comes next.
      if (asking.signal.aborted) return;
      if (entry.asking === asking) over();
      log.error({ podUid: entry.uid, container: entry.wanted.container.name, ...errorFields(error) }, 'probe failed');
    } finally {
      this.#stalls.leave();
    }
    if (!this.#stopped) this.#schedule(entry);
  }

  #take(entry: Entry, answer: ProbeAnswer, { lateMs, lostMs }: { lateMs: number; lostMs: number }): void {
    const { clock } = this.#o;
    const { timeoutMs, periodMs } = probeNumbers(entry.wanted.probe);
    const starved = isStarved(answer.kind === 'failure' && answer.timedOut, lostMs, timeoutMs);
    const { message } = answer;
    entry.last = { kind: starved ? 'starved' : answer.kind, message, at: clock.now() };
    const title = probeTitles[entry.wanted.type];
    if (starved) {
      entry.counts.unknown++;
      const lost = goDuration(Math.round(lostMs));
      const why = `not counted as failed, because keelson could not run for ${lost} of ${goDuration(timeoutMs)}`;
      this.#event(entry, eventReason.probeWarning, `${title} probe warning: ${why}: ${message}`);
      return;
    }
    const late = isLate(lateMs, periodMs)
      ? ` (asked ${goDuration(Math.round(lateMs))} late: this node is short of CPU time)`
      : '';
    switch (answer.kind) {
      case 'error':
        entry.counts.unknown++;
        this.#event(entry, eventReason.unhealthy, `${title} probe errored and resulted in unknown state: ${message}`);
        return;
      case 'failure':
        entry.counts.failed++;
        this.#event(entry, eventReason.unhealthy, `${title} probe failed: ${message}${late}`);
        break;
      case 'warning':
        entry.counts.successful++;
        this.#event(entry, eventReason.probeWarning, `${title} probe warning: ${message}`);
        break;
      case 'success':
        entry.counts.successful++;
        break;
      default:
        answer satisfies never;
    }
    const verdict = answer.kind === 'failure' ? 'failure' : 'success';
    this.#count(entry, { verdict, message: verdict === 'failure' ? message : '' });
  }

  #count(entry: Entry, answer: { readonly verdict: ProbeResult['verdict']; readonly message: string }): void {
    const before = entry.state.result?.verdict;
    entry.state = nextProbeState(entry.state, answer, entry.wanted.probe, this.#o.clock.now());
    const { result } = entry.state;
    if (!result || result.verdict === before) return;
    const { uid, wanted } = entry;
    const fields = { podUid: uid, container: wanted.container.name, probe: wanted.type, verdict: result.verdict };
    this.#o.log.debug({ ...fields, message: result.message }, 'probe verdict');
    const entries = this.#pods.get(uid);
    if (!entries) return;
    if (wanted.type !== 'liveness') this.#note(uid, entries);
    // Startup lets the others begin.
    for (const other of entries.values()) this.#schedule(other);
    // An alive container is nothing new to anybody.
    if (wanted.type !== 'liveness' || result.verdict === 'failure') this.#o.wake(uid);
  }

  /**
   * What the next keelson has to know. Failed liveness and startup are not among it: whoever comes back
   * after a while asks again before it kills.
   */
  #note(uid: PodUid, entries: Entries): void {
    const probes: Record<string, Record<string, ProbeResult['verdict']>> = {};
    for (const { wanted, state } of entries.values()) {
      const { containerId: id, type } = wanted;
      const verdict = state.result?.verdict;
      if (!verdict || type === 'liveness' || (type === 'startup' && verdict === 'failure')) continue;
      probes[id] = { ...probes[id], [type]: verdict };
    }
    this.#o.notes.note(uid, { probes });
  }

  #event({ pod, wanted }: Entry, reason: string, message: string): void {
    const { name, namespace = 'default', uid = '' } = pod.metadata;
    const about: ObjectReference = { apiVersion: 'v1', kind: 'Pod', name, namespace, uid, fieldPath: wanted.fieldPath };
    this.#o.events.event(about, 'Warning', reason, message);
  }
}

const labelsOf = ({ wanted, pod }: Entry): ProbeLabels => [
  probeTitles[wanted.type],
  wanted.container.name,
  pod.metadata.name,
  pod.metadata.namespace ?? 'default',
];

const keyOf = ({ containerId: id, type }: WantedProbe): string => `${id}/${type}`;

/** The next moment on the probe's own grid: what took longer than a period leaves questions out, and does not pile them up. */
function nextDue(dueAt: number, now: number, periodMs: number): number {
  const next = dueAt + periodMs;
  return next > now ? next : now + periodMs - ((now - dueAt) % periodMs);
}
