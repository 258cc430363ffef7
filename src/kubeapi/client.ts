import type { KubeObject, ListMeta, Status } from '../api/meta-v1.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { AgentError, errorFields } from '../lib/errors.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { isRecord } from '../lib/schema.ts';
import { TokenBucket } from '../lib/token-bucket.ts';
import { Connections } from './connections.ts';
import { type Credentials, loadCredentials } from './credentials.ts';
import { type Answer, type Call, Exchange, type Stream } from './exchange.ts';
import {
  ApiError,
  type DeleteOptions,
  type KubeApi,
  type ListQuery,
  type ObjectList,
  type ObjectName,
  type Patch,
  type WatchEvent,
  type WatchQuery,
} from './kube-api.ts';
import { OutageLog } from './outage-log.ts';
import { readObject } from './read-object.ts';
import { describeRef, queryString, refOf, resourcePath } from './resource-path.ts';
import type { Resource } from './resources.ts';
import type { RestMetrics } from './rest-metrics.ts';
import { ApiConnectionError, notAnApiServer } from './transport-errors.ts';
import { apiErrorOf, decodeWatchEvent, LineSplitter } from './watch-decoder.ts';

export interface KubeClientOptions {
  /** A kubeconfig's path, or credentials already read. */
  readonly kubeconfig?: string;
  readonly credentials?: Credentials;
  /** Requests per second on average; 0 or less: no limit. */
  readonly qps?: number;
  readonly burst?: number;
  readonly userAgent?: string;
  /** How long the server may be silent while it owes an answer. */
  readonly requestTimeoutMs?: number;
  readonly clock?: Clock;
  readonly log?: Log;
  readonly metrics?: RestMetrics;
}

/** The real KubeApi: HTTPS to one API server. */
export interface KubeClient extends KubeApi {
  /** Drops every connection: for callers who have reason to think that they are dead. */
  resetConnections(): void;
  /** The certificate that tells the server who we are, in PEM; undefined without one. */
  clientCertificate(): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Reads the credentials and makes a client; nothing is sent yet. Throws KubeconfigError. */
export async function createKubeClient(options: KubeClientOptions): Promise<KubeClient> {
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const credentials = options.credentials ?? (await loadCredentials(options.kubeconfig ?? '', clock, log));
  const timeoutMs = options.requestTimeoutMs ?? 10_000;
  const connections = new Connections({ credentials, clock, connectTimeoutMs: timeoutMs });
  const exchange = new Exchange({
    connections,
    credentials,
    clock,
    timeoutMs,
    userAgent: options.userAgent ?? 'keelson',
    outage: new OutageLog(log, clock),
    metrics: options.metrics,
  });
  const bucket = new TokenBucket({ clock, perSecond: options.qps ?? 50, burst: options.burst ?? 100 });
  return new UndiciKubeClient({ credentials, connections, exchange, bucket, clock, log, metrics: options.metrics });
}

interface Parts {
  readonly credentials: Credentials;
  readonly connections: Connections;
  readonly exchange: Exchange;
  readonly bucket: TokenBucket;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: RestMetrics | undefined;
}

const json = 'application/json';
const patchTypes = {
  strategic: 'application/strategic-merge-patch+json',
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
} as const;

class UndiciKubeClient implements KubeClient {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async get<T extends KubeObject>(resource: Resource<T>, ref: ObjectName, signal: AbortSignal): Promise<T> {
    const doing = `get ${describeRef(resource, ref)}`;
    return usable(
      doing,
      resource,
      await this.#call<T>({ doing, method: 'GET', path: resourcePath(resource, ref) }, signal),
    );
  }

  async list<T extends KubeObject>(
    resource: Resource<T>,
    query: ListQuery,
    signal: AbortSignal,
  ): Promise<ObjectList<T>> {
    const path = resourcePath(resource, collectionOf(query)) + queryString(query);
    const answer = await this.#call<RawList<T>>({ doing: `list ${resource.plural}`, method: 'GET', path }, signal);
    // Items of a list lack what the list itself says; with it they are equal to those of a watch.
    const { apiVersion, kind } = resource;
    const { items = [], metadata } = answer;
    if (!isRecord(metadata) || !(Array.isArray(items) || items === null)) {
      throw new AgentError('BadList', `list ${resource.plural}: the answer has no metadata, or no list of items`, {
        hint: 'look at what stands between keelson and the API server',
        retryable: true,
      });
    }
    const { resourceVersion, continue: next } = metadata as ListMeta;
    return {
      resourceVersion: typeof resourceVersion === 'string' ? resourceVersion : '',
      items: (items ?? []).map((item) => (isRecord(item) ? { apiVersion, kind, ...item } : item)),
      ...(typeof next === 'string' && next !== '' ? { continue: next } : {}),
    };
  }

