import type { Clock } from '../../lib/clock.ts';
import { ExpiringCache } from '../../lib/expiring-cache.ts';
import type { Target } from '../route-services.ts';

/** A client more than this, for one relay, and the one that was away longest is spread anew. */
const maxClients = 10_000;

/** Names an endpoint among those of one relay. */
export const targetKey = ({ ip, port }: Pick<Target, 'ip' | 'port'>): string => `${ip} ${port}`;

/** Chooses endpoints in turn, or the one that a client had before. */
export class EndpointPicker {
  readonly #clock: Clock;
  readonly #clients: ExpiringCache<string>;
  #targets: ReadonlyMap<string, Target> = new Map();
  #order: readonly Target[] = [];
  #affinitySeconds: number | undefined;
  #next = 0;

  constructor(clock: Clock, limit = maxClients) {
    this.#clock = clock;
    this.#clients = new ExpiringCache(limit);
  }

  serve({ targets, affinitySeconds }: { targets: readonly Target[]; affinitySeconds: number | undefined }): void {
    this.#order = targets;
    this.#targets = new Map(targets.map((target) => [targetKey(target), target]));
    this.#affinitySeconds = affinitySeconds;
  }

  has(target: Target): boolean {
    return this.#targets.has(targetKey(target));
  }

  /** Undefined when there is none but those in `except` (by `targetKey`). */
  pick(client: string, except: ReadonlySet<string> = new Set()): Target | undefined {
    const known = this.#affinitySeconds === undefined ? undefined : this.#known(client, except);
    const target = known ?? this.#turn(except);
    if (target) this.used(client, target);
    return target;
  }

  /** A client counts as away from now on. */
  used(client: string, target: Target): void {
    if (this.#affinitySeconds === undefined) return;
    this.#clients.set(client, targetKey(target), this.#clock.monotonic() + this.#affinitySeconds * 1000);
  }

  #known(client: string, except: ReadonlySet<string>): Target | undefined {
    const key = this.#clients.get(client, this.#clock.monotonic());
    return key === undefined || except.has(key) ? undefined : this.#targets.get(key);
  }

  #turn(except: ReadonlySet<string>): Target | undefined {
    for (let tried = 0; tried < this.#order.length; tried++) {
      const target = this.#order[this.#next++ % this.#order.length];
      if (target && !except.has(targetKey(target))) return target;
    }
    return undefined;
  }
}
