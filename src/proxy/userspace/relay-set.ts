import type { RelayWish } from './compile-portals.ts';
import type { Relay, Sockets } from './relay.ts';

/** So many are opened at once. */
const atOnce = 256;

/** The relays that run, by `relayKey`. */
export class RelaySet {
  readonly #sockets: Sockets;
  readonly #host: string;
  readonly #relays = new Map<string, Relay>();

  constructor(sockets: Sockets, host: string) {
    this.#sockets = sockets;
    this.#host = host;
  }

  get isEmpty(): boolean {
    return this.#relays.size === 0;
  }

  readonly portOf = (key: string): number | undefined => this.#relays.get(key)?.port;

  /** Opens what is missing and tells all whom to serve. Closes none. Returns errors of those that cannot be opened. */
  async serve(wanted: ReadonlyMap<string, RelayWish>): Promise<readonly unknown[]> {
    const missing = [...wanted].filter(([key]) => !this.#relays.has(key));
    const errors: unknown[] = [];
    for (let at = 0; at < missing.length; at += atOnce) {
      await Promise.all(
        missing.slice(at, at + atOnce).map(async ([key, { protocol }]) => {
          try {
            this.#relays.set(key, await this.#sockets.open(protocol, this.#host));
          } catch (error) {
            errors.push(error);
          }
        }),
      );
    }
    for (const [key, wish] of wanted) this.#relays.get(key)?.serve(wish);
    return errors;
  }

  /** Closes those that no rule leads to any more. */
  keepOnly(wanted: ReadonlyMap<string, RelayWish>): void {
    for (const [key, relay] of this.#relays) {
      if (wanted.has(key)) continue;
      relay.close();
      this.#relays.delete(key);
    }
  }

  endAll(): void {
    this.keepOnly(new Map());
    this.#sockets.endAll();
  }
}
