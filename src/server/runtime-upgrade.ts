import { type IncomingMessage, type OutgoingHttpHeaders, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { AgentError, messageOf } from '../lib/errors.ts';
import { HttpError } from './endpoint.ts';

/** How long the runtime's streaming server may take to answer, which is on this machine. */
const answerTimeoutMs = 10_000;
/** How much of a refusal is passed on. */
const maxRefusalBytes = 64 * 1024;

export interface UpgradeRequest {
  readonly method: string;
  /** Connection and Host are added. */
  readonly headers: OutgoingHttpHeaders;
}

/** The runtime's streaming server has changed to the other protocol. */
export interface RuntimeUpgrade {
  readonly socket: Socket;
  readonly response: IncomingMessage;
  /** What has come of the other protocol already. */
  readonly head: Buffer;
}

/**
 * Asks the runtime's streaming server for another protocol on a connection of its own. Throws an HttpError
 * with the server's own status and words when it refuses, with 500 when it cannot be reached, and the
 * signal's reason when that aborts.
 */
export function upgradeAtRuntime(
  url: URL,
  { method, headers }: UpgradeRequest,
  clock: Clock,
  signal: AbortSignal,
): Promise<RuntimeUpgrade> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const request = send(url, { method, agent: false, headers: { ...headers, connection: 'Upgrade' } });
    const settle = (report: () => void) => {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
      report();
    };
    const onAbort = () => request.destroy(signal.reason);
    const timer = clock.after(answerTimeoutMs, () =>
      request.destroy(new AgentError('RuntimeSilent', `no answer from ${url.host} within ${answerTimeoutMs / 1000} s`)),
    );
    signal.addEventListener('abort', onAbort, { once: true });
    request.once('upgrade', (response, socket: Socket, head) => {
      // Keys that somebody types are not to wait for each other.
      socket.setNoDelay(true);
      // Until somebody takes it up.
      socket.on('error', () => {});
      settle(() => resolve({ socket, response, head }));
    });
    request.once('response', (response) => {
      readRefusal(response)
        .then((text) => new HttpError(response.statusCode ?? 500, text))
        .catch(unreachable)
        .then((error) => settle(() => reject(signal.aborted ? signal.reason : error)))
        .finally(() => request.destroy());
    });
    request.on('error', (error) => settle(() => reject(signal.aborted ? signal.reason : unreachable(error))));
    request.end();
  });
}

const unreachable = (error: unknown): HttpError =>
  new HttpError(500, `error dialing backend: ${messageOf(error)}`, { cause: error });

async function readRefusal(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > maxRefusalBytes) break;
  }
  return Buffer.concat(pieces).toString('utf8', 0, maxRefusalBytes);
}

/** The answer's head as it was on the wire, for a client that asked the same. */
export function headOf(response: IncomingMessage): string {
  const lines = [`HTTP/1.1 ${response.statusCode} ${response.statusMessage}`];
  const { rawHeaders } = response;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}