  create<T extends KubeObject>(resource: Resource<T>, object: T, signal: AbortSignal): Promise<T> {
    const { namespace } = object.metadata;
    const path = resourcePath(resource, namespace === undefined ? {} : { namespace });
    return this.#write(
      `create ${describeRef(resource, refOf(object))}`,
      'POST',
      path,
      withType(resource, object),
      signal,
    );
  }

  createSubresource<B, R>(
    resource: Resource<KubeObject>,
    ref: ObjectName,
    subresource: string,
    body: B,
    signal: AbortSignal,
  ): Promise<R> {
    const doing = `create ${describeRef(resource, ref)}/${subresource}`;
    return this.#write(doing, 'POST', resourcePath(resource, ref, subresource), body, signal);
  }

  update<T extends KubeObject>(resource: Resource<T>, object: T, signal: AbortSignal): Promise<T> {
    const ref = refOf(object);
    const doing = `update ${describeRef(resource, ref)}`;
    return this.#write(doing, 'PUT', resourcePath(resource, ref), withType(resource, object), signal);
  }

  patch<T extends KubeObject>(resource: Resource<T>, ref: ObjectName, patch: Patch, signal: AbortSignal): Promise<T> {
    const path = resourcePath(resource, ref, patch.subresource);
    return this.#write(
      `patch ${describeRef(resource, ref)}`,
      'PATCH',
      path,
      patch.body,
      signal,
      patchTypes[patch.type],
    );
  }

  async delete(
    resource: Resource<KubeObject>,
    ref: ObjectName,
    options: DeleteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const body = {
      kind: 'DeleteOptions',
      apiVersion: 'v1',
      ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
      ...(options.uid === undefined ? {} : { preconditions: { uid: options.uid } }),
    };
    await this.#write(`delete ${describeRef(resource, ref)}`, 'DELETE', resourcePath(resource, ref), body, signal);
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    query: WatchQuery,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>> {
    const { credentials, exchange } = this.#parts;
    await this.#turn('GET', signal);
    const more = { watch: 'true', ...(query.sendInitialEvents ? { resourceVersionMatch: 'NotOlderThan' } : {}) };
    const path = resourcePath(resource, collectionOf(query)) + queryString(query, more);
    const call: Call = { doing: `watch ${resource.plural}`, method: 'GET', path };
    using stream = await exchange.stream(call, signal);
    if (stream.status !== 200 || !stream.contentType.includes('json')) {
      const answer = await readRest(stream);
      if (answer.status === 401) credentials.invalidate();
      interpret(call, credentials.server, answer);
      throw notAnApiServer(call.doing, credentials.server, answer);
    }
    stream.allowSilence(silenceLimit(query, false));
    yield* decodeStream<T>(stream, query);
  }

  resetConnections(): void {
    this.#parts.connections.reset();
  }

  async clientCertificate(): Promise<string | undefined> {
    return (await this.#parts.credentials.tls()).material.cert;
  }

  close(): Promise<void> {
    return this.#parts.connections.close();
  }

  #write<R>(
    doing: string,
    method: Call['method'],
    path: string,
    body: unknown,
    signal: AbortSignal,
    contentType: string = json,
  ): Promise<R> {
    return this.#call<R>({ doing, method, path, contentType, body: JSON.stringify(body) }, signal);
  }

  async #call<R>(call: Call, signal: AbortSignal): Promise<R> {
    const { exchange, credentials, clock, log } = this.#parts;
    for (let attempt = 1; ; attempt++) {
      await this.#turn(call.method, signal);
      const identity = await identityOf(credentials);
      try {
        return interpret(call, credentials.server, await exchange.send(call, signal)) as R;
      } catch (error) {
        if (signal.aborted) throw error;
        const renewed = error instanceof ApiError && error.status === 401 && (await this.#renewed(identity));
        const delayMs = renewed && attempt === 1 ? 0 : retryDelay(call, error, attempt);
        if (delayMs === undefined) throw error;
        log.debug({ doing: call.doing, attempt, delayMs, ...errorFields(error) }, 'repeating an API request');
        await clock.sleep(delayMs, signal);
      }
    }
  }

  /** Waits for what kubeAPIQPS allows. */
  async #turn(method: Call['method'], signal: AbortSignal): Promise<void> {
    const { bucket, clock, credentials, metrics } = this.#parts;
    const askedAt = clock.monotonic();
    await bucket.take(signal);
    metrics?.limiterDuration.observe((clock.monotonic() - askedAt) / 1000, method, credentials.server.host);
  }

  /** Whether the files behind our identity hold another one than we were just refused with. */
  async #renewed(before: string): Promise<boolean> {
    this.#parts.credentials.invalidate();
    return (await identityOf(this.#parts.credentials)) !== before;
  }
}

