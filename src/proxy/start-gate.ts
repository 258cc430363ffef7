import type { Clock } from '../lib/clock.ts';

/** Without the node's addresses its node ports are served nowhere, which is better than nothing being served at all. */
const patienceMs = 10_000;

/**
 * What the first rules wait for: that all objects have been told, and, where the node's addresses decide what is
 * served, for a while that these are known. Until then the rules of an earlier run carry Services.
 */
export class StartGate {
  readonly #clock: Pick<Clock, 'after'>;
  #sourcesSynced = false;
  #needsNode: boolean;
  #patience: Disposable | undefined;

  constructor(options: { readonly clock: Pick<Clock, 'after'>; readonly needsNode: boolean }) {
    this.#clock = options.clock;
    this.#needsNode = options.needsNode;
  }

  get isOpen(): boolean {
    return this.#sourcesSynced && !this.#needsNode;
  }

  /** Whether all objects have been told. */
  get isTold(): boolean {
    return this.#sourcesSynced;
  }

  /** All objects have been told. `opened` is called when the node's addresses are not waited for any longer. */
  sourcesSynced(opened: () => void): void {
    this.#sourcesSynced = true;
    if (!this.#needsNode) return;
    this.#patience ??= this.#clock.after(patienceMs, () => {
      this.nodeKnown();
      opened();
    });
  }

  /** The node's addresses are known; returns whether that opens the gate. */
  nodeKnown(): boolean {
    const opens = this.#needsNode && this.#sourcesSynced;
    this.#needsNode = false;
    this.#patience?.[Symbol.dispose]();
    return opens;
  }
}
