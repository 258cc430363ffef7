import type { KubeObject } from '../api/meta-v1.ts';
import type { BackoffPolicy } from '../lib/backoff.ts';
import { AgentError } from '../lib/errors.ts';
import { ApiError, isExpired, isForbidden, isUnauthorized, type WatchEvent } from './kube-api.ts';

/** 'unknown' before the first answer, 'healthy', or the code of what is wrong. */
export type ReflectorHealth = string;

/** client-go's reflector waits so long. */
const usual: BackoffPolicy = { initialMs: 800, maxMs: 30_000 };
/** Only a person can mend missing rights; until then the server need not be asked often. */
const denied: BackoffPolicy = { initialMs: 5_000, maxMs: 60_000 };

/** What a server may ask for at most: a slip of its clock must not keep us away for a day. */
const longestRetryAfterMs = 60_000;

export interface AfterFailure {
  /** The last resourceVersion is of no use any more. */
  readonly relist: boolean;
  readonly backoff: BackoffPolicy;
  /** What the server asked us to wait. */
  readonly minimumMs: number;
  /** Happens to every watch sooner or later. */
  readonly ordinary: boolean;
}

/** What a failed list or watch means for the next try. */
export function decideAfterFailure(error: unknown): AfterFailure {
  const minimumMs = error instanceof ApiError ? Math.min(error.retryAfterMs ?? 0, longestRetryAfterMs) : 0;
  const backoff = isForbidden(error) || isUnauthorized(error) ? denied : usual;
  const expired = isExpired(error);
  const connection = error instanceof AgentError && (error.code === 'ApiConnectionLost' || error.code === 'ApiTimeout');
  const ordinary = expired || connection || !(error instanceof AgentError);
  // The same line would come again from where it came.
  const broken = error instanceof AgentError && (error.code === 'WatchBroken' || error.code === 'WatchLineTooLong');
  return { relist: expired || broken || refusesVersion(error), backoff, minimumMs, ordinary };
}

/**
 * The server does not take our resourceVersion: an etcd restored from a backup has not come so far
 * yet, or it was never one of its own. Other errors in a stream (500) may hide the same.
 */
function refusesVersion(error: unknown): boolean {
  return error instanceof ApiError && [400, 422, 500, 504].includes(error.status);
}

/** The stream ended, or went on, without ever saying that the list was complete. */
export class StreamingIgnored extends AgentError {
  constructor() {
    super('StreamingListIgnored', 'the API server did not end the streamed list');
  }
}

/** A page leads back to one that has been read. */
export class ListWithoutEnd extends AgentError {
  constructor(plural: string) {
    const hint = 'look at what stands between keelson and the API server';
    super('ListWithoutEnd', `the list of ${plural} leads back to a page that has been read`, { hint, retryable: true });
  }
}

/**
 * Whether a server without streaming lists spoke: 1.36 with the feature off answers an ERROR event
 * with code 500, older ones 400 or 422 ("sendInitialEvents is forbidden for watch").
 */
export function isStreamingRefusal(error: unknown): boolean {
  if (error instanceof StreamingIgnored) return true;
  if (!(error instanceof ApiError)) return false;
  if ([400, 405, 406, 422, 500].includes(error.status)) return true;
  // A plain 403 is about our rights, and a list would meet it as well.
  return error.status === 403 && /sendInitialEvents|resourceVersionMatch/.test(error.message);
}

/** Whether this is the bookmark that closes the initial events of a streaming list (KEP-3157). */
export function endsInitialEvents(event: WatchEvent<KubeObject>): boolean {
  return event.type === 'BOOKMARK' && partsOf(event).annotations?.['k8s.io/initial-events-end'] === 'true';
}

/** The resourceVersion that an event brings; undefined where it has none to go on from. */
export function versionIn(event: WatchEvent<KubeObject>): string | undefined {
  const { resourceVersion } = partsOf(event);
  return typeof resourceVersion === 'string' && resourceVersion !== '' ? resourceVersion : undefined;
}

/** In an event anything may stand for the object. */
const partsOf = ({ object }: WatchEvent<Partial<KubeObject> | null | undefined>): Partial<KubeObject['metadata']> =>
  object?.metadata ?? {};
