import type { PodUid } from '../api/ids.ts';
import { isOver, podKey } from '../api/pod.ts';
import type { RestartBackoff } from '../kuberuntime/restart-backoff.ts';
import { isLater, type SyncStep, type TellStep } from '../kuberuntime/sync-step.ts';
import { backoffDelay, jittered } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import type { DesiredPod, PodManager } from '../pod/pod-manager.ts';
import type { ContainerProblem } from './problems.ts';
import {
  initialWorkerState,
  isStopped,
  reduceWorker,
  type TerminationCause,
  type WorkerEvent,
  type WorkerState,
} from './worker-state.ts';

/** What one look at a pod did; the steps are in sync-pod.ts. */
export interface SyncOutcome {
  /** The pod is over: `completed` by itself, or `rejected` by admission. */
  readonly terminate?: TerminationCause;
  readonly problems: ReadonlyMap<string, ContainerProblem>;
  readonly backoffs: ReadonlyMap<string, RestartBackoff>;
  /** Nothing can be done until somebody else has done his part: the last step told of goes on. */
  readonly waitsFor?: true;
  /** Look again at this moment, milliseconds since the epoch. */
  readonly wakeAt?: number;
}

/** The effects of a worker, one per phase. Each is idempotent and ends soon after its signal aborts. */
export interface PodSteps {
  sync(desired: DesiredPod, memory: WorkerMemory, signal: AbortSignal): Promise<SyncOutcome>;
  /** Stops all that runs. `desired` is what was last wanted; undefined for a pod known from the runtime alone. */
  stop(uid: PodUid, desired: DesiredPod | undefined, gracePeriodSeconds: number, signal: AbortSignal): Promise<void>;
  /** Takes down volumes and cgroups. */
  clean(uid: PodUid, desired: DesiredPod | undefined, signal: AbortSignal): Promise<void>;
  /** Removes every trace: containers, logs, folders. Nobody wants the pod any more. */
  purge(uid: PodUid, desired: DesiredPod | undefined, signal: AbortSignal): Promise<void>;
}

export interface WorkerMemory {
  readonly backoffs: ReadonlyMap<string, RestartBackoff>;
  /** To be told of each step that may take a while. */
  readonly tell?: TellStep;
}

/** Where a worker is within its look at the pod. Times are milliseconds since the epoch. */
export interface WorkerProgress {
  readonly step: SyncStep;
  readonly since: number;
}

/** What keeps going wrong; `since` is when it first did. */
export interface WorkerFailure {
  readonly code: string;
  readonly message: string;
  readonly since: number;
  readonly step: SyncStep | undefined;
}

/** What others may know of a worker. */
export interface WorkerView {
  readonly state: WorkerState;
  readonly problems: ReadonlyMap<string, ContainerProblem>;
  readonly desired: DesiredPod | undefined;
  readonly progress?: WorkerProgress | undefined;
  readonly failure?: WorkerFailure | undefined;
}

interface Worker {
  readonly uid: PodUid;
  state: WorkerState;
  /** What was last wanted; kept when the source forgets the pod, for its grace period and its volumes. */
  desired: DesiredPod | undefined;
  memory: WorkerMemory;
  problems: ReadonlyMap<string, ContainerProblem>;
  failures: number;
  /** What failed last: it is said when it changes, not at each try. */
  lastFailure: string;
  progress: WorkerProgress | undefined;
  failure: WorkerFailure | undefined;
  dirty: boolean;
  running: AbortController | undefined;
  timer: Disposable | undefined;
}

export interface PodWorkersOptions {
  readonly manager: PodManager;
  readonly cache: PodCache;
  readonly steps: PodSteps;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether every source has reported once. Before that, nothing may be taken for unwanted. */
  readonly sourcesReady: () => boolean;
  /** Pods are looked at at least this often, milliseconds. */
  readonly syncFrequencyMs: number;
  /** Called after every step, and when a worker is gone. */
  readonly changed: (uid: PodUid) => void;
}

const retry = { initialMs: 500, maxMs: 10_000 } as const;
/** The API's own default; also for a pod of which only the runtime knows, which may have data to save like any other. */
const defaultGraceSeconds = 30;

/**
 * One worker per pod UID. A wake says only which pod to look at; the worker then reads both truths and
 * takes the next step of its phase. At most one step of a pod runs at a time, a wake during a step
 * means one more look afterwards, and a pod that has to end aborts the step that would still start it.
 */
export class PodWorkers {
  readonly #o: PodWorkersOptions;
  readonly #workers = new Map<PodUid, Worker>();
  /** Stops every worker; pods go on running. */
  #stopped = new AbortController();
  readonly #idle = new Set<() => void>();
  /** Pods that nobody may take up now: see `withoutWorker`. */
  readonly #reserved = new Set<PodUid>();
  #started = false;

  constructor(options: PodWorkersOptions) {
    this.#o = options;
  }

  view(uid: PodUid): WorkerView | undefined {
    return this.#workers.get(uid);
  }

  uids(): Iterable<PodUid> {
    return this.#workers.keys();
  }

