import type { Pod, ServiceAccountTokenProjection, TokenRequest } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import { serviceAccounts } from '../kubeapi/resources.ts';
import { type BackoffPolicy, backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

interface Entry {
  readonly uid: PodUid;
  readonly token: string;
  /** Monotonic milliseconds: a wall clock that is days off, or jumps, must not age a token. */
  readonly expiresAt: number;
  refreshAt: number;
  failures: number;
}

const dayMs = 24 * 3600_000;
const maxJitterMs = 10_000;
const defaultSeconds = 3600;
const retry: BackoffPolicy = { initialMs: 5_000, maxMs: 300_000 };
/** A timer of Node may not be set further ahead than 2³¹ ms; looking again once an hour costs nothing. */
const maxTimerMs = 3600_000;

/** When a token of this lifetime is renewed: after four fifths of it, or a day. Milliseconds from its issue. */
export function renewAfter(lifetimeMs: number, jitter: number): number {
  return Math.max(0, Math.min(lifetimeMs * 0.8, dayMs) - Math.min(maxJitterMs, lifetimeMs * 0.1) * jitter);
}

/**
 * Service account tokens of pods, by (pod, account, audience, lifetime). Owns their renewal: one timer for
 * the earliest that falls due, whatever the number of pods. Tokens are kept in memory and nowhere logged.
 */
export class TokenManager {
  readonly #api: KubeApi | undefined;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #random: () => number;
  readonly #entries = new Map<string, Entry>();
  #onDue: (uid: PodUid) => void = () => {};
  #timer: { readonly at: number; readonly handle: Disposable } | undefined;

  constructor(options: {
    readonly api: KubeApi | undefined;
    readonly clock: Clock;
    readonly log: Log;
    readonly random?: () => number;
  }) {
    this.#api = options.api;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#random = options.random ?? Math.random;
  }

  /** Calls `onDue` with a pod whose token should be asked for again; stops with the signal. */
  start(onDue: (uid: PodUid) => void, signal: AbortSignal): void {
    this.#onDue = onDue;
    signal.addEventListener(
      'abort',
      () => {
        this.#onDue = () => {};
        this.#disarm();
      },
      { once: true },
    );
    this.#arm();
  }

  /** A token that is good for a while: the one we have, or a new one. While a renewal fails the old one serves until it expires. */
  async get(pod: Pod, uid: PodUid, projection: ServiceAccountTokenProjection, signal: AbortSignal): Promise<string> {
    const key = keyOf(pod, uid, projection);
    const entry = this.#entries.get(key);
    const now = this.#clock.monotonic();
    if (entry && now < entry.refreshAt) return entry.token;
    try {
      const { token, lifetimeMs } = await this.#request(pod, uid, projection, signal);
      this.#put(key, uid, token, { ageMs: 0, lifetimeMs });
      return token;
    } catch (error) {
      // A deadline of the caller is a failure like any other; only a caller that has gone away is none.
      if (isAbort(signal.reason)) throw error;
      const why = signal.aborted ? signal.reason : error;
      const cause = new AgentError('TokenRequest', `failed to fetch token: ${messageOf(why)}`, {
        cause: why,
        retryable: true,
      });
      if (!entry || now >= entry.expiresAt) throw cause;
      entry.failures++;
      entry.refreshAt = now + backoffDelay(entry.failures, retry);
      this.#log.warn(
        { podUid: uid, ...errorFields(cause) },
        'service account token not renewed, the old one serves on',
      );
      this.#arm();
      return entry.token;
    }
  }

  /**
   * Takes over a token that lies in a pod's volume from before a restart, when it says of itself that it
   * is the one asked for and still fresh. It is not verified: whoever could write there has it already.
   */
  adopt(pod: Pod, uid: PodUid, projection: ServiceAccountTokenProjection, token: string): void {
    const key = keyOf(pod, uid, projection);
    if (this.#entries.has(key)) return;
    const times = timesOf(token, pod, uid, projection);
    const ageMs = times ? this.#clock.now() - times.issuedMs : -1;
    if (times && ageMs >= 0 && ageMs < times.lifetimeMs)
      this.#put(key, uid, token, { ageMs, lifetimeMs: times.lifetimeMs });
  }

  /** Forgets the pod's tokens. */
  release(uid: PodUid): void {
    for (const [key, entry] of this.#entries) if (entry.uid === uid) this.#entries.delete(key);
  }

  async #request(pod: Pod, uid: PodUid, projection: ServiceAccountTokenProjection, signal: AbortSignal) {
    if (!this.#api) {
      throw new AgentError('NoApiServer', 'there is no API server to issue it', {
        hint: 'leave serviceAccountToken out of static pods, or join a cluster',
      });
    }
    const { name, namespace = 'default' } = pod.metadata;
    const body = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        ...(projection.audience ? { audiences: [projection.audience] } : {}),
        expirationSeconds: projection.expirationSeconds ?? defaultSeconds,
        boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name, uid },
      },
    };
    const account = { namespace, name: accountOf(pod) };
    const answer = await this.#api.createSubresource<typeof body, TokenRequest>(
      serviceAccounts,
      account,
      'token',
      body,
      signal,
    );
    const token = answer.status?.token;
    if (!token) throw new AgentError('TokenRequest', `the API server gave no token for ${namespace}/${account.name}`);
    return { token, lifetimeMs: (answer.spec.expirationSeconds ?? body.spec.expirationSeconds) * 1000 };
  }

  #put(key: string, uid: PodUid, token: string, { ageMs, lifetimeMs }: { ageMs: number; lifetimeMs: number }): void {
    const issued = this.#clock.monotonic() - ageMs;
    const refreshAt = issued + renewAfter(lifetimeMs, this.#random());
    this.#entries.set(key, { uid, token, expiresAt: issued + lifetimeMs, refreshAt, failures: 0 });
    this.#arm();
  }

  #arm(): void {
    let at = Number.POSITIVE_INFINITY;
    for (const entry of this.#entries.values()) at = Math.min(at, entry.refreshAt);
    if (this.#timer && this.#timer.at <= at) return;
    this.#disarm();
    if (at === Number.POSITIVE_INFINITY) return;
    const delay = Math.min(Math.max(at - this.#clock.monotonic(), 0), maxTimerMs);
    this.#timer = { at, handle: this.#clock.after(delay, () => this.#fire()) };
  }

  #disarm(): void {
    this.#timer?.handle[Symbol.dispose]();
    this.#timer = undefined;
  }

  #fire(): void {
    this.#timer = undefined;
    const now = this.#clock.monotonic();
    const due = new Set<PodUid>();
    for (const entry of this.#entries.values()) {
      if (entry.refreshAt > now) continue;
      due.add(entry.uid);
      // Still due for `get`, but not for this timer: it looks again after a while, should nobody ask.
    }
    for (const uid of due) this.#onDue(uid);
    this.#armAfter(now, due.size > 0);
  }

  /** After a firing: those that are due get time to be renewed before they are called again. */
  #armAfter(now: number, anyDue: boolean): void {
    let at = anyDue ? now + retry.initialMs : Number.POSITIVE_INFINITY;
    for (const entry of this.#entries.values()) if (entry.refreshAt > now) at = Math.min(at, entry.refreshAt);
    if (at === Number.POSITIVE_INFINITY || this.#timer) return;
    this.#timer = { at, handle: this.#clock.after(Math.min(at - now, maxTimerMs), () => this.#fire()) };
  }
}

const accountOf = (pod: Pod): string => pod.spec.serviceAccountName || pod.spec.serviceAccount || 'default';

function keyOf(pod: Pod, uid: PodUid, { audience, expirationSeconds }: ServiceAccountTokenProjection): string {
  return JSON.stringify([uid, accountOf(pod), audience ?? '', expirationSeconds ?? defaultSeconds]);
}

/** Issue and lifetime as the token itself (RFC 7519) tells them, or undefined when it is not for this pod and audience. */
function timesOf(
  token: string,
  pod: Pod,
  uid: PodUid,
  { audience }: ServiceAccountTokenProjection,
): { issuedMs: number; lifetimeMs: number } | undefined {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    const bound = claims['kubernetes.io'];
    if (bound?.pod?.uid !== uid || bound?.serviceaccount?.name !== accountOf(pod)) return undefined;
    const audiences: unknown[] = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
    if (audience && !audiences.includes(audience)) return undefined;
    // The server may extend a token beyond what was asked for and then says here when it should have been renewed.
    const expires = bound.warnafter ?? claims.exp;
    if (typeof claims.iat !== 'number' || typeof expires !== 'number') return undefined;
    return { issuedMs: claims.iat * 1000, lifetimeMs: (expires - claims.iat) * 1000 };
  } catch {
    return undefined;
  }
}
