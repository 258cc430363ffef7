import type { ServerResponse } from 'node:http';
import { pipeline, type Writable } from 'node:stream';
import { constants, createGzip } from 'node:zlib';
import { TextWriter } from '../stats/text-writer.ts';
import type { ServedRequest } from './endpoint.ts';

/** A client that takes nothing for so long gets no more; milliseconds. */
const defaultPatienceMs = 60_000;
const contentType = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * Sends metrics as they are written, compressed for who asks for that. The writer goes on when the bytes before are on
 * their way: a client that reads slowly costs one buffer, and one that has stopped reading loses its connection. Rejects
 * when the client is gone.
 */
export async function answerMetrics(
  { raw, signal }: ServedRequest,
  response: ServerResponse,
  write: (writer: TextWriter) => Promise<void>,
  patienceMs: number = defaultPatienceMs,
): Promise<void> {
  response.setTimeout(patienceMs);
  const compress = acceptsGzip(raw.headers['accept-encoding']);
  response.writeHead(200, { 'content-type': contentType, ...(compress && { 'content-encoding': 'gzip' }) });
  const out = compress ? compressed(response) : response;
  const writer = new TextWriter((chunk) => send(out, chunk, signal));
  await write(writer);
  await writer.end();
  const { promise, resolve } = Promise.withResolvers<void>();
  response.once('close', resolve).once('finish', resolve);
  out.end();
  await promise;
}

/** The same words over and over: the quickest level makes a twentieth of them already. */
function compressed(response: ServerResponse): Writable {
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  // What goes wrong is told to who writes.
  pipeline(gzip, response, () => {});
  return gzip;
}

function send(out: Writable, chunk: Uint8Array, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(signal.reason);
    if (signal.aborted) return gone();
    signal.addEventListener('abort', gone, { once: true });
    out.write(chunk, (error) => {
      signal.removeEventListener('abort', gone);
      if (error) reject(error);
      else resolve();
    });
  });
}

/** As in 'gzip, deflate;q=0.5'; 'gzip;q=0' refuses it. */
export function acceptsGzip(header: string | readonly string[] | undefined): boolean {
  return String(header ?? '')
    .split(',')
    .some((part) => {
      const [coding = '', ...parameters] = part.split(';').map((word) => word.trim());
      return (coding === 'gzip' || coding === '*') && !parameters.some((p) => /^q=0(\.0*)?$/.test(p));
    });
}
