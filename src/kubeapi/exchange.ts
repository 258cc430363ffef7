import type { Dispatcher } from 'undici';
import type { Clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import type { Connections } from './connections.ts';
import type { Credentials } from './credentials.ts';
import { Deadline } from './deadline.ts';
import type { OutageLog } from './outage-log.ts';
import { noAnswer, type RestMetrics } from './rest-metrics.ts';
import { type ApiConnectionError, explainTransportError, timeoutError } from './transport-errors.ts';

/** One HTTP request, before it is sent. */
export interface Call {
  /** For messages: 'get pods default/web'. */
  readonly doing: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below the server URL, with the query. */
  readonly path: string;
  readonly contentType?: string;
  readonly body?: string;
}

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly retryAfterMs: number | undefined;
  readonly text: string;
}

/** An answer whose body is still coming. */
export interface Stream extends Disposable {
  readonly status: number;
  readonly contentType: string;
  readonly retryAfterMs: number | undefined;
  readonly chunks: AsyncIterable<Buffer>;
  /** Changes how long the server may be silent before the stream is given up. */
  allowSilence(ms: number): void;
}

const maxAnswerBytes = 256 * 1024 * 1024;

/** Sends requests with deadlines, and turns whatever goes wrong below HTTP into ApiConnectionError. */
export class Exchange {
  readonly #connections: Connections;
  readonly #credentials: Credentials;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #userAgent: string;
  readonly #outage: OutageLog;
  readonly #metrics: RestMetrics | undefined;

  constructor(options: {
    connections: Connections;
    credentials: Credentials;
    clock: Clock;
    timeoutMs: number;
    userAgent: string;
    outage: OutageLog;
    metrics?: RestMetrics | undefined;
  }) {
    this.#connections = options.connections;
    this.#credentials = options.credentials;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs;
    this.#userAgent = options.userAgent;
    this.#outage = options.outage;
    this.#metrics = options.metrics;
  }

  /** Request and whole answer. The server may take `timeoutMs` to begin, and be silent no longer in between. */
  async send(call: Call, signal: AbortSignal): Promise<Answer> {
    const askedAt = this.#clock.monotonic();
    using stream = await this.#open('requests', call, signal);
    const parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of stream.chunks) {
      size += chunk.length;
      if (size > maxAnswerBytes) {
        throw new AgentError('ApiAnswerTooLarge', `${call.doing}: the answer is longer than ${maxAnswerBytes} bytes`);
      }
      parts.push(chunk);
    }
    const { host } = this.#credentials.server;
    this.#metrics?.duration.observe((this.#clock.monotonic() - askedAt) / 1000, call.method, host);
    this.#metrics?.requestBytes.observe(Buffer.byteLength(call.body ?? ''), call.method, host);
    this.#metrics?.responseBytes.observe(size, call.method, host);
    const { status, contentType, retryAfterMs } = stream;
    return { status, contentType, retryAfterMs, text: Buffer.concat(parts).toString('utf8') };
  }

  /** A long-lived answer; resolves when its head has come. Disposing of it closes the connection. */
  stream(call: Call, signal: AbortSignal): Promise<Stream> {
    return this.#open('watches', call, signal);
  }

  async #open(use: 'requests' | 'watches', call: Call, signal: AbortSignal): Promise<Stream> {
    const session = new Session(this.#clock, this.#timeoutMs, signal, () => this.#timedOut(call));
    try {
      return await this.#request(use, call, session);
    } catch (error) {
      session[Symbol.dispose]();
      this.#metrics?.requests.inc(noAnswer, call.method, this.#credentials.server.host);
      throw this.#explain(error, call, session);
    }
  }

  async #request(use: 'requests' | 'watches', call: Call, session: Session): Promise<Stream> {
    const token = await this.#credentials.token();
    const pool = await this.#connections.pool(use);
    const answer = await pool.request({
      method: call.method,
      path: this.#credentials.server.pathname.replace(/\/$/, '') + call.path,
      headers: {
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(call.contentType === undefined ? {} : { 'content-type': call.contentType }),
      },
      ...(call.body === undefined ? {} : { body: call.body }),
      signal: session.signal,
    });
    this.#metrics?.requests.inc(String(answer.statusCode), call.method, this.#credentials.server.host);
    session.hold(answer.body);
    session.heard();
    this.#connections.heard();
    this.#outage.answered();
    return {
      status: answer.statusCode,
      contentType: headerOf(answer, 'content-type'),
      retryAfterMs: parseRetryAfter(headerOf(answer, 'retry-after'), this.#clock.now()),
      chunks: this.#chunks(answer, call, session),
      allowSilence: (ms) => session.allowSilence(ms),
      [Symbol.dispose]: () => session[Symbol.dispose](),
    };
  }

  async *#chunks(answer: Dispatcher.ResponseData, call: Call, session: Session): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of answer.body) {
        this.#connections.heard();
        session.heard();
        yield chunk as Buffer;
        session.heard();
      }
    } catch (error) {
      throw this.#explain(error, call, session);
    }
  }

  #timedOut(call: Call): ApiConnectionError {
    return timeoutError(call.doing, this.#credentials.server, this.#timeoutMs);
  }

  #explain(error: unknown, call: Call, session: Session): unknown {
    if (session.aborted) return session.reason;
    const explained =
      error instanceof AgentError ? error : explainTransportError(error, call.doing, this.#credentials.server);
    if (explained.code === 'ApiTimeout' && this.#connections.silentSince(session.startedAt)) this.#connections.reset();
    if (/^Api(Client)?Certificate/.test(explained.code)) this.#credentials.invalidate();
    this.#outage.failed(explained);
    return explained;
  }
}

/** The life of one request: ended by the caller's signal, or by silence. */
class Session implements Disposable {
  readonly startedAt: number;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal;
  readonly #deadline: Deadline;
  readonly #relay: () => void;
  #body: Dispatcher.ResponseData['body'] | undefined;

  constructor(clock: Clock, ms: number, caller: AbortSignal, timedOut: () => ApiConnectionError) {
    caller.throwIfAborted();
    this.startedAt = clock.monotonic();
    this.#caller = caller;
    this.#deadline = new Deadline(clock, ms, () => this.#controller.abort(timedOut()));
    this.#relay = () => this.#controller.abort(caller.reason);
    caller.addEventListener('abort', this.#relay, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get aborted(): boolean {
    return this.#caller.aborted;
  }

  get reason(): unknown {
    return this.#caller.reason;
  }

  hold(body: Dispatcher.ResponseData['body']): void {
    this.#body = body;
    // Whoever reads it gets the error too; when nobody reads any more it must not end the process.
    body.on('error', () => {});
  }

  heard(): void {
    this.#deadline.touch();
  }

  allowSilence(ms: number): void {
    this.#deadline.restart(ms);
  }

  [Symbol.dispose](): void {
    this.#deadline[Symbol.dispose]();
    this.#caller.removeEventListener('abort', this.#relay);
    this.#body?.destroy();
  }
}

function headerOf(answer: Dispatcher.ResponseData, name: string): string {
  const value = answer.headers[name];
  return Array.isArray(value) ? (value[0] ?? '') : (value ?? '');
}

/** Seconds, or an HTTP date (RFC 9110 section 10.2.3), in milliseconds from now. */
export function parseRetryAfter(value: string, now: number): number | undefined {
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = value === '' ? Number.NaN : Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
