import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { Pki, signingKey } from '../pki/pki.ts';
import { type PeerIdentity, peerIdentityOf, type TokenTable } from './authentication.ts';
import { BOOTSTRAP_ROLES } from './bootstrap-roles.ts';
import { control } from './control.ts';
import { Controllers } from './controllers.ts';
import { DEFAULT_RANGES, type ServiceRanges } from './defaults-service.ts';
import { EndpointSliceController } from './endpoint-slices.ts';
import { type FaultMatch, Faults, matchesFacts, type RequestFacts } from './faults.ts';
import { Handler } from './handler.ts';
import { apiVersionOf, KINDS, NAMESPACES, type ResourceKind } from './kinds.ts';
import { kubeconfig } from './kubeconfig.ts';
import { type DialNode, NodeConnections } from './node-connections.ts';
import type { ApiObject, DraftObject } from './objects.ts';
import { Registry } from './registry.ts';
import { BACKLOG_LIMIT, Reply } from './reply.ts';
import { isSnapshot, Store } from './store.ts';
import { TokenIssuer } from './tokens.ts';
import { WatchHub } from './watch.ts';

export interface StandInOptions {
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** The address to listen on; 127.0.0.1 by default. */
  readonly host?: string;
  /** The host in `url` and the kubeconfigs when it is not the one to listen on. */
  readonly advertise?: string;
  /** The cluster's authority; one is made without it. */
  readonly tls?: Pki;
  /** Serves with this certificate instead of one from the authority. */
  readonly serving?: { readonly cert: string; readonly key: string };
  readonly tokens?: TokenTable;
  /** PEM; tokens of service accounts outlive the server when it is kept. */
  readonly tokenKey?: string;
  /** Every service-account token lives this long, whatever was asked for. */
  readonly tokenLifetimeSeconds?: number;
  /** The state is read from here at start and written at stop. */
  readonly storageFile?: string;
  /** 10.244.0.0/16 by default; false leaves nodes without a pod CIDR. */
  readonly podNetwork?: string | false;
  readonly nodePodCidrs?: Readonly<Record<string, string>>;
  readonly serviceRanges?: ServiceRanges;
  /** Binds pods without a node to this one. */
  readonly autoBind?: string;
  /** Runs the small EndpointSlice controller; on unless false. */
  readonly endpointSlices?: boolean;
  /** A minute by default, as upstream. */
  readonly bookmarkIntervalMs?: number;
  /** Bytes that a slow client of a stream may leave unread; a streamed list of many objects needs more than 32 MiB. */
  readonly backlogLimit?: number;
  /** Serves streaming lists; false refuses them as a server without the storage feature does. */
  readonly watchList?: boolean;
  /** How to reach the HTTPS ports of nodes; directly unless told. */
  readonly dialNode?: DialNode;
  /** Offers HTTP/2 besides HTTP/1.1; on unless false. */
  readonly http2?: boolean;
}

/** A request as it was answered; watches are noted when they begin. */
export interface RecordedRequest extends RequestFacts {
  readonly query: Readonly<Record<string, string>>;
  readonly status: number;
}

const RECORD_LIMIT = 5000;
const identityKey = Symbol('identity');
type IdentifiedSocket = TLSSocket & { [identityKey]?: PeerIdentity };

/**
 * A stand-in for kube-apiserver with what surrounds it (controllers, a scheduler of one node), for
 * tests: real HTTPS, real rights, real watches, and faults on demand. State is in memory.
 */
export class StandInApiServer implements AsyncDisposable {
  readonly pki: Pki;
  readonly store = new Store();
  readonly registry: Registry;
  readonly faults = new Faults();
  readonly watches: WatchHub;
  readonly issuer: TokenIssuer;
  /** What was asked since the start or the last `requests.length = 0`; the oldest go first. */
  readonly requests: RecordedRequest[] = [];
  readonly #options: StandInOptions;
  readonly #tokens: Record<string, { user: string; groups?: readonly string[] }>;
  readonly #controllers: Controllers;
  readonly #handler: Handler;
  readonly #sockets = new Set<TLSSocket>();
  readonly #subscriptions: Disposable[] = [];
  #server: https.Server | http2.Http2SecureServer | undefined;
  #port: number;

