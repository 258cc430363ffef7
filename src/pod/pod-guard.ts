import type { PodUid } from '../api/ids.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/**
 * A pod so odd that a decision about it throws must cost only itself: what is done for the others goes on.
 * The same error of a pod is said once.
 */
export class PodGuard {
  readonly #log: Log;
  readonly #what: string;
  readonly #said = new Map<PodUid, string>();

  /** `what` fails, as in "cannot derive a status". */
  constructor(log: Log, what: string) {
    this.#log = log;
    this.#what = what;
  }

  /** What `work` returns; undefined when it threw. */
  run<T>(uid: PodUid, work: () => T): T | undefined {
    try {
      const result = work();
      this.#said.delete(uid);
      return result;
    } catch (error) {
      const fields = errorFields(error);
      if (this.#said.get(uid) !== fields.err) this.#log.error({ podUid: uid, ...fields }, `${this.#what} of a pod`);
      this.#said.set(uid, fields.err);
      return undefined;
    }
  }

  forget(uid: PodUid): void {
    this.#said.delete(uid);
  }
}
