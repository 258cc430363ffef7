import type { Log } from '../../lib/log.ts';

/** Below this share of the limit it counts as not reached any more. */
const relief = 0.9;

/** Counts what is open of one kind, keeps it below a limit, and can end all of it. */
export class SocketQuota {
  readonly #limit: number;
  readonly #log: Log;
  readonly #what: string;
  /** In the order of their last use. */
  readonly #open = new Set<() => void>();
  #isFull = false;

  /** `what` says in the log what there are too many of. */
  constructor({ limit, log, what }: { limit: number; log: Log; what: string }) {
    this.#limit = limit;
    this.#log = log;
    this.#what = what;
  }

  get size(): number {
    return this.#open.size;
  }

  /** One more; returns what to call when it has ended, or undefined when there may be no more. */
  enter(end: () => void): (() => void) | undefined {
    if (this.#open.size >= this.#limit) {
      this.#sayFull();
      return undefined;
    }
    this.#open.add(end);
    return () => this.#left(end);
  }

  /** One more, for which the one that was not used for longest is ended if need be. */
  enterInstead(end: () => void): () => void {
    const [oldest] = this.#open;
    if (this.#open.size >= this.#limit && oldest) {
      this.#sayFull();
      this.#open.delete(oldest);
      oldest();
    }
    this.#open.add(end);
    return () => this.#left(end);
  }

  used(end: () => void): void {
    if (this.#open.delete(end)) this.#open.add(end);
  }

  endAll(): void {
    for (const end of [...this.#open]) end();
    this.#open.clear();
  }

  #left(end: () => void): void {
    this.#open.delete(end);
    if (this.#open.size < this.#limit * relief) this.#isFull = false;
  }

  #sayFull(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    this.#log.warn({ limit: this.#limit, kind: this.#what }, 'relays have as many clients as they may have at once');
  }
}