  private constructor(options: StandInOptions) {
    this.#options = options;
    this.#port = options.port ?? 0;
    this.pki = options.tls ?? Pki.create();
    this.#tokens = { ...options.tokens };
    this.registry = new Registry(this.store, options.serviceRanges ?? DEFAULT_RANGES);
    this.watches = new WatchHub(this.store, {
      bookmarkIntervalMs: options.bookmarkIntervalMs ?? 60_000,
      watchList: options.watchList ?? true,
    });
    this.issuer = new TokenIssuer(
      this.store,
      options.tokenKey ?? signingKey().privateKey,
      options.tokenLifetimeSeconds,
    );
    const slices = options.endpointSlices === false ? undefined : new EndpointSliceController(this.registry);
    this.#controllers = new Controllers(
      this.registry,
      {
        podNetwork: options.podNetwork ?? '10.244.0.0/16',
        nodePodCidrs: options.nodePodCidrs ?? {},
        autoBind: options.autoBind,
        ca: this.pki.ca,
      },
      slices,
    );
    this.#handler = new Handler({
      registry: this.registry,
      hub: this.watches,
      faults: this.faults,
      issuer: this.issuer,
      tokens: this.#tokens,
      nodes: new NodeConnections(this.registry, this.pki, options.dialNode),
      control: (method, path, body, reply) => control(this, method, path, body, reply),
      delay: (ms) => sleep(ms, undefined, { ref: false }),
      record: (facts, query, status) => this.#record(facts, query, status),
    });
  }

  static async start(options: StandInOptions = {}): Promise<StandInApiServer> {
    const server = new StandInApiServer(options);
    server.#load();
    server.#subscriptions.push(server.watches.start(), server.#controllers.start());
    server.#controllers.settle();
    await server.listen();
    return server;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    const { advertise, host = '127.0.0.1' } = this.#options;
    const name = advertise ?? (host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host);
    return `https://${name.includes(':') ? `[${name}]` : name}:${this.#port}`;
  }

  /** Pods without a node go to this one from now on; undefined leaves them pending. */
  set autoBind(node: string | undefined) {
    this.#controllers.autoBind = node;
    this.#controllers.settle();
  }

  /** Writes a kubeconfig for the user and returns its path. A token is made up and becomes valid at once. */
  kubeconfigFor(
    user: string,
    options: { readonly groups?: readonly string[]; readonly kind?: 'cert' | 'token'; readonly url?: string },
    path: string,
  ): string {
    const groups = options.groups ?? [];
    const identity = options.kind === 'token' ? { token: this.addToken(user, groups) } : this.pki.client(user, groups);
    writeFileSync(path, kubeconfig(options.url ?? this.url, this.pki.ca, user, identity), { mode: 0o600 });
    return path;
  }

  addToken(user: string, groups: readonly string[] = [], token: string = randomUUID()): string {
    this.#tokens[token] = { user, groups };
    return token;
  }

  revokeToken(token: string): void {
    delete this.#tokens[token];
  }

  /** Creates from a manifest, in this process and without asking for rights. */
  create(manifest: DraftObject): ApiObject {
    const kind = kindOf(manifest);
    return this.registry.create(
      kind,
      kind.namespaced ? (manifest.metadata?.namespace ?? 'default') : undefined,
      manifest,
    );
  }

  /**
   * The object as soon as `predicate` holds for it; with undefined in hand when there is none, so
   * that its absence can be waited for. Rejects when the signal is aborted.
   */
  async until(
    kind: ResourceKind,
    namespace: string | undefined,
    name: string,
    predicate: (object: ApiObject | undefined) => boolean,
    signal: AbortSignal,
  ): Promise<ApiObject | undefined> {
    const current = () => this.store.get(kind, namespace, name);
    if (predicate(current())) return current();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    using _subscription = this.store.subscribe((change) => {
      if (change.kind === kind && predicate(current())) resolve();
    });
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', abort);
    }
    return current();
  }

  /** Begins to listen, on the same port as before when there was one. */
  async listen(): Promise<void> {
    const { host = '127.0.0.1', advertise } = this.#options;
    const names = ['localhost', '127.0.0.1', '::1', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
    const hosts = [...new Set([...(advertise ? [advertise] : []), host, ...names])];
    const { cert, key } = this.#options.serving ?? this.pki.serving(hosts);
    const tls = { cert, key, ca: this.pki.ca, requestCert: true, rejectUnauthorized: false };
    const answer = (request: IncomingMessage, response: ServerResponse) => void this.#answer(request, response);
    const server =
      this.#options.http2 === false
        ? https.createServer(tls, answer)
        : http2.createSecureServer({ ...tls, allowHTTP1: true }, answer as never);
    server.prependListener('secureConnection', (socket: IdentifiedSocket) => {
      socket[identityKey] = peerIdentityOf(socket);
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      socket.on('error', () => socket.destroy());
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const url = new URL(request.url ?? '/', 'https://server');
      const peer = (socket as IdentifiedSocket)[identityKey] ?? 'none';
      void this.#handler.upgrade(request, url, peer, socket, head);
    });
    server.on('tlsClientError', (_error: Error, socket: TLSSocket) => socket.destroy());
    // An idle connection stays: closing it would race with a request on its way.
    if ('keepAliveTimeout' in server) server.keepAliveTimeout = 0;
    server.listen(this.#port, host);
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Stops listening and cuts every connection; the state stays. `listen` brings it back. */
  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server?.listening) return;
    const closed = once(server, 'close');
    server.close();
    this.cutConnections();
    await closed;
  }

  /** Same port, same state, all connections cut; unreachable for `downMs` in between. */
  async restart(options: { readonly downMs?: number } = {}): Promise<void> {
    await this.close();
    if (options.downMs) await sleep(options.downMs);
    await this.listen();
  }

  cutConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /**
   * Nothing is answered any more and no watch says anything, while connections stay and new ones are
   * accepted: a half-dead server. Ends, with the connections that were caught in it, on dispose.
   */
  blackhole(match: FaultMatch = {}): Disposable {
    const fault = this.faults.add({ match, action: 'stall' });
    this.watches.silence(match);
    return {
      [Symbol.dispose]: () => {
        fault[Symbol.dispose]();
        this.cutConnections();
      },
    };
  }

  /** How many of the recorded requests match. */
  count(match: FaultMatch): number {
    return this.requests.filter((request) => matchesFacts(match, request)).length;
  }

  async stop(): Promise<void> {
    await this.close();
    for (const subscription of this.#subscriptions.splice(0)) subscription[Symbol.dispose]();
    this.save();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Writes the state to the storage file, where there is one. */
  save(): void {
    const { storageFile } = this.#options;
    if (!storageFile) return;
    writeFileSync(`${storageFile}.new`, JSON.stringify(this.store.snapshot()), { mode: 0o600 });
    renameSync(`${storageFile}.new`, storageFile);
  }

  #load(): void {
    const { storageFile } = this.#options;
    if (storageFile && existsSync(storageFile)) {
      const snapshot: unknown = JSON.parse(readFileSync(storageFile, 'utf8'));
      if (!isSnapshot(snapshot)) throw new Error(`${storageFile} is not a storage file`);
      this.store.restore(snapshot);
      return;
    }
    for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) {
      this.registry.create(NAMESPACES, undefined, { metadata: { name } });
    }
    for (const object of BOOTSTRAP_ROLES) this.create(object);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const socket = request.socket as IdentifiedSocket;
    const { session } = (request as unknown as http2.Http2ServerRequest).stream ?? {};
    const url = new URL(request.url ?? '/', 'https://server');
    const pretty =
      /^(curl|Wget)\//i.test(request.headers['user-agent'] ?? '') ||
      ['1', 'true'].includes(url.searchParams.get('pretty') ?? '');
    const options = { pretty, backlogLimit: this.#options.backlogLimit ?? BACKLOG_LIMIT };
    const reply = new Reply(response, options, () => (session ? session.destroy() : socket.destroy()));
    response.on('error', () => undefined);
    await this.#handler.handle(request, url, socket[identityKey] ?? 'none', reply);
  }

  #record(facts: RequestFacts, query: URLSearchParams, status: number): void {
    this.requests.push({ ...facts, query: Object.fromEntries(query), status });
    if (this.requests.length > RECORD_LIMIT) this.requests.splice(0, RECORD_LIMIT / 10);
  }
}

function kindOf(manifest: DraftObject): ResourceKind {
  const kind = KINDS.find((k) => k.kind === manifest.kind && apiVersionOf(k) === manifest.apiVersion);
  if (!kind) throw new Error(`no kind ${manifest.kind} in ${manifest.apiVersion}`);
  return kind;
}
