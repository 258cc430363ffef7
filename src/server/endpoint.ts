import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { AgentError } from '../lib/errors.ts';

/** Who asks, as authentication found out (authentication.k8s.io/v1 UserInfo). */
export interface UserInfo {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** A request that has passed authentication and authorization. */
export interface ServedRequest {
  readonly raw: IncomingMessage;
  readonly url: URL;
  /** What the placeholders of the endpoint's path stand for, decoded; `*` is the rest. */
  readonly params: Readonly<Record<string, string>>;
  readonly user: UserInfo;
  /** Aborted when the client is gone, or the server ends. */
  readonly signal: AbortSignal;
}

/** One path of the node's port. What it throws becomes an answer: an HttpError's own status, 500 for the rest. */
export interface Endpoint {
  /** e.g. '/containerLogs/{namespace}/{pod}/{container}'; a last segment '*' takes whatever follows. */
  readonly path: string;
  readonly methods: readonly string[];
  /** Resolves when the answer is over. */
  readonly handle?: (request: ServedRequest, response: ServerResponse) => Promise<void>;
  /** For requests that ask for another protocol; resolves when the connection is over. */
  readonly upgrade?: (request: ServedRequest, socket: Duplex, head: Buffer) => Promise<void>;
}

/** A refusal with the status code to answer with. The message is the body, as upstream's. */
export class HttpError extends AgentError {
  readonly status: number;
  readonly contentType: string = 'text/plain; charset=utf-8';

  constructor(status: number, message: string, options: { cause?: unknown } = {}) {
    super(`Http${status}`, message, options);
    this.status = status;
  }

  get body(): string {
    return this.message;
  }
}

/** Somebody is not let in: 401 or 403. The body is an API Status (meta/v1), which kubectl and client libraries read. */
export class DeniedError extends HttpError {
  override readonly contentType = 'application/json';

  constructor(status: 401 | 403, message: string) {
    super(status, message);
  }

  override get body(): string {
    const { status: code, message } = this;
    const reason = code === 401 ? 'Unauthorized' : 'Forbidden';
    return JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code });
  }
}
