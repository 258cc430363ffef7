/** Values by key that count for a while; beyond `limit` entries the oldest go first. Times are monotonic milliseconds. */
export class ExpiringCache<V> {
  readonly #limit: number;
  readonly #entries = new Map<string, { readonly value: V; readonly until: number }>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string, now: number): V | undefined {
    const entry = this.#entries.get(key);
    if (entry && entry.until <= now) this.#entries.delete(key);
    return entry && entry.until > now ? entry.value : undefined;
  }

  set(key: string, value: V, until: number): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, until });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#limit) break;
      this.#entries.delete(oldest);
    }
  }
}
