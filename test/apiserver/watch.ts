import { type FaultMatch, matchesFacts, type RequestFacts } from './faults.ts';
import { apiVersionOf, type ResourceKind } from './kinds.ts';
import type { ApiObject } from './objects.ts';
import { matches, type Selection } from './selectors.ts';
import { failure, invalid, type StatusBody, StatusError } from './status.ts';
import { type Change, jsonOf, type Store } from './store.ts';

/** Where a watch writes: one response. */
export interface WatchSink {
  write(text: string): void;
  end(): void;
  /** Breaks the connection under it. */
  destroy(): void;
  /** Calls back once when the other side is gone. */
  onClose(callback: () => void): void;
}

export interface WatchRequest {
  readonly kind: ResourceKind;
  readonly selection: Selection;
  readonly facts: RequestFacts;
  readonly query: URLSearchParams;
}

export interface WatchOptions {
  readonly bookmarkIntervalMs: number;
  /** Whether a streaming list is served; a server without it answers with an ERROR event. */
  readonly watchList: boolean;
}

/** Longest a watch lives without timeoutSeconds; upstream draws between 30 and 60 minutes. */
const DEFAULT_TIMEOUT_SECONDS = 1800;

/** All open watches: fed by the store, each with its own selection, bookmarks and end. */
export class WatchHub {
  readonly options: { -readonly [K in keyof WatchOptions]: WatchOptions[K] };
  readonly #store: Store;
  readonly #open = new Set<Watch>();

  constructor(store: Store, options: WatchOptions) {
    this.#store = store;
    this.options = { ...options };
  }

  start(): Disposable {
    return this.#store.subscribe((change) => {
      for (const watch of this.#open) watch.offer(change);
    });
  }

  /** How many open watches match. */
  count(match?: FaultMatch): number {
    return this.#each(match, () => undefined);
  }

  /** Serves a watch on the sink. A request that cannot be served ends with an ERROR event, as upstream. */
  serve(request: WatchRequest, sink: WatchSink): void {
    const watch = new Watch(request, sink, this.#store);
    try {
      watch.begin(this.options);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      watch.fail(error.body);
      return;
    }
    this.#open.add(watch);
    sink.onClose(() => {
      this.#open.delete(watch);
      watch.stop();
    });
  }

  /** Breaks the connections of the watches that match. */
  cut(match?: FaultMatch): number {
    return this.#each(match, (watch) => watch.sink.destroy());
  }

  /** Makes the watches that match half-dead: open, and never to send anything again. */
  silence(match?: FaultMatch): number {
    return this.#each(match, (watch) => watch.silence());
  }

  /** Ends the watches that match with 410 Expired. */
  expire(match?: FaultMatch): number {
    const { version } = this.#store;
    return this.#each(match, (watch) =>
      watch.fail(failure(410, 'Expired', `too old resource version: ${watch.from} (${version})`).body),
    );
  }

  /** Sends a line, whatever it is, to the watches that match. */
  sendRaw(match: FaultMatch, line: string): number {
    return this.#each(match, (watch) => watch.sink.write(`${line}\n`));
  }

  #each(match: FaultMatch | undefined, act: (watch: Watch) => void): number {
    const chosen = [...this.#open].filter((watch) => matchesFacts(match, watch.request.facts));
    for (const watch of chosen) act(watch);
    return chosen.length;
  }
}

class Watch {
  readonly request: WatchRequest;
  readonly sink: WatchSink;
  readonly from: number;
  readonly #store: Store;
  #silent = false;
  #timers: NodeJS.Timeout[] = [];

  constructor(request: WatchRequest, sink: WatchSink, store: Store) {
    this.request = request;
    this.sink = sink;
    this.#store = store;
    this.from = Number(request.query.get('resourceVersion') ?? 0) || 0;
  }

  /** Sends what is due at once and starts the timers. */
  begin(options: WatchOptions): void {
    const { query } = this.request;
    const bookmarks = query.get('allowWatchBookmarks') === 'true';
    const streaming = query.get('sendInitialEvents') === 'true';
    if (query.has('sendInitialEvents')) checkStreamingList(query);
    if (streaming && !options.watchList) {
      throw failure(
        500,
        'InternalError',
        'a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled',
      );
    }
    const initial = query.has('sendInitialEvents') ? streaming : this.from === 0;
    const missed = initial || this.from === 0 ? [] : this.#store.changesSince(this.request.kind, this.from);
    if (initial) this.#sendState();
    if (streaming && bookmarks) this.#sendBookmark({ 'k8s.io/initial-events-end': 'true' });
    for (const change of missed) this.offer(change);
    if (bookmarks) this.#timers.push(setInterval(() => this.#sendBookmark(), options.bookmarkIntervalMs).unref());
    const seconds = Number(query.get('timeoutSeconds') ?? 0) || DEFAULT_TIMEOUT_SECONDS;
    this.#timers.push(setTimeout(() => this.#timeOut(bookmarks), seconds * 1000).unref());
  }

  /** Sends the change if it concerns the selection: leaving it is a DELETED, entering it an ADDED. */
  offer(change: Change): void {
    const { kind, selection } = this.request;
    if (change.kind !== kind || this.#silent) return;
    const is = change.type !== 'DELETED' && matches(change.object, selection);
    const was = change.previous !== undefined && matches(change.previous, selection);
    if (is) this.#send(was ? 'MODIFIED' : 'ADDED', change.object);
    else if (was && change.type === 'DELETED') this.#send('DELETED', change.object);
    else if (was && change.previous) {
      const resourceVersion = `${change.version}`;
      this.#send('DELETED', { ...change.previous, metadata: { ...change.previous.metadata, resourceVersion } });
    }
  }

  fail(body: StatusBody): void {
    if (!this.#silent) this.sink.write(`{"type":"ERROR","object":${JSON.stringify(body)}}\n`);
    if (!this.#silent) this.sink.end();
  }

  silence(): void {
    this.#silent = true;
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
  }

  #sendState(): void {
    for (const object of this.#store.list(this.request.kind)) {
      if (matches(object, this.request.selection)) this.#send('ADDED', object);
    }
  }

  #send(type: string, object: ApiObject): void {
    this.sink.write(`{"type":"${type}","object":${jsonOf(object)}}\n`);
  }

  #sendBookmark(annotations?: Record<string, string>): void {
    if (this.#silent) return;
    const { kind } = this.request;
    const metadata = { resourceVersion: `${this.#store.version}`, ...(annotations ? { annotations } : {}) };
    const object = { kind: kind.kind, apiVersion: apiVersionOf(kind), metadata, ...kind.zero };
    this.sink.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  /** The last thing of a watch that ends on time is a bookmark to resume from. */
  #timeOut(bookmarks: boolean): void {
    if (this.#silent) return;
    if (bookmarks) this.#sendBookmark();
    this.sink.end();
  }
}

const LIST_OPTIONS = { kind: 'ListOptions', group: 'meta.k8s.io' } as ResourceKind;

function checkStreamingList(query: URLSearchParams): void {
  if (query.get('resourceVersionMatch') === 'NotOlderThan') return;
  const message = 'Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan';
  throw invalid(LIST_OPTIONS, '', [{ reason: 'FieldValueForbidden', message, field: 'resourceVersionMatch' }]);
}
