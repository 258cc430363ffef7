import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import { headOf, upgradeAtRuntime } from './runtime-upgrade.ts';
import { holdTogether, type SessionOptions } from './stream-session.ts';
import { WebSocket } from './websocket.ts';
import { closeCode } from './websocket-frames.ts';

/** A client that has asked for another protocol and waits for the answer. */
export interface UpgradingClient {
  readonly raw: IncomingMessage;
  readonly socket: Duplex;
  /** What it has sent of the other protocol already. */
  readonly head: Buffer;
}

/** What the runtime has to know to agree with the client; credentials and cookies are none of its business. */
const passedOn = /^(upgrade|x-stream-protocol-version|sec-websocket-.*)$/i;

function passedHeaders({ rawHeaders }: IncomingMessage): OutgoingHttpHeaders {
  const headers: Record<string, string[]> = {};
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    if (!passedOn.test(name)) continue;
    const values = headers[name.toLowerCase()] ?? [];
    values.push(value);
    headers[name.toLowerCase()] = values;
  }
  return headers;
}

/**
 * Asks the runtime at `url` what the client asked of us, and from then on carries bytes both ways
 * unread, neither faster than the other side takes them. Throws an HttpError as long as the client can
 * still be refused, and resolves when the session is over.
 */
export async function tunnel(url: URL, client: UpgradingClient, options: SessionOptions): Promise<void> {
  const request = { method: client.raw.method ?? 'POST', headers: passedHeaders(client.raw) };
  const { socket: runtime, response, head } = await upgradeAtRuntime(url, request, options.clock, options.signal);
  const { socket } = client;
  socket.write(headOf(response));
  if (head.length > 0) socket.write(head);
  if (client.head.length > 0) runtime.write(client.head);
  const over = holdTogether(socket, runtime, options);
  socket.pipe(runtime, { end: false });
  runtime.pipe(socket, { end: false });
  await over;
}

/** Marks a protocol of SPDY streams whose bytes travel in the messages of a WebSocket. */
const tunnelPrefix = 'SPDY/3.1+';

/** The first of the protocols that says SPDY inside a WebSocket, or undefined. */
export const tunnelledProtocol = (offered: readonly string[]): string | undefined =>
  offered.find((protocol) => protocol.startsWith(tunnelPrefix) && protocol.endsWith('.k8s.io'));

/** As `tunnel`, for a client that packs the bytes of SPDY into the messages of a WebSocket. */
export async function tunnelMessages(
  url: URL,
  protocol: string,
  client: UpgradingClient,
  options: SessionOptions,
): Promise<void> {
  const headers = { upgrade: 'SPDY/3.1', 'x-stream-protocol-version': protocol.slice(tunnelPrefix.length) };
  const { socket: runtime, head } = await upgradeAtRuntime(
    url,
    { method: 'POST', headers },
    options.clock,
    options.signal,
  );
  const { socket } = client;
  const webSocket = new WebSocket(socket, {
    data: (piece) => {
      if (!runtime.writableEnded && !runtime.write(piece)) socket.pause();
    },
    closed: () => runtime.destroy(),
  });
  runtime.on('data', (piece: Buffer) => {
    if (!webSocket.send(piece)) runtime.pause();
  });
  runtime.on('drain', () => socket.resume());
  socket.on('drain', () => runtime.resume());
  runtime.once('end', () => webSocket.close(closeCode.normal));
  const over = holdTogether(socket, runtime, options);
  webSocket.accept(client.raw, protocol, client.head);
  if (head.length > 0) webSocket.send(head);
  await over;
}
