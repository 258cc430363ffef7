import type { IncomingMessage } from 'node:http';
import type { Clock } from '../lib/clock.ts';
import { type Counter, defaultBuckets, type Gauge, type Histogram, type Registry } from '../lib/metrics.ts';

const labels = ['method', 'path', 'server_type', 'long_running'];
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE']);
/** Sessions, which take as long as their users like. */
const longRunning = new Set(['exec', 'attach', 'portforward', 'debug']);
/** Streams that may come over WebSocket. */
const streams = new Set(['exec', 'attach', 'portforward']);

/** Counts the requests to the node's port, let in or not, by the first part of their path. */
export class HttpMetrics {
  readonly #requests: Counter;
  readonly #duration: Histogram;
  readonly #inflight: Gauge;
  readonly #websockets: Counter;
  readonly #roots: ReadonlySet<string>;
  readonly #clock: Clock;

  /** `paths`: those of the endpoints. */
  constructor(registry: Registry, paths: readonly string[], clock: Clock) {
    this.#clock = clock;
    this.#roots = new Set(paths.map(rootOf));
    const name = (rest: string) => `kubelet_http_${rest}`;
    this.#requests = registry.counter({ name: name('requests_total'), help: "Requests to the node's port.", labels });
    this.#duration = registry.histogram({
      name: name('requests_duration_seconds'),
      help: "How long requests to the node's port took.",
      labels,
      buckets: defaultBuckets,
    });
    this.#inflight = registry.gauge({ name: name('inflight_requests'), help: 'Requests under way.', labels });
    this.#websockets = registry.counter({
      name: 'kubelet_websocket_streaming_requests_total',
      help: 'Sessions over WebSocket.',
      labels: ['subresource'],
    });
  }

  /** A request has come; disposed of when it is over. */
  begin({ method = '', url = '', headers }: IncomingMessage): Disposable {
    const root = rootOf(url.split('?')[0] ?? '');
    const path = this.#roots.has(root) ? root : 'other';
    const stream = path.toLowerCase();
    if (streams.has(stream) && headers.upgrade?.toLowerCase() === 'websocket') this.#websockets.inc(stream);
    const values = [methods.has(method) ? method : 'other', path, 'readwrite', String(longRunning.has(stream))];
    const startedAt = this.#clock.monotonic();
    this.#requests.inc(...values);
    this.#inflight.add(1, ...values);
    return {
      [Symbol.dispose]: () => {
        this.#inflight.add(-1, ...values);
        this.#duration.observe((this.#clock.monotonic() - startedAt) / 1000, ...values);
      },
    };
  }
}

/** The first segment, and of metrics the second too: '/metrics/cadvisor' → 'metrics/cadvisor'. */
function rootOf(path: string): string {
  const [first = '', second = ''] = path.replace(/^\/+/, '').split('/');
  return first === 'metrics' && second !== '' ? `${first}/${second}` : first;
}
