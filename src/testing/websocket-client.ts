import { randomBytes } from 'node:crypto';

/** A frame as a client sends it: masked. */
export function maskedFrame(code: number, content: string | Buffer, { final = true } = {}): Buffer {
  const payload = Buffer.from(content);
  const mask = randomBytes(4);
  const first = (final ? 0x80 : 0) | code;
  const size = payload.length;
  const head =
    size < 126
      ? Buffer.from([first, 0x80 | size])
      : size < 2 ** 16
        ? Buffer.from([first, 0x80 | 126, size >> 8, size & 0xff])
        : Buffer.from([
            first,
            0x80 | 127,
            0,
            0,
            0,
            0,
            size >>> 24,
            (size >> 16) & 0xff,
            (size >> 8) & 0xff,
            size & 0xff,
          ]);
  return Buffer.concat([head, mask, payload.map((byte, i) => byte ^ (mask[i & 3] ?? 0))]);
}

/** A message of a server, and the bytes after it; undefined while it is not whole. Servers here send messages of one frame. */
export function readFrame(
  bytes: Buffer,
): { readonly code: number; readonly payload: Buffer; readonly rest: Buffer } | undefined {
  const [first = 0, second = 0] = bytes;
  const start = second === 127 ? 10 : second === 126 ? 4 : 2;
  if (bytes.length < start) return undefined;
  const size = second === 127 ? Number(bytes.readBigUInt64BE(2)) : second === 126 ? bytes.readUInt16BE(2) : second;
  if (bytes.length < start + size) return undefined;
  return { code: first & 0x0f, payload: bytes.subarray(start, start + size), rest: bytes.subarray(start + size) };
}
