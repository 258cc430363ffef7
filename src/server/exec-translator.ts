import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { HttpError } from './endpoint.ts';
import { type RuntimeUpgrade, upgradeAtRuntime } from './runtime-upgrade.ts';
import { SpdyClient } from './spdy-client.ts';
import { holdTogether, type SessionOptions } from './stream-session.ts';
import { WebSocket } from './websocket.ts';
import { closeCode } from './websocket-frames.ts';

/** Channels of one WebSocket, each with a sending side that can be closed by itself. */
export const channelProtocol = 'v5.channel.k8s.io';
/** The last one that runtimes speak over SPDY. Its status on the error stream is the same. */
const streamProtocol = 'v4.channel.k8s.io';

/** Channels by the first byte of a message. */
const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
type Channel = keyof typeof channel;
/** A message of this and the number of a channel: the client sends no more on it. */
const closeSignal = 255;

/** Which streams a command has. */
export interface StreamOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface TranslatedRequest {
  readonly raw: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly streams: StreamOptions;
}

/**
 * Carries a client's WebSocket of channels over to the SPDY streams of the runtime at `url`. Neither side
 * is read faster than the other takes it. Throws an HttpError as long as the client can still be refused,
 * and resolves when the session is over.
 */
export async function translateChannels(url: URL, request: TranslatedRequest, options: SessionOptions): Promise<void> {
  const headers = { upgrade: 'SPDY/3.1', 'x-stream-protocol-version': streamProtocol };
  const upgrade = await upgradeAtRuntime(url, { method: 'POST', headers }, options.clock, options.signal);
  if (upgrade.response.headers['x-stream-protocol-version'] !== streamProtocol) {
    upgrade.socket.destroy();
    throw new HttpError(500, `the container runtime does not speak ${streamProtocol}`);
  }
  new Translation(request, upgrade).start(request);
  await holdTogether(request.socket, upgrade.socket, options);
}

class Translation {
  readonly #client: Duplex;
  readonly #runtime: Duplex;
  readonly #webSocket: WebSocket;
  readonly #spdy: SpdyClient;
  readonly #runtimeHead: Buffer;
  /** Stream numbers by channel, as long as we may send on them. */
  readonly #inputs = new Map<number, number>();
  /** Channel numbers by stream, as long as the runtime may send on them. */
  readonly #outputs = new Map<number, number>();
  /** The channel of the message that is arriving. */
  #current: number | undefined;
  #status = false;

  constructor({ socket, streams }: TranslatedRequest, runtime: RuntimeUpgrade) {
    this.#client = socket;
    this.#runtime = runtime.socket;
    this.#runtimeHead = runtime.head;
    this.#webSocket = new WebSocket(socket, {
      data: (piece, first) => this.#fromClient(piece, first),
      closed: () => runtime.socket.destroy(),
    });
    this.#spdy = new SpdyClient(runtime.socket, {
      data: (id, piece, last) => this.#fromRuntime(id, piece, last),
      reset: (id) => this.#streamEnded(id),
    });
    for (const name of streamsOf(streams)) {
      const id = this.#spdy.open({ streamtype: name });
      if (name === 'stdin' || name === 'resize') this.#inputs.set(channel[name], id);
      else this.#outputs.set(id, channel[name]);
    }
  }

  start({ raw, head }: TranslatedRequest): void {
    this.#client.on('drain', () => this.#runtime.resume());
    this.#runtime.on('drain', () => this.#client.resume());
    this.#runtime.once('end', () => this.#finish());
    this.#runtime.once('close', () => this.#finish());
    this.#webSocket.accept(raw, channelProtocol, head);
    if (this.#runtimeHead.length > 0) this.#spdy.receive(this.#runtimeHead);
  }

  #fromClient(piece: Buffer, first: boolean): void {
    if (first) this.#current = undefined;
    let data = piece;
    if (this.#current === undefined) {
      if (piece.length === 0) return;
      this.#current = piece[0];
      data = piece.subarray(1);
    }
    if (data.length === 0) return;
    if (this.#current === closeSignal) this.#closeInput(data[0] ?? closeSignal);
    else this.#toRuntime(this.#inputs.get(this.#current ?? closeSignal), data);
  }

  #toRuntime(streamId: number | undefined, data: Buffer): void {
    if (streamId !== undefined && !this.#spdy.send(streamId, data)) this.#client.pause();
  }

  #closeInput(number: number): void {
    const id = this.#inputs.get(number);
    if (id === undefined) return;
    this.#inputs.delete(number);
    this.#spdy.send(id, Buffer.alloc(0), true);
  }

  #fromRuntime(streamId: number, piece: Buffer, last: boolean): void {
    const number = this.#outputs.get(streamId);
    if (number !== undefined && piece.length > 0) {
      if (number === channel.error) this.#status = true;
      if (!this.#webSocket.send(Buffer.from([number]), piece)) this.#runtime.pause();
    }
    if (last) this.#streamEnded(streamId);
  }

  /** Nothing more comes of the stream; when that was the last one, the command is over. */
  #streamEnded(streamId: number): void {
    for (const [number, id] of this.#inputs) if (id === streamId) this.#inputs.delete(number);
    if (this.#outputs.delete(streamId) && this.#outputs.size === 0) this.#finish();
  }

  #finish(): void {
    // A command always ends with a status: without one, its end is unknown.
    if (!this.#status) this.#webSocket.send(Buffer.from([channel.error]), lostStatus());
    this.#status = true;
    this.#webSocket.close(closeCode.normal);
    // Input that the command did not read would keep the connection from ending.
    this.#runtime.destroy();
  }
}

/** Every command has a stream for its status; a terminal has one for its size. */
function streamsOf({ stdin, stdout, stderr, tty }: StreamOptions): readonly Channel[] {
  const wanted: Readonly<Record<Channel, boolean>> = { error: true, stdin, stdout, stderr, resize: tty };
  return (Object.keys(wanted) as Channel[]).filter((name) => wanted[name]);
}

function lostStatus(): Buffer {
  const cause = 'the container runtime ended the connection before the command was over';
  return Buffer.from(
    JSON.stringify({
      metadata: {},
      status: 'Failure',
      message: `Internal error occurred: ${cause}`,
      reason: 'InternalError',
      details: { causes: [{ message: cause }] },
      code: 500,
    }),
  );
}
