import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { aborted } from '../lib/aborted.ts';
import { AgentError, errnoOf, errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { AdminError } from './admin-api.ts';

/** Anything that is JSON. The signal ends what goes on for a client that went away, or for too long. */
export type Answer = (query: URLSearchParams, signal: AbortSignal) => object | Promise<object>;

export interface AdminServerOptions {
  readonly socket: string;
  /** What is answered with, by path, made when it is asked for. */
  readonly answers: Readonly<Record<string, Answer>>;
  readonly log: Log;
}

/** People and scripts on this machine, not a service: a few at a time are enough. */
const maxConnections = 16;
/** A client gets this long to ask, and to take its answer; milliseconds. */
const patienceMs = 10_000;
const maxHeaderBytes = 4096;
/** For answers that other programs have to be asked for; milliseconds. */
const answerMs = 120_000;
/** By code of an AgentError: what whoever asks can mend, or has to wait for. Everything else is a fault of ours. */
const refusals: Readonly<Record<string, number>> = { BadQuestion: 400, ServicesUnknown: 503 };

/**
 * The local control socket: HTTP over a unix socket that only root may use, so that there is nothing to
 * authenticate. It only reads. A client that hangs is cut off; without the socket keelson works as well.
 */
export class AdminServer {
  readonly #o: AdminServerOptions;

  constructor(options: AdminServerOptions) {
    this.#o = options;
  }

  /** Serves until the signal is aborted. A socket that cannot be had is said, and no error. */
  async run(signal: AbortSignal): Promise<void> {
    const { socket, log } = this.#o;
    const server = createServer(
      {
        maxHeaderSize: maxHeaderBytes,
        headersTimeout: patienceMs,
        requestTimeout: patienceMs,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => void this.#answer(request, response),
    );
    server.maxConnections = maxConnections;
    server.setTimeout(patienceMs);
    try {
      await takePlace(socket);
      await listen(server, socket);
    } catch (error) {
      log.warn({ socket, ...errorFields(error) }, 'no admin socket: keelson get, why and svc do not answer');
      return;
    }
    log.debug({ socket }, 'admin socket listens');
    server.on('error', (error) => log.warn({ socket, ...errorFields(error) }, 'admin socket'));
    await aborted(signal);
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // What a client still sends is of no interest.
    request.resume();
    const [path = '/', query] = (request.url ?? '/').split('?');
    const answer = Object.hasOwn(this.#o.answers, path) ? this.#o.answers[path] : undefined;
    if (!answer) return reply(response, 404, { message: `there is no ${path}` });
    if (request.method !== 'GET') return reply(response, 405, { message: `${path} can only be read` });
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, AbortSignal.timeout(answerMs)]);
    try {
      const made = answer(new URLSearchParams(query), signal);
      // The client's patience is its own while we work.
      if (made instanceof Promise) response.setTimeout(answerMs + patienceMs);
      const body = await made;
      response.setTimeout(patienceMs);
      reply(response, 200, body);
    } catch (error) {
      if (!gone.signal.aborted) this.#refuse(path, response, error);
    }
  }

  #refuse(path: string, response: ServerResponse, error: unknown): void {
    const status = error instanceof AgentError ? refusals[error.code] : undefined;
    if (status === undefined) this.#o.log.error({ path, ...errorFields(error) }, 'admin request failed');
    const hint = error instanceof AgentError ? error.hint : undefined;
    reply(response, status ?? 500, { message: messageOf(error), ...(hint === undefined ? {} : { hint }) });
  }
}

function reply(response: ServerResponse, status: number, body: object | AdminError): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
  });
  response.end(text);
}

/** Makes the folder, and removes a socket that a predecessor left behind; one that answers is somebody else's. */
async function takePlace(socket: string): Promise<void> {
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  const found = await lstat(socket).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!found) return;
  if (!found.isSocket()) throw new AgentError('AdminSocketTaken', `${socket} is there and is no socket`);
  if (await answers(socket)) {
    const hint = 'another keelson runs here: stop it, or set admin.socket of the KeelsonConfiguration';
    throw new AgentError('AdminSocketTaken', `somebody else listens at ${socket}`, { hint });
  }
  await rm(socket, { force: true });
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const attempt = connect(socket);
    const end = (result: boolean) => {
      attempt.destroy();
      resolve(result);
    };
    attempt.once('connect', () => end(true)).once('error', () => end(false));
    attempt.setTimeout(patienceMs, () => end(true));
  });
}

async function listen(server: Server, socket: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, () => {
      server.off('error', reject);
      resolve();
    });
  });
  // The folder keeps others out until this is done, where it is keelson's own.
  await chmod(socket, 0o600);
}
