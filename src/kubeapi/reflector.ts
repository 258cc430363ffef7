import type { KubeObject } from '../api/meta-v1.ts';
import { backoffDelay, jittered } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Schema } from '../lib/schema.ts';
import { Deadline } from './deadline.ts';
import { isExpired, type KubeApi, type WatchEvent } from './kube-api.ts';
import { ObjectStore, type StoreListener } from './object-store.ts';
import { failureLevel } from './outage-log.ts';
import {
  decideAfterFailure,
  endsInitialEvents,
  isStreamingRefusal,
  ListWithoutEnd,
  type ReflectorHealth,
  StreamingIgnored,
  versionIn,
} from './reflector-decisions.ts';
import type { Resource } from './resources.ts';

export interface ReflectorOptions<T extends KubeObject> {
  readonly api: KubeApi;
  readonly resource: Resource<T>;
  readonly query?: { readonly namespace?: string; readonly fieldSelector?: string; readonly labelSelector?: string };
  readonly clock: Clock;
  readonly log: Log;
  /** Strips what nobody reads before an object is kept; managedFields are stripped anyway. */
  readonly transform?: (object: T) => T;
  /** What an object has to be to be taken, in place of what the kind has in object-shapes.ts. */
  readonly shape?: Schema<object>;
  /**
   * Called when the way to the server breaks, breaks for another reason, or mends (undefined). Without
   * it these turns are logged.
   */
  readonly onHealth?: (error: unknown | undefined) => void;
  readonly random?: () => number;
}

/** A watch asks the server to end it after five to ten minutes, so that watches move to other servers in time. */
const watchSeconds = 300;
/** A watch that ends sooner than this and has brought nothing counts as a failure. */
const shortWatchMs = 1_000;
/** A server that ignores `sendInitialEvents` never says that the list is complete: how long to wait between its events. */
const streamingPatienceMs = 10_000;
/** A list after an expired version is no retry of anything, unless the last one of that sort was less than this ago. */
const relistAtOnceMs = 30_000;
const pageSize = 500;

/**
 * Keeps a copy of one kind's objects in step with the API server and tells what changed.
 *
 * The copy comes as a streaming list where the server offers it, else as a paged list, and is followed
 * by watches, each from the last resourceVersion seen; a lost connection therefore costs nothing but
 * the gap. Only when the server has forgotten that version (410), or does not know it, is everything
 * listed again, and then just the differences are told, deletions among them. An object that makes no
 * sense is no reason for that: the store leaves it out.
 *
 * `run` never ends by itself: whatever goes wrong is retried.
 */
export class Reflector<T extends KubeObject> {
  /** Resolves once the first complete list is in the store; never rejects. */
  readonly synced: Promise<void>;
  readonly #options: ReflectorOptions<T>;
  readonly #store: ObjectStore<T>;
  readonly #markSynced: () => void;
  #hasSynced = false;
  #resourceVersion: string | undefined;
  #streamingRefused = false;
  #health: ReflectorHealth = 'unknown';
  /** Since a watch last worked. */
  #failures = 0;
  #relistedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#store = new ObjectStore<T>(options);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#markSynced = resolve;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Keyed 'namespace/name', or 'name' for cluster-scoped kinds. */
  get store(): ReadonlyMap<string, T> {
    return this.#store.objects;
  }

  /** Is told each change from now on, never what is in the store already. Disposing of the result ends it. */
  subscribe(listener: StoreListener<T>): Disposable {
    return this.#store.subscribe(listener);
  }

