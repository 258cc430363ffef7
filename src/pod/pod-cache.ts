import type { PodUid } from '../api/ids.ts';
import type { ObservedPod } from './observed.ts';

/**
 * The observed truth, one record per pod, written by the PLEG alone. A record carries the moment its
 * listing began, so that a slow relist cannot overwrite what a later, quicker look has found.
 */
export class PodCache {
  readonly #records = new Map<PodUid, { readonly observed: ObservedPod; readonly asOf: number }>();

  get(uid: PodUid): ObservedPod | undefined {
    return this.#records.get(uid)?.observed;
  }

  uids(): readonly PodUid[] {
    return [...this.#records.keys()];
  }

  /** Pods as of `asOf` (monotonic milliseconds) or later are kept; returns whether the record was taken. */
  commit(uid: PodUid, observed: ObservedPod | undefined, asOf: number): boolean {
    const known = this.#records.get(uid);
    if (known && known.asOf > asOf) return false;
    if (observed) this.#records.set(uid, { observed, asOf });
    else this.#records.delete(uid);
    return true;
  }
}
