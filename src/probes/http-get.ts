import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { systemClock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { hostPort, networkErrorText } from './network-error.ts';

/** One GET for an httpGet probe or hook; `httpGetRequest` makes it from the pod's words. */
export interface HttpGetRequest {
  readonly scheme: 'HTTP' | 'HTTPS';
  /** An address, or a name that this node can resolve. IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** With its query; '' is '/', and what may not stand in a request line is escaped. */
  readonly path: string;
  /**
   * Sent in this order, several of one name too. `Host` replaces the one made from host and port; `Accept`
   * and `User-Agent` replace the defaults, and leave the header away when they are empty.
   */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** For everything together: connecting, redirects, reading the body. */
  readonly timeoutMs: number;
  /** 'kube-probe/1.36' when absent; hooks say 'kube-lifecycle/1.36'. */
  readonly userAgent?: string;
}

export interface HttpGetAnswer {
  /** Of the last response, when redirects were followed. 3xx: a redirect that is not followed. */
  readonly status: number;
  /** The first 10 KiB, as UTF-8. */
  readonly body: string;
}

/**
 * No answer. The message names the URL and reads as upstream's does, e.g.
 * `Get "http://10.0.0.1:80/": dial tcp 10.0.0.1:80: connect: connection refused`.
 */
export class HttpGetError extends AgentError {
  /** The time was up before there was an answer. */
  readonly timedOut: boolean;
  /** A status had come already, but the body broke off. */
  readonly inBody: boolean;

  constructor(message: string, facts: { cause?: unknown; timedOut?: boolean; inBody?: boolean }) {
    super('HttpGetFailed', message, { cause: facts.cause, retryable: true });
    this.timedOut = facts.timedOut ?? false;
    this.inBody = facts.inBody ?? false;
  }
}

const maxBodyBytes = 10 * 1024;
const maxRedirects = 10;
const probeUserAgent = 'kube-probe/1.36';

/** Many a health check is a line of shell: bare line feeds and headers beyond the letter of the RFC are read, as Go does. */
const lenient = { insecureHTTPParser: true, maxHeaderSize: 1 << 20 } as const;
// Every request has a connection of its own, as a client that comes anew would.
const httpAgent = new HttpAgent({ keepAlive: false });
const httpsAgent = new HttpsAgent({ keepAlive: false, maxCachedSessions: 0, rejectUnauthorized: false });

/**
 * Asks once and resolves with whatever status comes; who calls decides what it means. Certificates are not
 * verified. Redirects to the same host name are followed, ten at most; one to another host is the answer.
 * Rejects with HttpGetError when there is no answer in time, and with the signal's reason when that aborts.
 */
export function httpGet(get: HttpGetRequest, signal: AbortSignal): Promise<HttpGetAnswer> {
  return new Promise((resolve, reject) => new Exchange(get, signal, resolve, reject).start());
}

interface Hop {
  readonly scheme: 'HTTP' | 'HTTPS';
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** The Host header. */
  readonly authority: string;
}

/** One GET with its redirects under one deadline. */
class Exchange {
  readonly #get: HttpGetRequest;
  readonly #signal: AbortSignal;
  readonly #resolve: (answer: HttpGetAnswer) => void;
  readonly #reject: (error: unknown) => void;
  #timer: Disposable | undefined;
  #current: { destroy(): unknown } | undefined;
  #hop: Hop;
  #redirects = 0;
  #responded = false;
  #settled = false;

  constructor(
    get: HttpGetRequest,
    signal: AbortSignal,
    resolve: (answer: HttpGetAnswer) => void,
    reject: (error: unknown) => void,
  ) {
    this.#get = get;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    const own = get.headers.findLast(([name]) => name.toLowerCase() === 'host')?.[1];
    const { scheme, host, port } = get;
    this.#hop = { scheme, host, port, path: requestTarget(get.path), authority: own || hostPort(host, port) };
  }

  start(): void {
    if (this.#signal.aborted) {
      this.#reject(this.#signal.reason);
      return;
    }
    this.#signal.addEventListener('abort', this.#onAbort, { once: true });
    // What arrived while this process could not run is read before the time is called over.
    this.#timer = systemClock.after(this.#get.timeoutMs, () => setImmediate(this.#onTimeout));
    this.#send();
  }

  readonly #onAbort = () => {
    if (this.#settle()) this.#reject(this.#signal.reason);
  };

  readonly #onTimeout = () => {
    const where = this.#responded ? 'while reading body' : 'while awaiting headers';
    this.#fail(`context deadline exceeded (Client.Timeout exceeded ${where})`, { timedOut: true });
  };

  #send(): void {
    const hop = this.#hop;
    const { scheme, host, port, path } = hop;
    const headers = headersOf(this.#get, this.#hop.authority);
    const secure = scheme === 'HTTPS';
    const agent = secure ? httpsAgent : httpAgent;
    const options: RequestOptions = { host, port, path, headers, agent, ...lenient };
    try {
      const request = secure ? httpsRequest(options) : httpRequest(options);
      this.#current = request;
      this.#responded = false;
      request.on('response', (response) => this.#receive(response));
      request.on('upgrade', ({ statusCode = 0 }, socket) => {
        socket.destroy();
        this.#answer(statusCode, []);
      });
      request.on('error', (error) => {
        if (this.#hop === hop) this.#fail(networkErrorText(error, hostPort(host, port)), { cause: error });
      });
      request.end();
    } catch (error) {
      // A header or path that must not be sent at all.
      this.#fail(networkErrorText(error, hostPort(host, port)), { cause: error });
    }
  }

  #receive(response: IncomingMessage): void {
    this.#responded = true;
    this.#current = response;
    const next = this.#redirect(response);
    if (next === undefined) this.#read(response);
    else if (next === 'too many') this.#fail(`stopped after ${maxRedirects} redirects`, {});
    else {
      response.on('error', () => {});
      response.destroy();
      this.#redirects++;
      this.#hop = next;
      this.#send();
    }
  }

  #read(response: IncomingMessage): void {
    const chunks: Buffer[] = [];
    let length = 0;
    const done = () => this.#answer(response.statusCode ?? 0, chunks);
    response.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= maxBodyBytes) done();
    });
    response.on('end', done);
    response.on('error', (error) => this.#fail(networkErrorText(error, ''), { cause: error }));
  }

  #answer(status: number, chunks: readonly Buffer[]): void {
    if (!this.#settle()) return;
    this.#resolve({ status, body: Buffer.concat(chunks).toString('utf8', 0, maxBodyBytes) });
  }

  /** Where to go on; undefined when this response is the answer. */
  #redirect({ statusCode = 0, headers }: IncomingMessage): Hop | 'too many' | undefined {
    const { location } = headers;
    if (![301, 302, 303, 307, 308].includes(statusCode) || !location) return undefined;
    const { scheme, host, port, path, authority } = this.#hop;
    const url = URL.parse(location, `${scheme.toLowerCase()}://${hostPort(host, port)}${path}`);
    if (!url || !/^https?:$/.test(url.protocol)) return undefined;
    const to = url.hostname.replace(/^\[|\]$/g, '');
    if (to !== this.#get.host.toLowerCase()) return undefined;
    if (this.#redirects >= maxRedirects) return 'too many';
    const next = url.protocol === 'https:' ? ('HTTPS' as const) : ('HTTP' as const);
    const nextPort = Number(url.port) || (next === 'HTTPS' ? 443 : 80);
    const relative = !URL.canParse(location);
    return {
      scheme: next,
      host,
      port: nextPort,
      path: `${url.pathname}${url.search}`,
      authority: relative ? authority : hostPort(host, nextPort),
    };
  }

  #fail(text: string, facts: { cause?: unknown; timedOut?: boolean }): void {
    const inBody = this.#responded;
    if (!this.#settle()) return;
    const message = `Get "${urlOf(this.#hop)}": ${text}`;
    this.#reject(new HttpGetError(message, { ...facts, inBody }));
  }

  /** False when it is over already. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#timer?.[Symbol.dispose]();
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#current?.destroy();
    return true;
  }
}

/** As node:http takes raw headers: names and values in turn. */
function headersOf({ headers, userAgent = probeUserAgent }: HttpGetRequest, authority: string): string[] {
  const raw = ['Host', authority, 'Connection', 'close'];
  const given = new Set<string>();
  for (const [name, value] of headers) {
    const lower = name.toLowerCase();
    given.add(lower);
    if (lower === 'host' || lower === 'connection') continue;
    if (value === '' && (lower === 'accept' || lower === 'user-agent')) continue;
    raw.push(name, value);
  }
  if (!given.has('user-agent')) raw.push('User-Agent', userAgent);
  if (!given.has('accept')) raw.push('Accept', '*/*');
  return raw;
}

const plainTarget = /^\/[\x21\x22\x24-\x7e]*$/;

/** The path as it may stand in a request line; what is escaped already stays so. */
function requestTarget(path: string): string {
  if (plainTarget.test(path)) return path;
  const [withoutFragment = ''] = path.split('#', 1);
  const rooted = withoutFragment.startsWith('/') ? withoutFragment : `/${withoutFragment}`;
  return encodeURI(rooted.toWellFormed()).replaceAll(/%25(?=[0-9a-fA-F]{2})/g, '%');
}

const urlOf = ({ scheme, host, port, path }: Hop): string => `${scheme.toLowerCase()}://${hostPort(host, port)}${path}`;
