import type { PodUid } from '../api/ids.ts';
import type { ObservedPod } from './observed.ts';

/**
 * The observed truth, one record per pod, written by the PLEG alone. A record carries the moment its
 * listing began, so that a slow relist cannot overwrite what a later, quicker look has found; that a pod
 * is gone is remembered for the same reason.
 */
export class PodCache {
  readonly #records = new Map<PodUid, { readonly observed: ObservedPod; readonly asOf: number }>();
  /** When pods were found gone, until every listing that began before is over. */
  readonly #goneAsOf = new Map<PodUid, number>();

  get(uid: PodUid): ObservedPod | undefined {
    return this.#records.get(uid)?.observed;
  }

  uids(): readonly PodUid[] {
    return [...this.#records.keys()];
  }

  /** Pods as of `asOf` (monotonic milliseconds) or later are kept; returns whether the record was taken. */
  commit(uid: PodUid, observed: ObservedPod | undefined, asOf: number): boolean {
    const knownAsOf = this.#records.get(uid)?.asOf ?? this.#goneAsOf.get(uid);
    if (knownAsOf !== undefined && knownAsOf > asOf) return false;
    if (observed) {
      this.#records.set(uid, { observed, asOf });
      this.#goneAsOf.delete(uid);
    } else {
      this.#records.delete(uid);
      this.#goneAsOf.set(uid, asOf);
    }
    return true;
  }

  /** No listing that began before `asOf` will be committed any more: pods found gone before are forgotten. */
  forgetGone(asOf: number): void {
    for (const [uid, gone] of this.#goneAsOf) if (gone < asOf) this.#goneAsOf.delete(uid);
  }
}
