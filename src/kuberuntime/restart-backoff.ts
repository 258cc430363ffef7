import { type BackoffPolicy, backoffDelay } from '../lib/backoff.ts';

/** What is remembered of a container that keeps ending. */
export interface RestartBackoff {
  /** Restarts that have been delayed, the next one included. */
  readonly failures: number;
  /** Milliseconds since the epoch at which the last counted run ended. */
  readonly lastEndAt: number;
}

export interface LastRun {
  readonly attempt: number;
  readonly startedAt: number;
  readonly finishedAt: number;
}

export interface NextRestart {
  /** What to remember if the container is started now. */
  readonly backoff: RestartBackoff;
  readonly delayMs: number;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
}

/** 10 s doubling to 5 min, as upstream; the maximum is the node's `crashLoopBackOff.maxContainerRestartPeriod`. */
export const crashLoopInitialMs = 10_000;
/** A run of this length is no crash any more. */
export const crashLoopResetMs = 600_000;

/**
 * When may a container that ended be started again? The first restart is at once, each further one
 * waits from the end of the last run. What is remembered survives an agent restart through the
 * attempt number that the runtime keeps: a crash loop does not start over because keelson did.
 */
export const nextRestart = (known: RestartBackoff | undefined, last: LastRun, maxMs: number): NextRestart =>
  delayed(count(known, last), last, maxMs);

/**
 * The same for a run that is about to be killed and replaced. Its own end is still to come, so the wait is from the
 * end before it. That one was counted when the run began: the delay that is due now is the next one.
 */
export function nextReplacement(known: RestartBackoff | undefined, before: LastRun, maxMs: number): NextRestart {
  const counted = known?.lastEndAt === before.finishedAt;
  const backoff = counted ? { ...known, failures: known.failures + 1 } : count(known, before);
  return delayed(backoff, before, maxMs);
}

/** Another definition has no crashes behind it; what stood in its place may have ended, or not. */
export const newDefinition = (last: Pick<LastRun, 'finishedAt'> | undefined): RestartBackoff => ({
  failures: 0,
  lastEndAt: last?.finishedAt ?? 0,
});

function delayed(backoff: RestartBackoff, last: LastRun, maxMs: number): NextRestart {
  const policy: BackoffPolicy = { initialMs: Math.min(crashLoopInitialMs, maxMs), maxMs };
  const delayMs = backoffDelay(backoff.failures, policy);
  return { backoff, delayMs, notBefore: last.finishedAt + delayMs };
}

function count(known: RestartBackoff | undefined, last: LastRun): RestartBackoff {
  if (known && known.lastEndAt === last.finishedAt) return known;
  const ranLong = last.startedAt > 0 && last.finishedAt - last.startedAt >= crashLoopResetMs;
  if (ranLong) return { failures: 0, lastEndAt: last.finishedAt };
  const failures = known ? known.failures + 1 : last.attempt;
  return { failures, lastEndAt: last.finishedAt };
}
