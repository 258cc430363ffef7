/** Runs what is to be done for one key one after another, and for different keys side by side. */
export class Turns<K> {
  readonly #last = new Map<K, Promise<unknown>>();

  /** Resolves or fails as `run` does, once those before it are over, however they ended. */
  take<T>(key: K, run: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(key) ?? Promise.resolve()).then(run, run);
    const settled = turn.then(
      () => {},
      () => {},
    );
    this.#last.set(key, settled);
    void settled.then(() => {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    });
    return turn;
  }
}
