import { type BackoffPolicy, backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';

/** Upstream's, for images. */
const policy: BackoffPolicy = { initialMs: 10_000, maxMs: 300_000 };
/** After so long without a failure the back-off begins anew. */
const forgetAfterMs = 2 * policy.maxMs;
/** Failures remembered at a time; the oldest is forgotten first and then simply tried again. */
const maxRemembered = 1000;

interface Failure {
  readonly count: number;
  /** Monotonic milliseconds. */
  readonly at: number;
  /** Undefined since a later pull was good: what counts then is only that the next failure is not the first one. */
  readonly message: string | undefined;
}

/** When a pull that failed may be tried again: 10 s doubling to 5 min, for each pod and image. */
export class PullBackoff {
  readonly #clock: Clock;
  readonly #failures = new Map<string, Failure>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  failed(key: string, message: string): void {
    const at = this.#clock.monotonic();
    const count = (this.#known(key)?.count ?? 0) + 1;
    this.#failures.delete(key);
    this.#failures.set(key, { count, at, message });
    const oldest = this.#failures.keys().next().value;
    if (this.#failures.size > maxRemembered && oldest !== undefined) this.#failures.delete(oldest);
  }

  succeeded(key: string): void {
    const failure = this.#known(key);
    if (failure) this.#failures.set(key, { ...failure, message: undefined });
    else this.#failures.delete(key);
  }

  /** The failure that is waited out, with the milliseconds that are left (0 when it is due); undefined without one. */
  waiting(key: string): { readonly message: string; readonly leftMs: number; readonly agoMs: number } | undefined {
    const failure = this.#known(key);
    if (failure?.message === undefined) return undefined;
    const agoMs = this.#clock.monotonic() - failure.at;
    return { message: failure.message, leftMs: Math.max(0, backoffDelay(failure.count, policy) - agoMs), agoMs };
  }

  #known(key: string): Failure | undefined {
    const failure = this.#failures.get(key);
    return failure && this.#clock.monotonic() - failure.at <= forgetAfterMs ? failure : undefined;
  }
}
