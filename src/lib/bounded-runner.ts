import type { BackoffPolicy } from './backoff.ts';
import { backoffDelay } from './backoff.ts';
import type { Clock } from './clock.ts';

/** Why a step runs: something was poked, the last step failed, or nothing happened for `maxIntervalMs`. */
export type RunCause = 'change' | 'retry' | 'periodic';

export interface RunnerPolicy {
  /** Between the end of one step and the start of the next, so that a burst of pokes costs one step. */
  readonly minIntervalMs: number;
  /** A step runs at least this often, poked or not. */
  readonly maxIntervalMs: number;
  /** After a failure; pokes do not shorten it. */
  readonly backoff: BackoffPolicy;
}

/**
 * Decides when a step runs, and never runs two at once: at once when poked at rest, once for a burst, again after
 * a backoff when it failed, and every `maxIntervalMs` anyway. A poke that arrives during a step causes another.
 */
export class BoundedRunner {
  readonly #clock: Clock;
  readonly #policy: RunnerPolicy;
  readonly #step: (cause: RunCause, signal: AbortSignal) => Promise<void>;
  #poked = false;
  #hurried = false;
  #endPause: () => void = () => {};
  #wake: () => void = () => {};

  /** `step` rejects to be run again after the backoff; it has logged why. */
  constructor(options: {
    clock: Clock;
    policy: RunnerPolicy;
    step: (cause: RunCause, signal: AbortSignal) => Promise<void>;
  }) {
    this.#clock = options.clock;
    this.#policy = options.policy;
    this.#step = options.step;
  }

  /** There is something to do. Costs nothing; may be called at any rate, also before `run`. */
  poke(): void {
    this.#poked = true;
    this.#wake();
  }

  /** What was poked is urgent: it does not wait out `minIntervalMs`. A backoff is waited out all the same. */
  hurry(): void {
    if (!this.#poked) return;
    this.#hurried = true;
    this.#endPause();
  }

  /** Runs until the signal aborts; resolves then, after the step under way has ended. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    try {
      while (!signal.aborted) {
        const cause = failures > 0 ? await this.#backOff(failures, signal) : await this.#rest(signal);
        this.#poked = false;
        this.#hurried = false;
        try {
          await this.#step(cause, signal);
          failures = 0;
        } catch {
          if (signal.aborted) return;
          failures += 1;
          continue;
        }
        await this.#pause(signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    if (this.#policy.minIntervalMs <= 0 || this.#hurried) return;
    const over = new AbortController();
    this.#endPause = () => over.abort();
    try {
      await this.#clock.sleep(this.#policy.minIntervalMs, AbortSignal.any([signal, over.signal]));
    } catch (error) {
      if (signal.aborted || !over.signal.aborted) throw error;
    } finally {
      this.#endPause = () => {};
    }
  }

  async #backOff(failures: number, signal: AbortSignal): Promise<RunCause> {
    await this.#clock.sleep(backoffDelay(failures, this.#policy.backoff), signal);
    return 'retry';
  }

  async #rest(signal: AbortSignal): Promise<RunCause> {
    if (this.#poked) return 'change';
    return new Promise((resolve, reject) => {
      const end = () => {
        timer[Symbol.dispose]();
        signal.removeEventListener('abort', onAbort);
        this.#wake = () => {};
      };
      const timer = this.#clock.after(this.#policy.maxIntervalMs, () => {
        end();
        resolve('periodic');
      });
      const onAbort = () => {
        end();
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#wake = () => {
        end();
        resolve('change');
      };
    });
  }
}
