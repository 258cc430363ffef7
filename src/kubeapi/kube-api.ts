import type { KubeObject, Status } from '../api/meta-v1.ts';
import { AgentError } from '../lib/errors.ts';
import type { Resource } from './resources.ts';

/**
 * PORT: the Kubernetes API as keelson uses it. The real client speaks HTTPS through undici; the fake
 * keeps state in memory. Every call has a deadline of its own besides the caller's signal, except
 * `watch`, which lives until the server or the signal ends it.
 */
export interface KubeApi {
  get<T extends KubeObject>(resource: Resource<T>, ref: ObjectName, signal: AbortSignal): Promise<T>;
  list<T extends KubeObject>(resource: Resource<T>, query: ListQuery, signal: AbortSignal): Promise<ObjectList<T>>;
  create<T extends KubeObject>(resource: Resource<T>, object: T, signal: AbortSignal): Promise<T>;
  /** POST to a subresource, e.g. `serviceaccounts/default/token`; the answer is of another kind than the parent. */
  createSubresource<B, R>(
    resource: Resource<KubeObject>,
    ref: ObjectName,
    subresource: string,
    body: B,
    signal: AbortSignal,
  ): Promise<R>;
  /** PUT; the object's resourceVersion is the precondition (409 when it is stale). */
  update<T extends KubeObject>(resource: Resource<T>, object: T, signal: AbortSignal): Promise<T>;
  patch<T extends KubeObject>(resource: Resource<T>, ref: ObjectName, patch: Patch, signal: AbortSignal): Promise<T>;
  delete(resource: Resource<KubeObject>, ref: ObjectName, options: DeleteOptions, signal: AbortSignal): Promise<void>;
  /**
   * One watch request as an async iterable. Ends normally when the server closes it (its timeout), throws
   * an ApiError for an ERROR event (410 Expired among them) and a plain AgentError for a broken or
   * silent connection.
   */
  watch<T extends KubeObject>(
    resource: Resource<T>,
    query: WatchQuery,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>>;
}

export interface ObjectName {
  readonly namespace?: string;
  readonly name: string;
}

export interface ListQuery {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** '0' allows the server's cache to answer. */
  readonly resourceVersion?: string;
  readonly limit?: number;
  readonly continue?: string;
}

export interface WatchQuery {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly resourceVersion?: string;
  readonly timeoutSeconds?: number;
  readonly allowWatchBookmarks?: boolean;
  /** With resourceVersionMatch=NotOlderThan: asks for the streaming list (WatchList). */
  readonly sendInitialEvents?: boolean;
}

export interface ObjectList<T> {
  readonly resourceVersion: string;
  readonly items: readonly T[];
  readonly continue?: string;
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Only metadata is set: resourceVersion, and the annotation k8s.io/initial-events-end when a streamed list is over. */
  | { readonly type: 'BOOKMARK'; readonly object: KubeObject };

export interface Patch {
  readonly type: 'strategic' | 'merge' | 'json';
  readonly body: unknown;
  readonly subresource?: 'status';
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  /** The server answers 409 when the object of that name has another UID by now. */
  readonly uid?: string;
}

/** An answer of the API server that is not a success: a Status object, or something that should have been one. */
export class ApiError extends AgentError {
  /** The HTTP status. */
  readonly status: number;
  /** Kubernetes' machine-readable reason: NotFound, Conflict, Forbidden, Expired, … or ''. */
  readonly reason: string;
  readonly details: Status['details'];
  /** What a 429 or 503 asked us to wait, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    status: number,
    body: { reason?: string; message: string; details?: Status['details'] },
    options: { retryAfterMs?: number; hint?: string } = {},
  ) {
    const hint = options.hint ?? (status === 401 ? unauthorizedHint : undefined);
    super(`Api${status}`, body.message, {
      retryable: status === 429 || status >= 500,
      ...(hint === undefined ? {} : { hint }),
    });
    this.status = status;
    this.reason = body.reason ?? '';
    this.details = body.details;
    this.retryAfterMs = options.retryAfterMs;
  }
}

const unauthorizedHint =
  'the API server does not know who we are: give the kubeconfig a token or client certificate that this cluster accepts; files it names are read again without a restart';

const hasStatus = (error: unknown, status: number): error is ApiError =>
  error instanceof ApiError && error.status === status;

export const isNotFound = (error: unknown): error is ApiError => hasStatus(error, 404);
export const isForbidden = (error: unknown): error is ApiError => hasStatus(error, 403);
export const isUnauthorized = (error: unknown): error is ApiError => hasStatus(error, 401);
/**
 * A stale resourceVersion or UID; `isAlreadyExists` has the same HTTP status. A patch that names
 * another UID than the object's is answered with 422, since the field is immutable.
 */
export const isConflict = (error: unknown): error is ApiError =>
  (hasStatus(error, 409) && error.reason !== 'AlreadyExists') ||
  (hasStatus(error, 422) && (error.details?.causes ?? []).some(({ field }) => field === 'metadata.uid'));
export const isAlreadyExists = (error: unknown): error is ApiError =>
  hasStatus(error, 409) && error.reason === 'AlreadyExists';
/** The resourceVersion asked for is gone from the server's history: list again. */
export const isExpired = (error: unknown): error is ApiError => hasStatus(error, 410);
