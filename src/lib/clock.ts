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

/** The longest wait that the timers below know: 24 days. What is longer they take for no wait at all. */
const longestMs = 2 ** 31 - 1;

/** Waits of any length: a grace period of years is one that people write. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    const options = signal ? { signal } : undefined;
    let left = ms;
    for (; left > longestMs; left -= longestMs) await delay(longestMs, undefined, options);
    await delay(left, undefined, options);
  },
  after: (ms, run) => {
    let timer: NodeJS.Timeout;
    const wait = (left: number) => {
      const next = left > longestMs ? () => wait(left - longestMs) : run;
      timer = setTimeout(next, Math.min(left, longestMs)).unref();
    };
    wait(ms);
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};
