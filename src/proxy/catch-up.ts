interface Waiting {
  readonly mark: number;
  readonly done: () => void;
}

/** Lets others wait until the kernel has what was asked of it by then, and not for what is asked later. */
export class CatchUp {
  #asked = 0;
  #written = 0;
  readonly #waiting = new Set<Waiting>();

  /** Something is asked of the kernel. */
  ask(): void {
    this.#asked += 1;
  }

  /** To be taken before a sync looks at what is asked, and given to `wrote` when it has succeeded. */
  get mark(): number {
    return this.#asked;
  }

  wrote(mark: number): void {
    this.#written = mark;
    for (const waiting of this.#waiting) {
      if (waiting.mark > mark) continue;
      this.#waiting.delete(waiting);
      waiting.done();
    }
  }

  /** Resolves when all that is asked by now is written; rejects with the signal's reason when it aborts first. */
  async whenWritten(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#written === this.#asked) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { mark: this.#asked, done: resolve };
    const onAbort = () => reject(signal.reason);
    this.#waiting.add(waiting);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await promise;
    } finally {
      this.#waiting.delete(waiting);
      signal.removeEventListener('abort', onAbort);
    }
  }
}
