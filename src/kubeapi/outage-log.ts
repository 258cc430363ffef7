import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { ApiConnectionError } from './transport-errors.ts';

/** A server that comes and goes is complained of no more often than this. */
const quietMs = 60_000;

/**
 * Says once that the API server cannot be reached, however many parts ask for it meanwhile, and once that
 * it answers again. A connection that merely broke is made again and worth no word.
 */
export class OutageLog {
  readonly #log: Log;
  readonly #clock: Clock;
  #isOut = false;
  #saidAt = Number.NEGATIVE_INFINITY;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  answered(): void {
    if (this.#isOut) this.#log.info({}, 'the API server answers again');
    this.#isOut = false;
  }

  failed(error: unknown): void {
    if (!(error instanceof ApiConnectionError) || error.code === 'ApiConnectionLost') return;
    const now = this.#clock.monotonic();
    error.said = true;
    // What was under way when the client was closed is no fault of the server.
    if (error.code === 'ApiClientClosed') return;
    if (this.#isOut || now - this.#saidAt < quietMs) return;
    this.#isOut = true;
    this.#saidAt = now;
    this.#log.warn(errorFields(error), 'the API server does not answer; trying on');
  }
}

/** How loud a part tells of a failure: what the client has said itself is only for those who look closely. */
export const failureLevel = (error: unknown): 'debug' | 'warn' =>
  error instanceof ApiConnectionError && error.said ? 'debug' : 'warn';