  /** Begins to look at pods: everything that runs here has been seen by now. Wakes before are not lost, they are repeated. */
  start(): void {
    this.#started = true;
    this.wakeAll();
  }

  /** Looks at the pod soon. Calls are cheap and may come in any number. */
  wake(uid: PodUid): void {
    if (!this.#started || this.#stopped.signal.aborted) return;
    const desired = this.#o.manager.get(uid);
    const known = this.#workers.get(uid);
    if (!desired && !known && !this.#o.cache.get(uid)) return;
    if (!desired && !this.#isUnwanted(known)) return;
    if (!known && this.#reserved.has(uid)) return;
    const worker = known ?? this.#create(uid);
    if (desired) worker.desired = desired;
    const event = terminationEvent(worker, desired);
    if (event) this.#apply(worker, event);
    this.#schedule(worker);
  }

  /**
   * Does what must not meet a worker of this pod. A worker that is wanted meanwhile begins afterwards: the
   * same manifest put back is the same UID, with the same folder and cgroup. Does nothing while there is one.
   */
  async withoutWorker(uid: PodUid, work: () => Promise<void>): Promise<void> {
    if (this.#workers.has(uid) || this.#reserved.has(uid)) return;
    this.#reserved.add(uid);
    try {
      await work();
    } finally {
      this.#reserved.delete(uid);
      this.wake(uid);
    }
  }

  wakeAll(): void {
    for (const { uid } of this.#o.manager.all()) this.wake(uid);
    for (const uid of [...this.#workers.keys(), ...this.#o.cache.uids()]) this.wake(uid);
  }

  /** Ends the workers and waits for their steps. Containers are left as they are. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    for (const worker of this.#workers.values()) {
      worker.timer?.[Symbol.dispose]();
      worker.running?.abort();
    }
    while ([...this.#workers.values()].some((w) => w.running)) {
      await new Promise<void>((resolve) => this.#idle.add(resolve));
    }
  }

  #create(uid: PodUid): Worker {
    const worker: Worker = {
      uid,
      state: initialWorkerState,
      desired: undefined,
      memory: { backoffs: new Map() },
      problems: new Map(),
      failures: 0,
      lastFailure: '',
      progress: undefined,
      failure: undefined,
      dirty: false,
      running: undefined,
      timer: undefined,
    };
    this.#workers.set(uid, worker);
    return worker;
  }

  #apply(worker: Worker, event: WorkerEvent): void {
    const before = worker.state;
    worker.state = reduceWorker(before, event, this.#o.clock.now());
    if (worker.state === before) return;
    this.#o.log.debug({ podUid: worker.uid, from: before.phase, to: worker.state.phase }, 'pod phase');
    worker.failures = 0;
    worker.failure = undefined;
    worker.progress = undefined;
    // A sync that still starts containers, or a stop with a longer grace, is overtaken.
    if (event.type === 'terminate') worker.running?.abort();
    this.#o.changed(worker.uid);
  }

  #schedule(worker: Worker): void {
    worker.dirty = true;
    if (!worker.running) void this.#run(worker);
  }

  async #run(worker: Worker): Promise<void> {
    worker.timer?.[Symbol.dispose]();
    worker.timer = undefined;
    while (worker.dirty && !this.#stopped.signal.aborted) {
      worker.dirty = false;
      worker.running = new AbortController();
      try {
        const wakeAt = await this.#step(worker, worker.running.signal);
        worker.failures = 0;
        worker.lastFailure = '';
        worker.failure = undefined;
        this.#wakeLater(worker, wakeAt);
      } catch (error) {
        this.#failed(worker, error);
      } finally {
        worker.running = undefined;
      }
      if (this.#workers.get(worker.uid) !== worker) break;
      this.#o.changed(worker.uid);
    }
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  /** Takes one step; resolves with the moment of the next look, if there has to be one. */
  async #step(worker: Worker, signal: AbortSignal): Promise<number | undefined> {
    const { steps, clock, manager } = this.#o;
    const { uid, state, desired } = worker;
    switch (state.phase) {
      case 'syncing': {
        if (!desired) return undefined;
        const tell = (step: SyncStep) => this.#tell(worker, step);
        if (this.#waitsForNamesake(worker)) {
          tell({ kind: 'namesake' });
          return undefined;
        }
        const outcome = await steps.sync(desired, { ...worker.memory, tell }, signal);
        worker.progress = outcome.waitsFor && worker.progress;
        worker.memory = { backoffs: outcome.backoffs };
        worker.problems = outcome.problems;
        if (outcome.terminate) {
          const grace = desired.pod.spec.terminationGracePeriodSeconds ?? defaultGraceSeconds;
          this.#apply(worker, { type: 'terminate', cause: outcome.terminate, gracePeriodSeconds: grace });
          worker.dirty = true;
        }
        const resync = clock.now() + jittered(this.#o.syncFrequencyMs, 0.5);
        return Math.min(outcome.wakeAt ?? resync, resync);
      }
      case 'terminating':
        await steps.stop(uid, desired, state.gracePeriodSeconds, signal);
        this.#apply(worker, { type: 'stopped' });
        this.#wakeNamesakes(worker);
        worker.dirty = true;
        return undefined;
      case 'terminated':
        await steps.clean(uid, desired, signal);
        this.#apply(worker, { type: 'cleaned' });
        worker.dirty = true;
        return undefined;
      case 'finished': {
        const wanted = manager.get(uid) !== undefined;
        // A manifest that was taken away and put back: the same content is the same UID, and starts from nothing.
        const again = wanted && state.cause.kind === 'removed';
        if ((wanted && !again) || !this.#isUnwanted(worker)) return undefined;
        await steps.purge(uid, desired, signal);
        this.#forget(worker);
        if (again) this.wake(uid);
        return undefined;
      }
      default:
        return state satisfies never;
    }
  }

  #tell(worker: Worker, step: SyncStep): void {
    const { progress, failure } = worker;
    if (failure && (!failure.step || isLater(step, failure.step))) worker.failure = undefined;
    if (JSON.stringify(progress?.step) === JSON.stringify(step)) return;
    worker.progress = { step, since: this.#o.clock.now() };
    this.#o.changed(worker.uid);
  }

  /** No source has it now. Before all have reported that says something only of a manifest that was here, and was taken away. */
  #isUnwanted(worker: Worker | undefined): boolean {
    return this.#o.sourcesReady() || worker?.desired?.source === 'file';
  }

  /** A static pod that was changed has a new UID; it may start when its predecessor has stopped. */
  #waitsForNamesake(worker: Worker): boolean {
    const { desired } = worker;
    if (desired?.source !== 'file') return false;
    return [...this.#workers.values()].some(
      (other) =>
        other !== worker &&
        other.desired?.source === 'file' &&
        other.state.phase !== 'syncing' &&
        !isStopped(other.state) &&
        podKey(other.desired.pod) === podKey(desired.pod),
    );
  }

  #forget(worker: Worker): void {
    this.#workers.delete(worker.uid);
    this.#o.log.debug({ podUid: worker.uid, pod: worker.desired && podKey(worker.desired.pod) }, 'pod purged');
    this.#o.changed(worker.uid);
  }

  #wakeNamesakes({ desired }: Worker): void {
    if (desired?.source !== 'file') return;
    for (const other of this.#workers.values()) {
      if (other.state.phase === 'syncing' && other.desired && podKey(other.desired.pod) === podKey(desired.pod))
        this.#schedule(other);
    }
  }

  #failed(worker: Worker, error: unknown): void {
    if (isAbort(error) && worker.running?.signal.aborted) {
      // Overtaken: whoever aborted has asked for the next look.
      worker.dirty = true;
      return;
    }
    worker.failures++;
    const step = worker.progress?.step;
    const same = worker.failure?.code === codeOf(error) ? worker.failure : undefined;
    const since = same?.since ?? this.#o.clock.now();
    worker.failure = { code: codeOf(error), message: messageOf(error), since, step };
    worker.progress = undefined;
    const delay = jittered(backoffDelay(worker.failures, retry), 0.2);
    const fields = {
      podUid: worker.uid,
      pod: worker.desired && podKey(worker.desired.pod),
      phase: worker.state.phase,
      ...errorFields(error),
    };
    if (fields.err === worker.lastFailure) this.#o.log.debug(fields, 'pod sync failed again');
    else this.#o.log.warn(fields, 'pod sync failed, will try again');
    worker.lastFailure = fields.err;
    this.#wakeLater(worker, this.#o.clock.now() + delay);
  }

  #wakeLater(worker: Worker, at: number | undefined): void {
    if (at === undefined || this.#stopped.signal.aborted) return;
    worker.timer?.[Symbol.dispose]();
    worker.timer = this.#o.clock.after(Math.max(0, at - this.#o.clock.now()), () => this.#schedule(worker));
  }
}

const codeOf = (error: unknown): string => (error instanceof AgentError ? error.code : '');

/** Why the pod must end, seen from what is wanted; undefined while it may go on. */
function terminationEvent(worker: Worker, desired: DesiredPod | undefined): WorkerEvent | undefined {
  const wanted = desired ?? worker.desired;
  const own = wanted?.pod.spec.terminationGracePeriodSeconds ?? defaultGraceSeconds;
  const terminate = (cause: TerminationCause, seconds: number): WorkerEvent => ({
    type: 'terminate',
    cause,
    gracePeriodSeconds: Math.max(seconds, 1),
  });
  if (!desired) return terminate({ kind: 'removed' }, wanted?.pod.metadata.deletionGracePeriodSeconds ?? own);
  const { metadata, status } = desired.pod;
  if (metadata.deletionTimestamp) return terminate({ kind: 'deleted' }, metadata.deletionGracePeriodSeconds ?? own);
  if (desired.intent) {
    const { reason, message, gracePeriodSeconds } = desired.intent;
    return terminate({ kind: 'evicted', reason, message }, gracePeriodSeconds ?? own);
  }
  // Its outcome was reported before this process began, or somebody else has declared it over: it stays as it is.
  if (isOver(status)) return terminate({ kind: 'completed' }, own);
  return undefined;
}
