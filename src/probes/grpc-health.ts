import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from 'node:http2';
import { systemClock } from '../lib/clock.ts';
import { goDuration } from '../lib/go-duration.ts';
import { hostPort, networkErrorText } from './network-error.ts';

export interface GrpcHealthCheck {
  readonly host: string;
  readonly port: number;
  /** '' asks for the server as a whole. */
  readonly service: string;
  readonly timeoutMs: number;
}

/** Serving or not is the whole answer; the message reads as upstream's does. */
export type GrpcHealthAnswer =
  | { readonly kind: 'success'; readonly message: string }
  | { readonly kind: 'failure'; readonly message: string; readonly timedOut: boolean };

const { HTTP2_HEADER_PATH, HTTP2_HEADER_METHOD, HTTP2_HEADER_STATUS } = constants;
/** Of grpc.health.v1.HealthCheckResponse. */
const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
const codeUnimplemented = 12;
const codeDeadlineExceeded = 4;
const maxResponseBytes = 10 * 1024;

/**
 * One call of grpc.health.v1.Health/Check on a connection of its own, without TLS. This is the only gRPC
 * that leaves the machine's own socket, and a single message each way: plain HTTP/2 does, without a channel
 * that would reconnect behind our back. Rejects only with the signal's reason.
 */
export function checkGrpcHealth(check: GrpcHealthCheck, signal: AbortSignal): Promise<GrpcHealthAnswer> {
  const { host, port, service, timeoutMs } = check;
  const to = hostPort(host, port);
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const session = connect(`http://${to}`);
    let connected = false;
    const settle = (report: () => void) => {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
      session.destroy();
      report();
    };
    const fail = (message: string, timedOut = false) => settle(() => resolve({ kind: 'failure', message, timedOut }));
    const onAbort = () => settle(() => reject(signal.reason));
    const onTimeout = () => {
      const within = goDuration(timeoutMs);
      if (connected) fail(`timeout: health rpc did not complete within ${within}`, true);
      else fail(`timeout: failed to connect service "${to}" within ${within}: context deadline exceeded`, true);
    };
    // What arrived while this process could not run is read before the time is called over.
    const timer = systemClock.after(timeoutMs, () => setImmediate(onTimeout));
    signal.addEventListener('abort', onAbort, { once: true });
    session.on('error', (error) => {
      const text = networkErrorText(error, to);
      fail(
        connected ? `error: health rpc probe failed: ${text}` : `error: failed to connect service at "${to}": ${text}`,
      );
    });
    // A server speaks gRPC when it has sent its settings; a port that only accepts is not connected.
    session.on('remoteSettings', () => {
      connected = true;
    });
    call(session, service, (headers, body) => {
      const message = refusal(headers, timeoutMs);
      if (message !== undefined) return fail(message);
      const status = servingStatus(body);
      if (status === 'SERVING') settle(() => resolve({ kind: 'success', message: 'service healthy' }));
      else fail(`service unhealthy (responded with "${status}")`);
    });
  });
}

type Respond = (headers: IncomingHttpHeaders, body: Buffer) => void;

/** `respond` gets headers and trailers as one: a refusal has its status in either. */
function call(session: ClientHttp2Session, service: string, respond: Respond): void {
  const stream = session.request({
    [HTTP2_HEADER_METHOD]: 'POST',
    [HTTP2_HEADER_PATH]: '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    'user-agent': 'kube-probe/1.36',
    te: 'trailers',
  });
  let headers: IncomingHttpHeaders = {};
  const chunks: Buffer[] = [];
  let length = 0;
  stream.on('response', (h) => {
    headers = { ...headers, ...h };
  });
  stream.on('trailers', (h) => {
    headers = { ...headers, ...h };
  });
  stream.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length <= maxResponseBytes) chunks.push(chunk);
  });
  stream.on('end', () => respond(headers, Buffer.concat(chunks)));
  // The session fails too, and says more.
  stream.on('error', (error) => session.destroy(error));
  stream.end(requestMessage(service));
}

/** A length-prefixed HealthCheckRequest: the service is field 1. */
function requestMessage(service: string): Buffer {
  const name = Buffer.from(service);
  const body = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, ...varint(name.length)]), name]);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length, 1);
  return Buffer.concat([prefix, body]);
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** Why there is no answer; undefined when there is one. */
function refusal(headers: IncomingHttpHeaders, timeoutMs: number): string | undefined {
  const http = Number(headers[HTTP2_HEADER_STATUS]);
  const code = Number(headers['grpc-status'] ?? (http === 200 ? 2 : unimplementedOr(http)));
  if (code === 0) return undefined;
  const given = headers['grpc-message'];
  const text = typeof given === 'string' ? decode(given) : `unexpected HTTP status code received from server: ${http}`;
  if (code === codeUnimplemented) {
    return `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${text}`;
  }
  if (code === codeDeadlineExceeded) return `timeout: health rpc did not complete within ${goDuration(timeoutMs)}`;
  return `error: health rpc probe failed: rpc error: code = ${codeNames[code] ?? `Code(${code})`} desc = ${text}`;
}

/** A plain HTTP/2 server that does not know the path: gRPC maps 404 so. */
const unimplementedOr = (http: number): number => (http === 404 ? codeUnimplemented : 2);

/** As Go prints them. */
const codeNames = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
];

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Field 1 of the HealthCheckResponse behind the five bytes of prefix; a message without it says UNKNOWN. */
function servingStatus(body: Buffer): string {
  const message = body.subarray(5);
  const value = message[0] === 0x08 ? (message[1] ?? 0) : 0;
  return statuses[value] ?? String(value);
}
