import type { Clock } from './clock.ts';

interface Timer {
  readonly due: number;
  readonly run: () => void;
}

/** A clock that stands still until `advance` is called; timers fire in order of their due time. */
export class FakeClock implements Clock {
  #now: number;
  #elapsed = 0;
  #timers: Timer[] = [];

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const timer = this.after(ms, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      const onAbort = () => {
        timer[Symbol.dispose]();
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  after(ms: number, run: () => void): Disposable {
    const timer: Timer = { due: this.#elapsed + ms, run };
    this.#timers.push(timer);
    return {
      [Symbol.dispose]: () => {
        this.#timers = this.#timers.filter((t) => t !== timer);
      },
    };
  }

  /** How many timers wait: tells a test that the code under it has gone to sleep. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Sets the wall clock alone, as an administrator or NTP would: timers do not notice. */
  setWallClock(now: number): void {
    this.#now = now;
  }

  /** Time passes and nothing fires, as when a machine has no time for this process: what fell due fires late, with the next `advance`. */
  stall(ms: number): void {
    this.#move(this.#elapsed + ms);
  }

  /** Moves time on by `ms`, firing what falls due, and lets promises settle after each firing. */
  async advance(ms: number): Promise<void> {
    const target = this.#elapsed + ms;
    await settle();
    for (;;) {
      const next = this.#timers.filter((t) => t.due <= target).sort((a, b) => a.due - b.due)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      this.#move(Math.max(next.due, this.#elapsed));
      next.run();
      await settle();
    }
    this.#move(target);
  }

  #move(elapsed: number): void {
    this.#now += elapsed - this.#elapsed;
    this.#elapsed = elapsed;
  }
}

/** One turn of the event loop: every promise that can settle without I/O has settled. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
