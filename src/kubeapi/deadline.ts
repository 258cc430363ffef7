import type { Clock } from '../lib/clock.ts';

/** Fires once when nothing has happened for `ms`. `touch` only notes the time, so it may be called for every byte. */
export class Deadline implements Disposable {
  readonly #clock: Clock;
  readonly #expire: () => void;
  #ms: number;
  #touchedAt: number;
  #timer: Disposable | undefined;

  constructor(clock: Clock, ms: number, expire: () => void) {
    this.#clock = clock;
    this.#ms = ms;
    this.#expire = expire;
    this.#touchedAt = clock.monotonic();
    this.#arm(ms);
  }

  touch(): void {
    this.#touchedAt = this.#clock.monotonic();
  }

  /** Counts anew from now, with another limit; Infinity waits for ever. */
  restart(ms: number): void {
    this.touch();
    if (ms === this.#ms) return;
    this.#ms = ms;
    this.#arm(ms);
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = ms === Number.POSITIVE_INFINITY ? undefined : this.#clock.after(Math.ceil(ms), () => this.#due());
  }

  #due(): void {
    const left = this.#touchedAt + this.#ms - this.#clock.monotonic();
    if (left <= 0) this.#expire();
    else this.#arm(left);
  }
}
