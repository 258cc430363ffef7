import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { closeCode, FrameDecoder, frameHead, opcode, WebSocketError } from './websocket-frames.ts';

/** Part of the handshake's answer (RFC 6455, section 4.2.2). */
const handshakeGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** Above this much that a client has not read, its pings are not answered. */
const maxPongBacklogBytes = 64 * 1024;

/** The protocols that a client offers, in its order. */
export function offeredProtocols(request: IncomingMessage): readonly string[] {
  const header = request.headers['sec-websocket-protocol'] ?? '';
  return header
    .split(',')
    .map((name) => name.trim())
    .filter(Boolean);
}

export const isWebSocketRequest = (request: IncomingMessage): boolean =>
  request.headers.upgrade?.toLowerCase() === 'websocket';

export interface WebSocketHandler {
  /** A piece of a message; `first` begins it, `last` ends it. */
  data(piece: Buffer, first: boolean, last: boolean): void;
  /** The client has closed, or does not speak the protocol. Nothing follows. */
  closed(): void;
}

/** The server's side of a WebSocket, on a connection whose request has been read. */
export class WebSocket {
  readonly #socket: Duplex;
  readonly #decoder: FrameDecoder;
  readonly #handler: WebSocketHandler;
  #closing = false;

  constructor(socket: Duplex, handler: WebSocketHandler) {
    this.#socket = socket;
    this.#decoder = new FrameDecoder({
      data: (piece, first, last) => handler.data(piece, first, last),
      ping: (payload) => {
        if (socket.writableLength < maxPongBacklogBytes) this.#write(opcode.pong, payload);
      },
      close: () => {
        this.close(closeCode.normal);
        handler.closed();
      },
    });
    this.#handler = handler;
  }

  /** Answers the handshake, agreeing upon the protocol, and begins to read. `head`: what came after the request. */
  accept(request: IncomingMessage, protocol: string, head: Buffer): void {
    const key = request.headers['sec-websocket-key'] ?? '';
    const answer = createHash('sha1')
      .update(key + handshakeGuid)
      .digest('base64');
    this.#socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Accept: ${answer}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`,
    );
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    if (head.length > 0) this.#receive(head);
  }

  /** Sends one message; false when the client should be given time to read ('drain' of the socket). */
  send(...parts: readonly Buffer[]): boolean {
    return this.#write(opcode.binary, ...parts);
  }

  /** Says goodbye and ends the connection's sending side. */
  close(code: number): void {
    if (this.#closing) return;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    this.#write(opcode.close, payload);
    this.#closing = true;
    this.#socket.end();
  }

  #receive(chunk: Buffer): void {
    if (this.#closing) return;
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      if (!(error instanceof WebSocketError)) throw error;
      this.close(closeCode.protocolError);
      this.#handler.closed();
    }
  }

  #write(code: number, ...parts: readonly Buffer[]): boolean {
    if (this.#closing || this.#socket.destroyed || this.#socket.writableEnded) return true;
    this.#socket.cork();
    let size = 0;
    for (const part of parts) size += part.length;
    let roomy = this.#socket.write(frameHead(code, size));
    for (const part of parts) roomy = this.#socket.write(part);
    process.nextTick(() => this.#socket.uncork());
    return roomy;
  }
}
