import type { Clock } from './clock.ts';

/** How often the meter looks whether time has passed without this process: a stall may stay unseen for as long. */
const tickMs = 250;
/** Timers are never exact: what is late by less was on time. */
const toleranceMs = 50;

/**
 * Measures how long this process could not run: a starved machine, a frozen cgroup, a blocked event loop.
 * A timer that comes late is the only sign of that, so there is one while somebody is between `enter` and
 * `leave`, and none when nobody is. Whoever waits for something compares `lostMs` before and after: what
 * the other side did not answer in that time it may well have answered, and nobody looked.
 */
export class StallMeter {
  readonly #clock: Clock;
  #watchers = 0;
  #lostMs = 0;
  /** When it looked last, monotonic milliseconds; undefined while no timer runs. */
  #lastTick: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  enter(): void {
    this.#watchers++;
    if (this.#lastTick === undefined) this.#arm();
  }

  leave(): void {
    this.#watchers--;
  }

  /** Milliseconds lost since the beginning, up to now: only differences mean something, between `enter` and `leave`. */
  lostMs(): number {
    return this.#lostMs + this.#overdue();
  }

  #overdue(): number {
    if (this.#lastTick === undefined) return 0;
    const overdue = this.#clock.monotonic() - this.#lastTick - tickMs;
    return overdue > toleranceMs ? overdue : 0;
  }

  #arm(): void {
    this.#lastTick = this.#clock.monotonic();
    this.#clock.after(tickMs, () => {
      this.#lostMs += this.#overdue();
      this.#lastTick = undefined;
      if (this.#watchers > 0) this.#arm();
    });
  }
}
