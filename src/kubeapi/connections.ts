import { Pool } from 'undici';
import type { Clock } from '../lib/clock.ts';
import type { Credentials } from './credentials.ts';
import { ApiConnectionError } from './transport-errors.ts';

/**
 * The TCP connections to one API server, HTTP/1.1 with keep-alive. Watches have connections of their
 * own, as many as there are watches, so that they never keep a request waiting.
 *
 * A peer that vanished without a word is noticed by TCP keep-alive on a silent connection: the first
 * probe after `keepAliveIdleMs`, then (libuv's fixed values) ten more a second apart, 13 s in all. A
 * connection with unanswered data in flight is noticed by the deadline of its request.
 */
export class Connections {
  readonly #credentials: Credentials;
  readonly #connectTimeoutMs: number;
  readonly #clock: Clock;
  #current: { readonly version: number; readonly requests: Pool; readonly watches: Pool } | undefined;
  #heardAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: { credentials: Credentials; connectTimeoutMs: number; clock: Clock }) {
    this.#credentials = options.credentials;
    this.#connectTimeoutMs = options.connectTimeoutMs;
    this.#clock = options.clock;
  }

  /** The pool to send on, made with the credentials of this moment. Throws KubeconfigError. */
  async pool(use: 'requests' | 'watches'): Promise<Pool> {
    const { version, material } = await this.#credentials.tls();
    if (this.#closed) throw new ApiConnectionError('ApiClientClosed', 'The API client has been closed');
    if (this.#current && this.#current.version !== version) {
      const { requests, watches } = this.#current;
      this.#current = undefined;
      // Requests under way may finish with the old identity; watches come back with the new one.
      void requests.close();
      void watches.destroy(dropped('the credentials have changed'));
    }
    this.#current ??= {
      version,
      requests: this.#open(material, requestConnections),
      watches: this.#open(material, null),
    };
    return this.#current[use];
  }

  /** Something came from the server on any connection. */
  heard(): void {
    this.#heardAt = this.#clock.monotonic();
  }

  /** Whether the server has been silent on every connection since that moment (monotonic milliseconds). */
  silentSince(moment: number): boolean {
    return this.#heardAt < moment;
  }

  /** Drops every connection, those in use too: what is under way fails with ApiConnectionLost and can be retried. */
  reset(): void {
    const current = this.#current;
    this.#current = undefined;
    if (!current) return;
    void current.requests.destroy(dropped('the connections have been reset'));
    void current.watches.destroy(dropped('the connections have been reset'));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const current = this.#current;
    this.#current = undefined;
    if (!current) return;
    const reason = new ApiConnectionError('ApiClientClosed', 'The API client has been closed');
    await Promise.all([current.requests.destroy(reason), current.watches.destroy(reason)]);
  }

  #open(material: Awaited<ReturnType<Credentials['tls']>>['material'], connections: number | null): Pool {
    const { ca, ...identity } = material;
    return new Pool(this.#credentials.server.origin, {
      connections,
      allowH2: false,
      keepAliveTimeout: 60_000,
      // Deadlines are the client's own, by its clock.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        ...identity,
        ...(ca === undefined ? {} : { ca: typeof ca === 'string' ? ca : [...ca] }),
        allowH2: false,
        // As in Go: the authority in a kubeconfig is trusted even when it is an intermediate one.
        allowPartialTrustChain: true,
        timeout: this.#connectTimeoutMs,
        keepAlive: true,
        keepAliveInitialDelay: keepAliveIdleMs,
      },
    });
  }
}

const keepAliveIdleMs = 3_000;
/** Enough for a burst of pods; one TLS handshake each is what they cost. */
const requestConnections = 8;

const dropped = (why: string): ApiConnectionError =>
  new ApiConnectionError('ApiConnectionLost', `The connection to the API server was dropped: ${why}`, {
    retryable: true,
  });
