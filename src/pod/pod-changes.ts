import type { PodUid } from '../api/ids.ts';

/** Tells whoever follows one pod for a while that something about it may have changed. */
export class PodChanges {
  readonly #listeners = new Map<PodUid, Set<() => void>>();

  subscribe(uid: PodUid, wake: () => void): Disposable {
    const listeners = this.#listeners.get(uid) ?? new Set();
    this.#listeners.set(uid, listeners.add(wake));
    return {
      [Symbol.dispose]: () => {
        listeners.delete(wake);
        if (listeners.size === 0 && this.#listeners.get(uid) === listeners) this.#listeners.delete(uid);
      },
    };
  }

  tell(uid: PodUid): void {
    for (const wake of this.#listeners.get(uid) ?? []) wake();
  }
}
