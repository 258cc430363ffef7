/** A counter of nanoseconds, seen at a moment on a clock that only goes forward (milliseconds). */
interface Seen {
  readonly at: number;
  readonly usage: number;
}

/** A rate over less than this says more of the clock than of the load. */
const shortestMs = 1_000;
/** Once there is a rate, the next one is over as long as upstream's, so that frequent readers do not make it jumpy. */
const usualMs = 8_000;

/** How much CPU is used now, from readings of a counter as they come. */
export class CpuRate {
  #base: Seen | undefined;
  #nanoCores: number | undefined;

  /** Nanoseconds of CPU per second; undefined until two readings were far enough apart. */
  get nanoCores(): number | undefined {
    return this.#nanoCores;
  }

  add(usage: number, at: number): void {
    const base = this.#base;
    if (!base || usage < base.usage) {
      // The first one, or the counter began anew.
      this.#base = { at, usage };
      return;
    }
    const elapsed = at - base.at;
    if (elapsed < (this.#nanoCores === undefined ? shortestMs : usualMs)) return;
    this.#nanoCores = Math.round(((usage - base.usage) * 1_000) / elapsed);
    this.#base = { at, usage };
  }
}
