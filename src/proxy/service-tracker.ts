import { isDeepStrictEqual } from 'node:util';
import type { ServiceInfo } from './read-service.ts';

export interface ServiceChange {
  readonly previous: ServiceInfo | undefined;
  readonly current: ServiceInfo | undefined;
}

/** Owns what is known of every Service, and collects what changed since the last drain. */
export class ServiceTracker {
  readonly #services = new Map<string, ServiceInfo>();
  readonly #changes = new Map<string, ServiceChange>();

  /** How many changes wait to be drained. */
  get pending(): number {
    return this.#changes.size;
  }

  get(key: string): ServiceInfo | undefined {
    return this.#services.get(key);
  }

  keys(): IterableIterator<string> {
    return this.#services.keys();
  }

  /** Returns whether anything is left to drain for this key: a change that was taken back before the drain vanishes. */
  update(key: string, current: ServiceInfo | undefined): boolean {
    const pending = this.#changes.get(key);
    const previous = pending ? pending.previous : this.#services.get(key);
    if (current) this.#services.set(key, current);
    else this.#services.delete(key);
    if (isDeepStrictEqual(previous, current)) {
      this.#changes.delete(key);
      return false;
    }
    this.#changes.set(key, { previous, current });
    return true;
  }

  /** The changes by Service key; they are the caller's now. */
  drain(): ReadonlyMap<string, ServiceChange> {
    const drained = new Map(this.#changes);
    this.#changes.clear();
    return drained;
  }
}