/** The object, which whoever asked for it by name can do without only by an error. */
function usable<T extends KubeObject>(doing: string, resource: Resource<T>, value: T): T {
  const { object, faults } = readObject(resource, value);
  if (faults.length === 0) return object;
  throw new AgentError('BadObject', `${doing}: the object cannot be used: ${faults.join('; ')}`, {
    hint: 'correct the object, or delete it',
    retryable: true,
  });
}

interface RawList<T> {
  readonly metadata: ListMeta;
  readonly items?: readonly T[] | null;
}

async function identityOf(credentials: Credentials): Promise<string> {
  return `${(await credentials.tls()).version} ${await credentials.token()}`;
}

const collectionOf = (query: { readonly namespace?: string }): { namespace?: string } =>
  query.namespace === undefined ? {} : { namespace: query.namespace };

const withType = <T extends KubeObject>({ apiVersion, kind }: Resource<T>, object: T): T => ({
  apiVersion,
  kind,
  ...object,
});

/**
 * How long to wait before the same request is sent again; undefined: not at all. The server's own
 * Retry-After is obeyed for any verb, since it says that nothing was done. A broken connection leaves
 * open what was done, so only what may be done twice is repeated.
 */
export function retryDelay(call: Call, error: unknown, attempt: number): number | undefined {
  if (error instanceof ApiError) {
    const { retryAfterMs } = error;
    const asked = retryAfterMs !== undefined && (error.status === 429 || error.status >= 500);
    return asked && attempt <= 10 ? Math.min(retryAfterMs, 60_000) : undefined;
  }
  const repeatable = call.method !== 'POST' && call.contentType !== patchTypes.json;
  const broken = error instanceof ApiConnectionError && error.code === 'ApiConnectionLost';
  return broken && repeatable && attempt <= 2 ? (attempt - 1) * 200 : undefined;
}

/** The object in the answer, or the error that it is. */
export function interpret(call: Call, server: URL, answer: Answer): unknown {
  const { status } = answer;
  const body = answer.contentType.includes('json') ? parseObject(answer.text) : undefined;
  if (status >= 200 && status < 300) {
    if (typeof body?.kind === 'string') return body;
    throw notAnApiServer(call.doing, server, answer);
  }
  if (body?.kind === 'Status') throw apiErrorOf(body as Status, status, answer.retryAfterMs);
  // Overload and gateways answer in plain text. Any other refusal, a 404 above all, must not pass for
  // the API server's word on the object.
  if (status === 429 || status >= 500) {
    const message = `${call.doing} at ${server.origin}: HTTP ${status} from the API server or a proxy before it`;
    throw new ApiError(
      status,
      { message },
      answer.retryAfterMs === undefined ? {} : { retryAfterMs: answer.retryAfterMs },
    );
  }
  throw notAnApiServer(call.doing, server, answer);
}

function parseObject(text: string): { kind?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

async function readRest(stream: Stream): Promise<Answer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream.chunks) {
    parts.push(chunk);
    size += chunk.length;
    if (size > 65_536) break;
  }
  const { status, contentType, retryAfterMs } = stream;
  return { status, contentType, retryAfterMs, text: Buffer.concat(parts).toString('utf8') };
}

async function* decodeStream<T extends KubeObject>(stream: Stream, query: WatchQuery): AsyncGenerator<WatchEvent<T>> {
  const lines = new LineSplitter();
  let bookmarks = false;
  for await (const chunk of stream.chunks) {
    for (const line of lines.push(chunk)) {
      if (line === '') continue;
      const event = decodeWatchEvent<T>(line);
      if (event.type === 'BOOKMARK' && !bookmarks) {
        bookmarks = true;
        stream.allowSilence(silenceLimit(query, true));
      }
      yield event;
    }
  }
  const rest = lines.end();
  if (rest.trim() !== '') yield decodeRest<T>(rest);
}

/** The last line, without its end: where the connection was cut in it, the event comes again from the last version. */
function decodeRest<T extends KubeObject>(line: string): WatchEvent<T> {
  try {
    return decodeWatchEvent<T>(line);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiConnectionError('ApiConnectionLost', 'the watch ended in the middle of an event', { retryable: true });
  }
}

/**
 * How long a watch may be silent. A server that has sent a bookmark sends one about every minute; one
 * that was given a timeout closes the stream by itself when it is over.
 */
function silenceLimit(query: WatchQuery, bookmarks: boolean): number {
  if (bookmarks && query.allowWatchBookmarks) return 180_000;
  return query.timeoutSeconds === undefined ? Number.POSITIVE_INFINITY : (query.timeoutSeconds + 30) * 1000;
}
