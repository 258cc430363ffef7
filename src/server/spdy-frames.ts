/*
 * The few frames of SPDY/3.1 that a client needs to run a command at a container runtime's streaming
 * server. Such servers count no flow-control windows: they hold a sender back by not reading its
 * connection, and neither send nor expect WINDOW_UPDATE.
 */

export const frameType = { synStream: 1, synReply: 2, rstStream: 3, ping: 6, goAway: 7 } as const;

const version = 3;
const controlBit = 0x8000;
export const finFlag = 0x01;
/** The longest payload of a data frame. */
export const maxPayloadBytes = 2 ** 24 - 1;

/** The head of a data frame; the payload follows. */
export function dataHead(streamId: number, payloadBytes: number, fin = false): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(streamId, 0);
  head.writeUInt32BE(payloadBytes, 4);
  head[4] = fin ? finFlag : 0;
  return head;
}

function controlFrame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(controlBit | version, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(payload.length, 4);
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

/** Opens a stream with headers. `headers` is a block of HeaderWriter's, used in the order they were made. */
export function synStream(streamId: number, headers: Buffer): Buffer {
  const payload = Buffer.alloc(10);
  payload.writeUInt32BE(streamId, 0);
  return controlFrame(frameType.synStream, 0, Buffer.concat([payload, headers]));
}

/** Also the answer to a ping: its own number back. */
export function ping(id: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(id);
  return controlFrame(frameType.ping, 0, payload);
}

/**
 * Header blocks of one connection. They are one zlib stream across all frames; ours compresses nothing
 * (stored blocks, no dictionary), which any reader takes, so that no state has to be kept.
 */
export class HeaderWriter {
  #begun = false;

  block(headers: Readonly<Record<string, string>>): Buffer {
    const entries = Object.entries(headers);
    const fields = entries.flatMap(([name, value]) => [counted(name.toLowerCase()), counted(value)]);
    const text = Buffer.concat([uint32(entries.length), ...fields]);
    const start = this.#begun ? [] : [Buffer.from([0x78, 0x01])];
    this.#begun = true;
    // The empty block makes the reader hand out what it has.
    return Buffer.concat([...start, storedHead(text.length), text, storedHead(0)]);
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const counted = (text: string): Buffer => Buffer.concat([uint32(Buffer.byteLength(text)), Buffer.from(text)]);

/** The head of a block that is not the last (RFC 1951, section 3.2.4). */
function storedHead(length: number): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt16LE(length, 1);
  head.writeUInt16LE(~length & 0xffff, 3);
  return head;
}

export interface SpdySink {
  /** A piece of a data frame; `last` when the other side sends no more on the stream. */
  data(streamId: number, piece: Buffer, last: boolean): void;
  /** The stream is over in both directions. */
  reset(streamId: number): void;
  ping(id: number): void;
}

/** Bytes of the longest control frame that is read; those of a streaming server hold a few headers at most. */
const maxControlBytes = 64 * 1024;

/** Takes a server's bytes apart. What nobody asked for (settings, headers of replies, goodbyes) is passed over. */
export class SpdyDecoder {
  readonly #sink: SpdySink;
  /** The head and, for a control frame, the payload, as far as they came. */
  #held = Buffer.alloc(0);
  #data: { readonly streamId: number; readonly fin: boolean; left: number } | undefined;

  constructor(sink: SpdySink) {
    this.#sink = sink;
  }

  /** Throws an Error when the bytes are not SPDY/3. */
  push(chunk: Buffer): void {
    let rest = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = Buffer.alloc(0);
    while (rest.length > 0) {
      const next = this.#data ? this.#takeData(this.#data, rest) : this.#takeHead(rest);
      if (next === undefined) {
        this.#held = Buffer.from(rest);
        return;
      }
      rest = next;
    }
  }

  #takeData(frame: { readonly streamId: number; readonly fin: boolean; left: number }, bytes: Buffer): Buffer {
    const piece = bytes.subarray(0, frame.left);
    frame.left -= piece.length;
    if (frame.left === 0) this.#data = undefined;
    this.#sink.data(frame.streamId, piece, frame.left === 0 && frame.fin);
    return bytes.subarray(piece.length);
  }

  /** Undefined while there is too little. */
  #takeHead(bytes: Buffer): Buffer | undefined {
    if (bytes.length < 8) return undefined;
    const length = bytes.readUInt32BE(4) & 0xffffff;
    const fin = ((bytes[4] ?? 0) & finFlag) !== 0;
    const first = bytes.readUInt16BE(0);
    if (!(first & controlBit)) {
      const streamId = bytes.readUInt32BE(0);
      if (length > 0) this.#data = { streamId, fin, left: length };
      else this.#sink.data(streamId, Buffer.alloc(0), fin);
      return bytes.subarray(8);
    }
    if ((first & ~controlBit) !== version) throw new Error(`a frame of SPDY/${first & ~controlBit}, not of SPDY/3`);
    if (length > maxControlBytes) throw new Error(`a control frame of ${length} bytes`);
    if (bytes.length < 8 + length) return undefined;
    this.#control(bytes.readUInt16BE(2), fin, bytes.subarray(8, 8 + length));
    return bytes.subarray(8 + length);
  }

  #control(type: number, fin: boolean, payload: Buffer): void {
    if (payload.length < 4) return;
    const id = payload.readUInt32BE(0);
    if (type === frameType.rstStream) this.#sink.reset(id);
    if (type === frameType.ping) this.#sink.ping(id);
    if (type === frameType.synReply && fin) this.#sink.data(id, Buffer.alloc(0), true);
  }
}
