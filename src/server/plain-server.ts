import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { aborted } from '../lib/aborted.ts';
import { backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { answerText } from './answer.ts';
import { HttpError } from './endpoint.ts';
import { listen } from './listen.ts';

export interface PlainAnswer {
  readonly status: number;
  readonly text: string;
  /** Default text/plain. */
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface PlainServerOptions {
  readonly address: string;
  readonly port: number;
  /** At `::`, leave IPv4 to others; default false. */
  readonly ipv6Only?: boolean;
  /** A port that cannot be had fails `run` instead of being tried on; default false. */
  readonly failsHard?: boolean;
  /** The keys of the configuration that set the place, and the kind that they are in: for advice. */
  readonly keys: string;
  readonly kind: string;
  /** What is served, for the log. */
  readonly what: string;
  /** Undefined: there is nothing at this path. The signal aborts when the client is gone; an HttpError is an answer too. */
  readonly answer: (
    path: string,
    query: URLSearchParams,
    signal: AbortSignal,
  ) => Promise<PlainAnswer | undefined> | PlainAnswer | undefined;
  /** How long an answer may take; default ten seconds. Milliseconds. */
  readonly patienceMs?: number;
  readonly clock: Clock;
  readonly log: Log;
}

const maxConnections = 64;
const defaultPatienceMs = 10_000;
const retry = { initialMs: 1_000, maxMs: 30_000 } as const;

/** Plain HTTP, reading only, for whoever can reach the port: short answers, few connections, little patience. */
export class PlainServer {
  readonly #o: PlainServerOptions;

  constructor(options: PlainServerOptions) {
    this.#o = options;
  }

  /** Serves until the signal is aborted. While the port cannot be had it says so once, and tries on, unless told to fail. */
  async run(signal: AbortSignal): Promise<void> {
    const { address, port, keys, kind, what, clock, log, ipv6Only, failsHard } = this.#o;
    let said = '';
    for (let failures = 1; !signal.aborted; failures++) {
      const server = this.#createServer();
      try {
        await listen(server, address, port, keys, kind, ipv6Only);
        server.on('error', (error) =>
          log.warn({ address, port, what, ...errorFields(error) }, 'a port that is served'),
        );
        log.debug({ address, port, what }, 'a port is served');
        said = '';
        failures = 0;
        await aborted(signal);
      } catch (error) {
        if (isAbort(error)) return;
        if (failsHard) throw error;
        const message = messageOf(error);
        if (message !== said) log.error({ address, port, what, ...errorFields(error) }, 'a port is not served');
        said = message;
        await clock.sleep(backoffDelay(failures, retry), signal).catch(() => {});
      } finally {
        server.close();
        server.closeAllConnections();
      }
    }
  }

  #createServer(): Server {
    const server = createServer(
      {
        headersTimeout: defaultPatienceMs,
        requestTimeout: defaultPatienceMs,
        connectionsCheckingInterval: 2_000,
        maxHeaderSize: 16 * 1024,
      },
      (request, response) => void this.#answer(request, response),
    );
    server.maxConnections = maxConnections;
    server.setTimeout(this.#o.patienceMs ?? defaultPatienceMs);
    return server;
  }

  async #answer({ method, url = '' }: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    try {
      const [path = '', query = ''] = url.split('?');
      const answer = await this.#o.answer(path, new URLSearchParams(query), gone.signal);
      if (!answer) return answerText(response, 404, '404 page not found\n');
      if (method !== 'GET' && method !== 'HEAD')
        return answerText(response, 405, 'Method Not Allowed\n', { allow: 'GET, HEAD' });
      const { status, text, contentType, headers } = answer;
      answerText(response, status, text, { ...headers, ...(contentType ? { 'content-type': contentType } : {}) });
    } catch (error) {
      if (gone.signal.aborted) return;
      if (error instanceof HttpError) return answerText(response, error.status, error.body);
      this.#o.log.error({ what: this.#o.what, ...errorFields(error) }, 'a request failed');
      answerText(response, 500, `${messageOf(error)}\n`);
    }
  }
}
