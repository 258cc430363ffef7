import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { answerText } from './answer.ts';
import { type HealthCheck, healthAnswer } from './healthz.ts';
import { listen } from './listen.ts';

export interface HealthzServerOptions {
  readonly address: string;
  readonly port: number;
  readonly checks: readonly HealthCheck[];
  readonly clock: Clock;
  readonly log: Log;
}

const maxConnections = 64;
const patienceMs = 10_000;
const retry = { initialMs: 1_000, maxMs: 30_000 } as const;

/** Plain HTTP for those who watch over the process, on the loopback as a rule: nobody is asked who they are. */
export class HealthzServer {
  readonly #o: HealthzServerOptions;

  constructor(options: HealthzServerOptions) {
    this.#o = options;
  }

  /** Serves until the signal is aborted. While the port cannot be had it says so once, and tries on. */
  async run(signal: AbortSignal): Promise<void> {
    const { address, port, clock, log } = this.#o;
    let said = '';
    for (let failures = 1; !signal.aborted; failures++) {
      const server = this.#createServer();
      try {
        await listen(server, address, port, 'healthzBindAddress and healthzPort');
        server.on('error', (error) => log.warn({ address, port, ...errorFields(error) }, 'the port of health'));
        log.debug({ address, port }, 'health is served');
        await aborted(signal);
      } catch (error) {
        if (isAbort(error)) return;
        const message = messageOf(error);
        if (message !== said) log.error({ address, port, ...errorFields(error) }, 'health is not served');
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
        headersTimeout: patienceMs,
        requestTimeout: patienceMs,
        connectionsCheckingInterval: 2_000,
        maxHeaderSize: 16 * 1024,
      },
      (request, response) => this.#answer(request, response),
    );
    server.maxConnections = maxConnections;
    server.setTimeout(patienceMs);
    return server;
  }

  #answer({ method, url = '' }: IncomingMessage, response: ServerResponse): void {
    const [path = '', query = ''] = url.split('?');
    const answer = healthAnswer(this.#o.checks, path, new URLSearchParams(query));
    if (!answer) answerText(response, 404, '404 page not found\n');
    else if (method !== 'GET' && method !== 'HEAD')
      answerText(response, 405, 'Method Not Allowed\n', { allow: 'GET, HEAD' });
    else answerText(response, answer.status, answer.text);
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
