import { setTimeout as delay } from 'node:timers/promises';

/**
 * Time as a dependency. Everything that waits, or stamps a moment, takes a Clock, so that a test
 * can step through hours. Milliseconds everywhere.
 */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. Jumps when somebody sets it: only for stamps that others read. */
  now(): number;
  /** Milliseconds that only go forward, for intervals and deadlines. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms`, unless disposed before. Never keeps the process alive. */
  after(ms: number, run: () => void): Disposable;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal ? { signal } : undefined),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    timer.unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
