import type { Clock } from './clock.ts';

/**
 * A token bucket: `perSecond` on average, `burst` at once. It starts full. Callers of `take` are
 * served in the order they came. A rate of 0 or less means no limit.
 */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #filledAt: number;

  constructor(options: { clock: Clock; perSecond: number; burst: number }) {
    this.#clock = options.clock;
    this.#perSecond = options.perSecond;
    this.#burst = Math.max(1, options.burst);
    this.#tokens = this.#burst;
    this.#filledAt = options.clock.monotonic();
  }

  /** Takes a token if one is there. */
  tryTake(): boolean {
    if (this.#perSecond <= 0) return true;
    this.#fill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Resolves when a token is ours; rejects with the signal's reason, giving the place in the queue back. */
  async take(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#perSecond <= 0) return;
    this.#fill();
    // A debt is a queue: each waiter sleeps until the bucket has been refilled up to his own token.
    this.#tokens -= 1;
    if (this.#tokens >= 0) return;
    try {
      await this.#clock.sleep((-this.#tokens / this.#perSecond) * 1000, signal);
    } catch (error) {
      this.#tokens += 1;
      throw error;
    }
  }

  #fill(): void {
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filledAt) / 1000) * this.#perSecond);
    this.#filledAt = now;
  }
}
