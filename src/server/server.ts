import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import { backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { answerText, refuseUpgrade } from './answer.ts';
import { ConnectionLimit } from './connection-limit.ts';
import { type Endpoint, HttpError, type ServedRequest } from './endpoint.ts';
import type { Guard } from './guard.ts';
import type { HttpMetrics } from './http-metrics.ts';
import { listen } from './listen.ts';
import { type Peer, peerOf } from './peer.ts';
import { type Match, Router } from './router.ts';
import type { ServingFiles, ServingMaterial } from './serving-files.ts';

export interface NodeServerOptions {
  readonly address: string;
  readonly port: number;
  readonly tls: SecureContextOptions;
  readonly files: Pick<ServingFiles, 'read' | 'watch'>;
  readonly endpoints: readonly Endpoint[];
  readonly guard: Pick<Guard, 'admit'>;
  readonly requests?: Pick<HttpMetrics, 'begin'>;
  readonly limits?: Partial<Limits>;
  readonly clock: Clock;
  readonly log: Log;
}

/** What clients may take of us. Times in milliseconds. */
export interface Limits {
  readonly connections: number;
  /** Of these, as many may be such on which nobody has been let in. */
  readonly strangers: number;
  /** For a client's handshake, and for the head of its request. */
  readonly headMs: number;
  /** And for the rest of it. */
  readonly requestMs: number;
  readonly idleMs: number;
  /** To take the end of an answer that is all written, as far as we are concerned. */
  readonly lastBytesMs: number;
  readonly headBytes: number;
  /** How often the first two times are looked after. */
  readonly checkMs: number;
}

const defaultLimits: Limits = {
  // Streams, scrapes and logs of a full node, several times over.
  connections: 2048,
  strangers: 256,
  headMs: 10_000,
  // Requests of the API server have next to no body.
  requestMs: 60_000,
  // The API server keeps its idle connections for 90 s, too: the one who asks should be first to leave.
  idleMs: 95_000,
  lastBytesMs: 60_000,
  // A command of `kubectl exec` is part of the request's first line.
  headBytes: 256 * 1024,
  checkMs: 2_000,
};
/** How long nothing may come before the kernel asks whether the other machine is there; Go's time. */
const probeMs = 15_000;
const retry = { initialMs: 1_000, maxMs: 30_000 } as const;

/**
 * The node's HTTPS port. It finds the endpoint of a request, lets the guard decide, and makes an answer of
 * what the endpoint throws. While the port or a file cannot be had it says so once, and tries on.
 */
export class NodeServer {
  readonly #o: NodeServerOptions;
  readonly #router: Router;
  readonly #limits: Limits;
  readonly #strangers: ConnectionLimit;
  readonly #sockets = new Set<Socket>();
  /** Who is at the other end, and by which authorities that was found out. */
  readonly #peers = new WeakMap<Duplex, { readonly peer: Peer | 'none' | 'refused'; readonly generation: number }>();
  /** How many requests are under way on each connection. */
  readonly #open = new Map<Duplex, number>();
  /** Counts the changes of the authorities for client certificates. */
  #generation = 0;
  #clientCa: string | undefined;
  #said = '';
  readonly #listening = Promise.withResolvers<number>();

  constructor(options: NodeServerOptions) {
    this.#o = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#strangers = new ConnectionLimit(this.#limits.strangers);
    this.#router = new Router(options.endpoints);
  }

  /** Resolves with the port when it is served for the first time. */
  get listening(): Promise<number> {
    return this.#listening.promise;
  }

  /** Serves until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, address, port } = this.#o;
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        await this.#serve(signal);
      } catch (error) {
        if (isAbort(error)) return;
        const message = messageOf(error);
        if (message !== this.#said)
          log.error({ address, port, ...errorFields(error) }, "the node's port is not served");
        this.#said = message;
        await clock.sleep(backoffDelay(failures, retry), signal).catch(() => {});
      }
    }
  }

  async #serve(signal: AbortSignal): Promise<void> {
    const { address, port, files, log } = this.#o;
    const material = await files.read();
    this.#clientCa = material.clientCa;
    const server = this.#createServer(material, signal);
    await listen(server, address, port, 'address and port');
    server.on('error', (error) => log.warn(errorFields(error), "the node's port"));
    log.info({ address, port }, "the node's port is served");
    this.#listening.resolve((server.address() as AddressInfo).port);
    this.#said = '';
    try {
      await files.watch(material, (changed) => this.#takeOver(server, changed), signal);
    } finally {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of this.#sockets) socket.destroy();
      await closed;
    }
  }

  #createServer(material: ServingMaterial, signal: AbortSignal): Server {
    const { headMs, requestMs, idleMs, checkMs, headBytes, connections } = this.#limits;
    const server = createServer({
      ...this.#contextOf(material),
      // Who has no good certificate may have a token.
      requestCert: material.clientCa !== undefined,
      rejectUnauthorized: false,
      handshakeTimeout: headMs,
      headersTimeout: headMs,
      requestTimeout: requestMs,
      keepAliveTimeout: idleMs,
      // Who follows a log may be silent for ever: of a machine that is gone only the kernel can tell.
      keepAlive: true,
      keepAliveInitialDelay: probeMs,
      connectionsCheckingInterval: checkMs,
      maxHeaderSize: headBytes,
      // An answer that is still to be written would end up in the middle of the other protocol, or nowhere.
      shouldUpgradeCallback: (request) => !this.#open.get(request.socket) && this.#upgradeOf(request) !== undefined,
    });
    server.maxConnections = connections;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      this.#strangers.arrived(socket);
    });
    server.on('secureConnection', (socket: TLSSocket) => {
      const peer = this.#clientCa === undefined ? 'none' : peerOf(socket);
      this.#peers.set(socket, { peer, generation: this.#generation });
      this.#open.set(socket, 0);
      socket.once('close', () => this.#open.delete(socket));
      socket.on('error', () => socket.destroy());
    });
    server.on('tlsClientError', (_error: Error, socket: TLSSocket) => socket.destroy());
    server.on('request', (request, response) => void this.#answer(request, response, signal));
    server.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket, head, signal));
    return server;
  }

  #contextOf({ cert, key, clientCa }: ServingMaterial): SecureContextOptions {
    return { ...this.#o.tls, cert, key, ...(clientCa === undefined ? {} : { ca: clientCa }) };
  }

  /** Connections stay as they are, unless other authorities decide from now on who their clients are. */
  #takeOver(server: Server, material: ServingMaterial): void {
    this.#o.log.info({}, "files of the node's port have changed and are in use");
    server.setSecureContext(this.#contextOf(material));
    if (material.clientCa === this.#clientCa) return;
    this.#clientCa = material.clientCa;
    this.#generation++;
    for (const [socket, requests] of this.#open) if (requests === 0) socket.destroy();
  }

  #count(socket: Duplex, change: number): void {
    const requests = this.#open.get(socket);
    if (requests !== undefined) this.#open.set(socket, requests + change);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, life: AbortSignal): Promise<void> {
    const counted = this.#o.requests?.begin(request);
    const gone = new AbortController();
    this.#count(request.socket, 1);
    response.once('close', () => {
      this.#count(request.socket, -1);
      gone.abort();
      counted?.[Symbol.dispose]();
    });
    response.on('error', () => response.destroy());
    // An old identity is good for the request that is under way, and for no other.
    response.once('finish', () => {
      if (this.#peers.get(request.socket)?.generation !== this.#generation) request.socket.destroySoon();
    });
    try {
      const { match, served } = await this.#admit(request, gone.signal, life);
      if (!match.endpoint.handle) throw new HttpError(400, 'Upgrade request required');
      await match.endpoint.handle(served, response);
      if (!response.writableEnded) response.end();
    } catch (error) {
      this.#refuse(error, request, (status, text, contentType) => {
        const allow = status === 405 ? { allow: this.#allowedAt(request) } : {};
        if (response.headersSent) response.destroy();
        else answerText(response, status, text, { ...allow, ...(contentType && { 'content-type': contentType }) });
      });
    }
    if (response.closed || response.destroyed) return;
    const late = this.#o.clock.after(this.#limits.lastBytesMs, () => response.destroy());
    response.once('close', () => late[Symbol.dispose]());
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, life: AbortSignal): Promise<void> {
    const counted = this.#o.requests?.begin(request);
    const gone = new AbortController();
    this.#count(socket, 1);
    socket.once('close', () => {
      gone.abort();
      counted?.[Symbol.dispose]();
    });
    try {
      const { match, served } = await this.#admit(request, gone.signal, life);
      await match.endpoint.upgrade?.(served, socket, head);
    } catch (error) {
      this.#refuse(error, request, (...answer) => refuseUpgrade(socket, ...answer));
    }
    // What was written goes out, but not to somebody who does not read.
    const late = this.#o.clock.after(this.#limits.headMs, () => socket.destroy());
    socket.once('close', () => late[Symbol.dispose]());
    socket.end();
    if (socket.writableFinished) socket.destroy();
    else socket.once('finish', () => socket.destroy());
    if (socket.destroyed) late[Symbol.dispose]();
  }

  async #admit(
    request: IncomingMessage,
    signal: AbortSignal,
    life: AbortSignal,
  ): Promise<{ match: Match; served: ServedRequest }> {
    const { method = '', headers, socket } = request;
    const url = urlOf(request);
    if (!this.#router.knows(url.pathname)) throw new HttpError(404, '404 page not found\n');
    const known = this.#peers.get(socket);
    const peer = known && known.generation === this.#generation ? known.peer : 'refused';
    const { authorization } = headers;
    const matches = this.#router.matches(url.pathname);
    // Who may use it is decided by the endpoint that will be used, however the path is spelled.
    const path = matches[0]?.endpoint.path ?? url.pathname;
    const user = await this.#o.guard.admit({ peer, authorization, method, path }, life);
    if (user.username !== 'system:anonymous') this.#strangers.letIn(socket);
    if (matches.length === 0) throw new HttpError(404, '404: Page Not Found');
    const match = matches.find(({ endpoint }) => endpoint.methods.includes(method));
    if (!match) throw new HttpError(405, '405: Method Not Allowed');
    return { match, served: { raw: request, url, params: match.params, user, signal } };
  }

  #refuse(
    error: unknown,
    request: IncomingMessage,
    answer: (status: number, text: string, contentType?: string) => void,
  ): void {
    if (error instanceof HttpError) {
      answer(error.status, error.body, error.contentType);
      return;
    }
    if (!isAbort(error)) {
      const { method, url } = request;
      this.#o.log.error(
        { method, path: url?.split('?')[0], ...errorFields(error) },
        "a request to the node's port failed",
      );
    }
    answer(500, messageOf(error));
  }

  #upgradeOf(request: IncomingMessage): Match | undefined {
    try {
      const matches = this.#router.matches(urlOf(request).pathname);
      return matches.find(({ endpoint }) => endpoint.upgrade && endpoint.methods.includes(request.method ?? ''));
    } catch {
      return undefined;
    }
  }

  #allowedAt(request: IncomingMessage): string {
    const matches = this.#router.matches(urlOf(request).pathname);
    return [...new Set(matches.flatMap(({ endpoint }) => endpoint.methods))].join(', ');
  }
}

/** The path with dots resolved, so that every part of the server sees the same one. */
function urlOf({ url = '' }: IncomingMessage): URL {
  // Two slashes at the start would make a host of what follows.
  const text = url.startsWith('/') ? `https://node/${url.replace(/^\/+/, '')}` : '';
  if (!URL.canParse(text)) throw new HttpError(400, 'Bad Request');
  return new URL(text);
}
