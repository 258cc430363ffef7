import { AgentError } from '../lib/errors.ts';

/** What a frame is (RFC 6455, section 5.2). */
export const opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** Why a connection is closed (RFC 6455, section 7.4.1). */
export const closeCode = { normal: 1000, goingAway: 1001, protocolError: 1002 } as const;

const finalBit = 0x80;
const reservedBits = 0x70;
const maskBit = 0x80;
/** The longest payload of a frame that is not data. */
const maxControlBytes = 125;

/** The other side does not speak the protocol; the connection cannot go on. */
export class WebSocketError extends AgentError {
  constructor(message: string) {
    super('WebSocketProtocol', message);
  }
}

/** The head of a whole message of one frame, as a server sends it: not masked. The payload follows. */
export function frameHead(code: number, payloadBytes: number): Buffer {
  if (payloadBytes <= maxControlBytes) return Buffer.from([finalBit | code, payloadBytes]);
  if (payloadBytes < 2 ** 16) {
    const head = Buffer.from([finalBit | code, 126, 0, 0]);
    head.writeUInt16BE(payloadBytes, 2);
    return head;
  }
  const head = Buffer.from([finalBit | code, 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  head.writeBigUInt64BE(BigInt(payloadBytes), 2);
  return head;
}

export interface FrameSink {
  /** A piece of a message of text or bytes: `first` begins it, `last` ends it. Pieces may be empty. */
  data(piece: Buffer, first: boolean, last: boolean): void;
  ping(payload: Buffer): void;
  /** With the code that was given, where there was one. Nothing follows. */
  close(code: number | undefined): void;
}

interface Frame {
  readonly code: number;
  readonly final: boolean;
  readonly mask: Buffer;
  /** Bytes of the payload that are still to come, and that have come. */
  left: number;
  seen: number;
}

/**
 * Takes the bytes of a client apart as they come. A message is handed on in the pieces in which it
 * arrives, so that its length is nobody's worry; the payload's bytes are unmasked where they lie.
 */
export class FrameDecoder {
  readonly #sink: FrameSink;
  #head = Buffer.alloc(0);
  #frame: Frame | undefined;
  #control = Buffer.alloc(0);
  /** Inside a message of several frames. */
  #fragmented = false;
  #closed = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Throws a WebSocketError when the bytes are none of a client; what came before has been handed on. */
  push(chunk: Buffer): void {
    let rest = chunk;
    while (!this.#closed) {
      if (!this.#frame) {
        const head = this.#head.length === 0 ? rest : Buffer.concat([this.#head, rest]);
        const found = readHead(head);
        if (!found) {
          this.#head = Buffer.from(head);
          return;
        }
        this.#head = Buffer.alloc(0);
        this.#begin(found.frame);
        rest = head.subarray(found.bytes);
      }
      const frame = this.#frame as Frame | undefined;
      if (!frame || (rest.length === 0 && frame.left > 0)) return;
      rest = this.#take(frame, rest);
      if (rest.length === 0 && this.#frame === undefined) return;
    }
  }

  #begin(frame: Frame): void {
    if (frame.code === opcode.continuation && !this.#fragmented) {
      throw new WebSocketError('a message goes on that has not begun');
    }
    if ((frame.code === opcode.text || frame.code === opcode.binary) && this.#fragmented) {
      throw new WebSocketError('a message begins inside another');
    }
    this.#frame = frame;
  }

  /** Reads what there is of the frame's payload; returns what follows it. */
  #take(frame: Frame, bytes: Buffer): Buffer {
    const piece = bytes.subarray(0, frame.left);
    unmask(piece, frame.mask, frame.seen);
    const beginning = frame.seen === 0 && frame.code !== opcode.continuation;
    frame.seen += piece.length;
    frame.left -= piece.length;
    const ended = frame.left === 0;
    if (ended) this.#frame = undefined;
    if (frame.code >= opcode.close) {
      this.#control = Buffer.concat([this.#control, piece]);
      if (ended) this.#endControl(frame.code);
    } else {
      if (ended) this.#fragmented = !frame.final;
      this.#sink.data(piece, beginning, ended && frame.final);
    }
    return bytes.subarray(piece.length);
  }

  #endControl(code: number): void {
    const payload = this.#control;
    this.#control = Buffer.alloc(0);
    if (code === opcode.ping) this.#sink.ping(payload);
    if (code !== opcode.close) return;
    this.#closed = true;
    this.#sink.close(payload.length >= 2 ? payload.readUInt16BE(0) : undefined);
  }
}

/** Undefined while the head is not complete. */
function readHead(bytes: Buffer): { readonly frame: Frame; readonly bytes: number } | undefined {
  const [first, second] = bytes;
  if (first === undefined || second === undefined) return undefined;
  if (first & reservedBits) throw new WebSocketError('a frame of an extension that was not agreed upon');
  const code = first & 0x0f;
  if (!Object.values<number>(opcode).includes(code)) throw new WebSocketError(`a frame of the unknown kind ${code}`);
  if (!(second & maskBit)) throw new WebSocketError('a frame that is not masked');
  const short = second & 0x7f;
  if (code >= opcode.close && (short > maxControlBytes || !(first & finalBit))) {
    throw new WebSocketError('a control frame that is too long or not whole');
  }
  const maskAt = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < maskAt + 4) return undefined;
  const left = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  if (!Number.isSafeInteger(left)) throw new WebSocketError('a frame without end');
  const mask = Buffer.from(bytes.subarray(maskAt, maskAt + 4));
  return { frame: { code, final: (first & finalBit) !== 0, mask, left, seen: 0 }, bytes: maskAt + 4 };
}

/** `seen`: how many bytes of the frame came before these. */
function unmask(bytes: Buffer, mask: Buffer, seen: number): void {
  const keys = [0, 1, 2, 3].map((i) => mask[(seen + i) & 3] ?? 0);
  const [a = 0, b = 0, c = 0, d = 0] = keys;
  const whole = bytes.length & ~3;
  for (let i = 0; i < whole; i += 4) {
    bytes[i] = (bytes[i] as number) ^ a;
    bytes[i + 1] = (bytes[i + 1] as number) ^ b;
    bytes[i + 2] = (bytes[i + 2] as number) ^ c;
    bytes[i + 3] = (bytes[i + 3] as number) ^ d;
  }
  for (let i = whole; i < bytes.length; i++) bytes[i] = (bytes[i] as number) ^ (keys[i & 3] as number);
}