  /** Runs until the signal is aborted; resolves then. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random = Math.random } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#step(signal);
      } catch (error) {
        if (signal.aborted) return;
        const { relist, backoff, minimumMs } = decideAfterFailure(error);
        if (relist) this.#resourceVersion = undefined;
        this.#failures += 1;
        this.#unhealthy(error);
        if (relist && this.#mayListAtOnce()) continue;
        const delayMs = Math.max(minimumMs, jittered(backoffDelay(this.#failures, backoff), 1, random));
        await clock.sleep(delayMs, signal).catch(() => {});
      }
    }
  }

  #mayListAtOnce(): boolean {
    const [before, now] = [this.#relistedAt, this.#options.clock.monotonic()];
    this.#relistedAt = now;
    return now - before > relistAtOnceMs;
  }

  /** One list if one is needed, and one watch to its end. */
  async #step(signal: AbortSignal): Promise<void> {
    if (this.#resourceVersion !== undefined) return this.#watch(this.#resourceVersion, signal);
    if (!this.#streamingRefused) {
      try {
        return await this.#streamList(signal);
      } catch (error) {
        if (signal.aborted || this.#resourceVersion !== undefined || !isStreamingRefusal(error)) throw error;
        this.#streamingRefused = true;
        const { resource, log } = this.#options;
        log.debug({ resource: resource.plural, ...errorFields(error) }, 'the API server offers no streaming list');
      }
    }
    await this.#list(signal);
  }

  /** A watch whose first events are the whole list, closed by a marked bookmark; goes on as a plain watch. */
  async #streamList(signal: AbortSignal): Promise<void> {
    const { api, resource, query, clock } = this.#options;
    const given = new AbortController();
    const relay = () => given.abort(signal.reason);
    signal.throwIfAborted();
    signal.addEventListener('abort', relay, { once: true });
    using patience = new Deadline(clock, streamingPatienceMs, () => given.abort(new StreamingIgnored()));
    try {
      const initial = new Map<string, T>();
      const streamed = { ...this.#watchQuery(), sendInitialEvents: true };
      let complete = false;
      const started = clock.monotonic();
      for await (const event of api.watch(resource, { ...query, ...streamed }, given.signal)) {
        if (complete) this.#apply(event);
        else if (endsInitialEvents(event)) {
          complete = true;
          patience[Symbol.dispose]();
          this.#replace(initial, versionIn(event) ?? '');
          initial.clear();
        } else {
          patience.touch();
          this.#store.collect(initial, event);
        }
      }
      if (!complete) throw new StreamingIgnored();
      this.#watchEnded(started, 1);
    } catch (error) {
      // What ends the stream for want of patience arrives as whatever the stream makes of an abort.
      throw given.signal.reason instanceof StreamingIgnored ? given.signal.reason : error;
    } finally {
      signal.removeEventListener('abort', relay);
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { api, resource, query } = this.#options;
    const list = new Map<string, T>();
    const collect = (items: readonly T[]) => {
      for (const object of items) this.#store.collect(list, { type: 'ADDED', object });
    };
    let page = await api.list(resource, { ...query, limit: pageSize }, signal);
    collect(page.items);
    const asked = new Set<string>();
    let isWhole = false;
    while (page.continue) {
      // Asked again, it would answer again: pages without end.
      if (asked.has(page.continue)) throw new ListWithoutEnd(resource.plural);
      asked.add(page.continue);
      try {
        page = await api.list(resource, { ...query, limit: pageSize, continue: page.continue }, signal);
      } catch (error) {
        if (!isExpired(error) || isWhole) throw error;
        // The snapshot that the pages come from is gone: one request has no such trouble.
        list.clear();
        isWhole = true;
        page = await api.list(resource, { ...query }, signal);
      }
      collect(page.items);
    }
    this.#replace(list, page.resourceVersion);
  }

  async #watch(resourceVersion: string, signal: AbortSignal): Promise<void> {
    const { api, resource, query, clock } = this.#options;
    const started = clock.monotonic();
    let count = 0;
    for await (const event of api.watch(resource, { ...query, ...this.#watchQuery(), resourceVersion }, signal)) {
      count += 1;
      this.#apply(event);
    }
    this.#watchEnded(started, count);
  }

  #watchQuery(): { allowWatchBookmarks: true; timeoutSeconds: number } {
    const { random = Math.random } = this.#options;
    return { allowWatchBookmarks: true, timeoutSeconds: Math.round(watchSeconds * (1 + random())) };
  }

  #watchEnded(started: number, count: number): void {
    const { clock, resource } = this.#options;
    if (count === 0 && clock.monotonic() - started < shortWatchMs) {
      throw new Error(`the watch of ${resource.plural} was closed at once`);
    }
    this.#worked();
  }

  #apply(event: WatchEvent<T>): void {
    this.#store.apply(event);
    this.#resourceVersion = versionIn(event) ?? this.#resourceVersion;
    this.#worked();
  }

  #replace(list: ReadonlyMap<string, T>, resourceVersion: string): void {
    this.#store.replace(list);
    this.#resourceVersion = resourceVersion;
    // The failures still count: where lists succeed and watches do not, the pauses must grow.
    this.#mended();
    if (this.#hasSynced) return;
    this.#hasSynced = true;
    this.#markSynced();
  }

  #worked(): void {
    this.#failures = 0;
    this.#mended();
  }

  #mended(): void {
    if (this.#health === 'healthy') return;
    const before = this.#health;
    this.#health = 'healthy';
    if (before === 'unknown') return;
    const { onHealth, log, resource } = this.#options;
    if (onHealth) onHealth(undefined);
    else log.info({ resource: resource.plural }, 'following the API server again');
  }

  /** Says it once for each kind of failure, not at each try. */
  #unhealthy(error: unknown): void {
    const { onHealth, log, resource } = this.#options;
    const fields = errorFields(error);
    const health: ReflectorHealth = fields.code ?? 'Failed';
    // Watches are closed and expire in the ordinary course of things; a second failure in a row is news.
    if (health === this.#health || (this.#failures < 2 && decideAfterFailure(error).ordinary)) return;
    this.#health = health;
    if (onHealth) onHealth(error);
    else log[failureLevel(error)]({ resource: resource.plural, ...fields }, 'cannot follow the API server; trying on');
  }
}
