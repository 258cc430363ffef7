import type { Event } from '../api/core-v1.ts';
import type { Clock } from '../lib/clock.ts';
import { TokenBucket } from '../lib/token-bucket.ts';

/** What to do with an event: nothing, post it, or raise the count of the one posted before. */
export type Correlated =
  | { readonly action: 'drop' }
  | { readonly action: 'create'; readonly key: string; readonly event: Event }
  | { readonly action: 'patch'; readonly key: string; readonly event: Event; readonly patch: EventPatch };

export interface EventPatch {
  readonly count: number;
  readonly lastTimestamp: string;
  readonly message: string;
}

/** The numbers of client-go's correlator (tools/record). */
const cacheSize = 4096;
const spamBurst = 25;
const spamPerSecond = 1 / 300;
const similarLimit = 10;
const similarIntervalMs = 600_000;

/**
 * Keeps a chatty object from flooding the API: the same event again only raises a count; more than
 * ten of one reason but different messages within ten minutes become one event; and an object that
 * has used up 25 events gets one more every five minutes.
 */
export class EventCorrelator {
  readonly #clock: Clock;
  readonly #posted = new BoundedMap<{ event: Event; count: number }>(cacheSize);
  readonly #similar = new BoundedMap<{ messages: Set<string>; lastAt: number }>(cacheSize);
  readonly #buckets = new BoundedMap<TokenBucket>(cacheSize);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `event` as for its first posting; call `posted` when the server has taken it. */
  correlate(event: Event): Correlated {
    const { key, event: merged } = this.#aggregate(event);
    const known = this.#posted.get(key);
    const count = (known?.count ?? 0) + 1;
    // A dropped event is counted all the same, as upstream does: the next patch tells how many there were.
    if (known) known.count = count;
    if (!this.#bucketOf(event).tryTake()) return { action: 'drop' };
    if (!known) return { action: 'create', key, event: merged };
    const { event: first } = known;
    const { lastTimestamp, message } = merged;
    return {
      action: 'patch',
      key,
      patch: { count, lastTimestamp: lastTimestamp ?? '', message },
      event: { ...merged, metadata: first.metadata, firstTimestamp: first.firstTimestamp ?? null, count },
    };
  }

  /** The server has this event now, under this name. */
  posted(key: string, event: Event): void {
    const known = this.#posted.get(key);
    this.#posted.set(key, { event, count: Math.max(known?.count ?? 0, event.count ?? 1) });
  }

  #aggregate(event: Event): { key: string; event: Event } {
    const group = groupKey(event);
    const exact = JSON.stringify([group, event.involvedObject.fieldPath, event.message]);
    const now = this.#clock.now();
    const found = this.#similar.get(group);
    const fresh =
      found && now - found.lastAt <= similarIntervalMs ? found : { messages: new Set<string>(), lastAt: now };
    if (fresh.messages.size < similarLimit) fresh.messages.add(event.message);
    fresh.lastAt = now;
    this.#similar.set(group, fresh);
    if (fresh.messages.size < similarLimit) return { key: exact, event };
    return { key: group, event: { ...event, message: `(combined from similar events): ${event.message}` } };
  }

  #bucketOf({ source, involvedObject: { kind, namespace, name, uid, apiVersion } }: Event): TokenBucket {
    const key = JSON.stringify([source, kind, namespace, name, uid, apiVersion]);
    const bucket =
      this.#buckets.get(key) ?? new TokenBucket({ clock: this.#clock, perSecond: spamPerSecond, burst: spamBurst });
    this.#buckets.set(key, bucket);
    return bucket;
  }
}

/** Events that differ in their message, or the container they speak of, only. */
function groupKey({ source, involvedObject, type, reason, reportingComponent, reportingInstance }: Event): string {
  const { kind, namespace, name, uid, apiVersion } = involvedObject;
  const about = [kind, namespace, name, uid, apiVersion];
  return JSON.stringify([source, about, type, reason, reportingComponent, reportingInstance]);
}

/** Forgets what was used longest ago. */
class BoundedMap<V> {
  readonly #limit: number;
  readonly #entries = new Map<string, V>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#limit) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }
}
