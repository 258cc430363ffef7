import type { KubeObject } from '../api/meta-v1.ts';
import type { Change } from './fake-kubeapi.ts';
import type { WatchEvent, WatchQuery } from './kube-api.ts';
import { matchesQuery } from './selectors.ts';

/** One open watch of the fake API server. */
export interface FakeWatch {
  change(change: Change): void;
  /** Sends an event as it is, whatever it is. */
  raw(event: unknown): void;
  /** The objects there are, as ADDED events; closed by a marked bookmark when the list was asked for as a stream. */
  initial(objects: readonly KubeObject[], version: number): void;
  bookmark(version: number): void;
  end(error?: Error): void;
  events(signal: AbortSignal): AsyncGenerator<WatchEvent<KubeObject>>;
}

export function openFakeWatch(query: WatchQuery, closed: (watch: FakeWatch) => void): FakeWatch {
  const queue: WatchEvent<KubeObject>[] = [];
  let ended: { error?: Error } | undefined;
  let wake = (): void => {};
  const push = (event: WatchEvent<KubeObject>): void => {
    if (ended) return;
    queue.push(structuredClone(event));
    wake();
  };
  const bookmark = (version: number, annotations?: Record<string, string>): void => {
    const metadata = { name: '', resourceVersion: String(version), ...(annotations ? { annotations } : {}) };
    push({ type: 'BOOKMARK', object: { metadata } });
  };
  const watch: FakeWatch = {
    change: (change) => {
      const event = seenBy(query, change);
      if (event) push(event);
    },
    raw: (event) => push(event as WatchEvent<KubeObject>),
    initial: (objects, version) => {
      for (const object of objects) push({ type: 'ADDED', object });
      if (query.sendInitialEvents) bookmark(version, { 'k8s.io/initial-events-end': 'true' });
    },
    bookmark: (version) => {
      if (query.allowWatchBookmarks) bookmark(version);
    },
    end: (error) => {
      ended = error ? { error } : {};
      wake();
    },
    async *events(signal) {
      const aborted = (): void => wake();
      signal.addEventListener('abort', aborted, { once: true });
      try {
        for (;;) {
          signal.throwIfAborted();
          const event = queue.shift();
          if (event) yield event;
          else if (ended?.error) throw ended.error;
          else if (ended) return;
          else {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        }
      } finally {
        signal.removeEventListener('abort', aborted);
        closed(watch);
      }
    },
  };
  return watch;
}

/** What a change looks like through the selectors: an object may enter or leave them without being made or deleted. */
function seenBy(query: WatchQuery, { type, object, previous }: Change): WatchEvent<KubeObject> | undefined {
  const now = type !== 'DELETED' && matchesQuery(object, query);
  const before = previous !== undefined && matchesQuery(previous, query);
  if (now) return { type: before ? 'MODIFIED' : 'ADDED', object };
  return before ? { type: 'DELETED', object } : undefined;
}
