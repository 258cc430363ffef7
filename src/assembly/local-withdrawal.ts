import type { PodUid } from '../api/ids.ts';
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { DualProxier } from '../proxy/dual-proxier.ts';

/** How long the end of a pod waits for the rules. They take some 20 ms; a kernel that refuses them must not keep pods alive. */
const patienceMs = 1_000;

export interface LocalWithdrawalOptions {
  /** Tells the proxier what is known of local pods now. */
  readonly tell: () => void;
  readonly proxier: Pick<DualProxier, 'hurry' | 'whenWritten'>;
  /** The addresses that a pod serves on, also those that it shares with its node. */
  readonly addressesOf: (uid: PodUid) => readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * What is known of local pods takes them out of the rules at once, before the API server knows of it; a pod that is
 * to end is out before its containers hear of it. By then the health check ports count it no more either: they answer
 * from what is known, even where the kernel cannot be told.
 */
export class LocalWithdrawal {
  readonly #o: LocalWithdrawalOptions;
  #scheduled = false;
  #late = false;

  constructor(options: LocalWithdrawalOptions) {
    this.#o = options;
  }

  /** A pod may have changed. Many change together: they are told of once. */
  podChanged(): void {
    if (!this.#scheduled) setImmediate(() => this.tellNow());
    this.#scheduled = true;
  }

  tellNow(): void {
    this.#scheduled = false;
    this.#o.tell();
  }

  /**
   * Resolves when no new connection is led to a pod that has begun to end, unless nobody else serves; at once when it
   * is nobody's endpoint, and after a second at the latest, which is said once. Rejects only when the signal aborts.
   */
  async leaveServices(uid: PodUid, signal: AbortSignal): Promise<void> {
    const { addressesOf, clock, log, proxier } = this.#o;
    const ips = addressesOf(uid);
    if (ips.length === 0) return;
    this.tellNow();
    proxier.hurry();
    const late = new AbortController();
    using _timer = clock.after(patienceMs, () => late.abort());
    try {
      await proxier.whenWritten(ips, AbortSignal.any([signal, late.signal]));
      this.#late = false;
    } catch (error) {
      signal.throwIfAborted();
      if (!late.signal.aborted) throw error;
      if (!this.#late) log.warn({ podUid: uid, waitedMs: patienceMs }, 'a pod ends before the rules lead elsewhere');
      this.#late = true;
    }
  }
}
