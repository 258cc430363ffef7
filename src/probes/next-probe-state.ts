import type { Probe } from '../api/core-v1.ts';
import type { ProbeResult, ProbeType } from './probe-results.ts';

/** What one probe of one container has come to. A container with a new id begins with `initialProbeState`. */
export interface ProbeState {
  /** Undefined until a threshold was reached for the first time: not ready, not started, and alive. */
  readonly result: ProbeResult | undefined;
  /** Equal answers in a row. */
  readonly run: { readonly verdict: ProbeResult['verdict']; readonly length: number } | undefined;
}

export const initialProbeState: ProbeState = { result: undefined, run: undefined };

/** An answer that counts; where nobody could be asked there is none. */
export interface CountedAnswer {
  readonly verdict: ProbeResult['verdict'];
  readonly message: string;
}

/** Timers cannot run longer, which is 24 days: a delay that stands for 'never' must not become 'at once'. */
export const maxTimerMs = 2 ** 31 - 1;
const toMs = (seconds: number): number => Math.min(seconds * 1000, maxTimerMs);

/** The API server's defaults, for pods that did not pass it; as it does, a zero counts as none. */
export const probeNumbers = (probe: Probe) => ({
  initialDelayMs: toMs(probe.initialDelaySeconds || 0),
  timeoutMs: toMs(probe.timeoutSeconds || 1),
  periodMs: toMs(probe.periodSeconds || 10),
  successThreshold: probe.successThreshold || 1,
  failureThreshold: probe.failureThreshold || 3,
});

/**
 * Counts an answer: as many equal ones in a row as the threshold says change the verdict, fewer leave it.
 * `now` is in milliseconds since the epoch.
 */
export function nextProbeState(state: ProbeState, answer: CountedAnswer, probe: Probe, now: number): ProbeState {
  const { successThreshold, failureThreshold } = probeNumbers(probe);
  const { verdict, message } = answer;
  const length = state.run?.verdict === verdict ? state.run.length + 1 : 1;
  const run = { verdict, length };
  if (length < (verdict === 'success' ? successThreshold : failureThreshold)) return { ...state, run };
  const since = state.result?.verdict === verdict ? state.result.since : now;
  return { result: { verdict, message, since }, run };
}

export interface ProbeGate {
  readonly type: ProbeType;
  readonly result: ProbeResult | undefined;
  /** Whether the container's startup probe has succeeded; true where it has none. */
  readonly started: boolean;
  /** The pod has to end: whether it lives or has started is of no interest any more, readiness still is. */
  readonly terminating: boolean;
}

/**
 * Whether to go on asking. A container that failed liveness or startup is about to be restarted and left
 * alone until it has a new id; a startup probe is over with its success, and the others wait for that.
 */
export function mayProbe({ type, result, started, terminating }: ProbeGate): boolean {
  switch (type) {
    case 'startup':
      return !terminating && result === undefined;
    case 'liveness':
      return !terminating && started && result?.verdict !== 'failure';
    case 'readiness':
      return started;
    default:
      return type satisfies never;
  }
}

/** Where in its period a probe is asked for the first time, once it may be. `random` is in [0, 1). */
export interface FirstProbe {
  readonly type: ProbeType;
  readonly probe: Probe;
  /** A verdict is there already: it was remembered over a restart of keelson. */
  readonly remembered: boolean;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly now: number;
  readonly random: number;
}

/**
 * Milliseconds until the first question: after the initial delay, and then anywhere within one period. A
 * period spreads the probes of a node that was just started, and leaves a container the time that the
 * kubelet leaves it, whose ticks do not know when a container started either. Readiness alone is asked at
 * once, because users wait for it.
 */
export function firstProbeDelay({ type, probe, remembered, startedAt, now, random }: FirstProbe): number {
  const { initialDelayMs, periodMs } = probeNumbers(probe);
  const jitter = type === 'readiness' && !remembered ? 0 : random * periodMs;
  // A clock that was set back must not make the delay longer than it is.
  const delay = Math.min(initialDelayMs, Math.max(0, startedAt + initialDelayMs - now));
  return Math.min(delay + jitter, maxTimerMs);
}

/**
 * Whether a failure says nothing about the container: its time ran out while this process could not run
 * for at least half of that time, so that the container had less than half of what it was promised, or its
 * answer lay there unread. Such a probe is not counted; refusals and bad answers always are, whenever they come.
 * `lostMs` is how long this process did not run while it waited.
 */
export function isStarved(timedOut: boolean, lostMs: number, timeoutMs: number): boolean {
  return timedOut && lostMs >= timeoutMs / 2;
}

/** Whether a probe was asked so late that a reader of its failure ought to know: half a period or more. */
export const isLate = (lateMs: number, periodMs: number): boolean => lateMs >= periodMs / 2;
