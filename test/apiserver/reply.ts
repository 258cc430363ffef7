import { randomUUID } from 'node:crypto';
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { WatchSink } from './watch.ts';

/** A client that does not read must not fill our memory: beyond this the connection is cut. */
export const BACKLOG_LIMIT = 32 * 1024 * 1024;
const FLOW_SCHEMA = randomUUID();
const PRIORITY_LEVEL = randomUUID();

/** One answer, with the headers an API server sends. */
export class Reply {
  readonly #response: ServerResponse;
  readonly #pretty: boolean;
  readonly #backlogLimit: number;
  /** Destroys the connection, whatever the protocol. */
  readonly destroy: () => void;
  /** The status sent, 0 before. */
  status = 0;

  constructor(
    response: ServerResponse,
    options: { readonly pretty: boolean; readonly backlogLimit: number },
    destroy: () => void,
  ) {
    this.#response = response;
    this.#pretty = options.pretty;
    this.#backlogLimit = options.backlogLimit;
    this.destroy = destroy;
  }

  json(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
    const text = this.#pretty ? `${JSON.stringify(body, null, 2)}` : JSON.stringify(body);
    this.#finish(status, 'application/json', this.#pretty ? text : `${text}\n`, headers);
  }

  /** JSON that is already text. */
  jsonText(status: number, text: string): void {
    if (this.#pretty) this.json(status, JSON.parse(text));
    else this.#finish(status, 'application/json', `${text}\n`, {});
  }

  text(status: number, text: string, headers: Readonly<Record<string, string>> = {}): void {
    this.#finish(status, 'text/plain; charset=utf-8', text, headers);
  }

  #finish(status: number, type: string, text: string, headers: Readonly<Record<string, string>>): void {
    this.status = status;
    this.#response.writeHead(status, {
      ...this.#headers(status),
      'content-type': type,
      ...headers,
      'content-length': Buffer.byteLength(text),
    });
    this.#response.end(text);
  }

  /** Sends the headers of a stream; it goes on until it is ended or the other side leaves. */
  stream(): WatchSink {
    const response = this.#response;
    this.status = 200;
    response.writeHead(200, { ...this.#headers(200), 'content-type': 'application/json' });
    response.flushHeaders();
    return {
      write: (text) => {
        if (response.writableEnded || response.destroyed) return;
        response.write(text);
        if (response.writableLength > this.#backlogLimit) this.destroy();
      },
      end: () => response.end(),
      destroy: this.destroy,
      onClose: (callback) => response.once('close', callback),
    };
  }

  /** Passes another server's answer on, at the pace of the client; resolves when it is over, one way or the other. */
  pass(status: number, headers: OutgoingHttpHeaders, body: Readable): Promise<void> {
    this.status = status;
    this.#response.writeHead(status, { ...this.#headers(status), ...headers });
    this.#response.flushHeaders();
    return pipeline(body, this.#response).catch(() => this.destroy());
  }

  onClose(callback: () => void): void {
    this.#response.once('close', callback);
  }

  #headers(status: number): Record<string, string> {
    return {
      'audit-id': randomUUID(),
      'cache-control': 'no-cache, private',
      ...(status === 401
        ? {}
        : { 'x-kubernetes-pf-flowschema-uid': FLOW_SCHEMA, 'x-kubernetes-pf-prioritylevel-uid': PRIORITY_LEVEL }),
    };
  }
}
