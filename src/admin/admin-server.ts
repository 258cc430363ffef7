import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { AgentError, errnoOf, errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { AdminError } from './admin-api.ts';

export interface AdminServerOptions {
  readonly socket: string;
  /** What is answered with, by path: anything that is JSON, made when it is asked for. */
  readonly answers: Readonly<Record<string, () => object>>;
  readonly log: Log;
}

/** People and scripts on this machine, not a service: a few at a time are enough. */
const maxConnections = 16;
/** A client gets this long to ask, and to take its answer; milliseconds. */
const patienceMs = 10_000;
const maxHeaderBytes = 4096;

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
      (request, response) => this.#answer(request, response),
    );
    server.maxConnections = maxConnections;
    server.setTimeout(patienceMs);
    try {
      await takePlace(socket);
      await listen(server, socket);
    } catch (error) {
      log.warn({ socket, ...errorFields(error) }, 'no admin socket: keelson get and keelson why do not answer');
      return;
    }
    log.debug({ socket }, 'admin socket listens');
    server.on('error', (error) => log.warn({ socket, ...errorFields(error) }, 'admin socket'));
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    // What a client still sends is of no interest.
    request.resume();
    const path = request.url?.split('?')[0] ?? '/';
    const answer = Object.hasOwn(this.#o.answers, path) ? this.#o.answers[path] : undefined;
    if (!answer) reply(response, 404, { message: `there is no ${path}` });
    else if (request.method !== 'GET') reply(response, 405, { message: `${path} can only be read` });
    else {
      try {
        reply(response, 200, answer());
      } catch (error) {
        this.#o.log.error({ path, ...errorFields(error) }, 'admin request failed');
        reply(response, 500, { message: messageOf(error) });
      }
    }
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
