import type { Duplex } from 'node:stream';
import { dataHead, HeaderWriter, ping, SpdyDecoder, type SpdySink, synStream } from './spdy-frames.ts';

/** The client's side of a SPDY/3.1 connection that has been agreed upon: opens streams and sends on them. */
export class SpdyClient {
  readonly #socket: Duplex;
  readonly #headers = new HeaderWriter();
  readonly #decoder: SpdyDecoder;
  #lastId = -1;

  /** What cannot be understood destroys the socket with the error. */
  constructor(socket: Duplex, sink: Omit<SpdySink, 'ping'>) {
    this.#socket = socket;
    this.#decoder = new SpdyDecoder({
      data: (id, piece, last) => sink.data(id, piece, last),
      reset: (id) => sink.reset(id),
      ping: (id) => this.#socket.write(ping(id)),
    });
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
  }

  /** Takes what has come before the socket was handed over. */
  receive(chunk: Buffer): void {
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Opens a stream and returns its number. */
  open(headers: Readonly<Record<string, string>>): number {
    this.#lastId += 2;
    this.#socket.write(synStream(this.#lastId, this.#headers.block(headers)));
    return this.#lastId;
  }

  /** False when the server should be given time ('drain' of the socket). `last`: nothing more is sent on the stream. */
  send(streamId: number, piece: Buffer, last = false): boolean {
    if (this.#socket.destroyed || this.#socket.writableEnded) return true;
    this.#socket.cork();
    this.#socket.write(dataHead(streamId, piece.length, last));
    const roomy = this.#socket.write(piece);
    process.nextTick(() => this.#socket.uncork());
    return roomy;
  }
}
