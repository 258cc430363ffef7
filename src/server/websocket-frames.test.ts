import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { maskedFrame } from '../testing/websocket-client.ts';
import { FrameDecoder, frameHead, opcode, WebSocketError } from './websocket-frames.ts';

/** What a decoder hands on, with the pieces of a message joined. */
function decode(chunks: readonly Buffer[]): readonly unknown[] {
  const seen: unknown[] = [];
  let message = '';
  const decoder = new FrameDecoder({
    data: (piece, first, last) => {
      message = first ? `${piece}` : `${message}${piece}`;
      if (last) seen.push(message);
    },
    ping: (payload) => seen.push({ ping: `${payload}` }),
    close: (code) => seen.push({ close: code }),
  });
  // The decoder unmasks where the bytes lie.
  for (const chunk of chunks) decoder.push(Buffer.from(chunk));
  return seen;
}

const goodbye = Buffer.from([0x03, 0xe8]);

const conversations: Readonly<Record<string, { frames: readonly Buffer[]; seen: readonly unknown[] }>> = {
  'a short message': { frames: [maskedFrame(opcode.binary, 'hello')], seen: ['hello'] },
  'a message of text': { frames: [maskedFrame(opcode.text, 'hello')], seen: ['hello'] },
  'an empty message': { frames: [maskedFrame(opcode.binary, '')], seen: [''] },
  'messages whose length takes two and eight bytes': {
    frames: [maskedFrame(opcode.binary, 'x'.repeat(126)), maskedFrame(opcode.binary, 'y'.repeat(70_000))],
    seen: ['x'.repeat(126), 'y'.repeat(70_000)],
  },
  'a message in fragments, with a ping between them': {
    frames: [
      maskedFrame(opcode.binary, 'one ', { final: false }),
      maskedFrame(opcode.continuation, 'two ', { final: false }),
      maskedFrame(opcode.ping, 'there?'),
      maskedFrame(opcode.continuation, 'three'),
      maskedFrame(opcode.binary, 'next'),
    ],
    seen: [{ ping: 'there?' }, 'one two three', 'next'],
  },
  'a pong that nobody asked for': { frames: [maskedFrame(opcode.pong, 'x')], seen: [] },
  'a goodbye, and what comes after it': {
    frames: [maskedFrame(opcode.close, goodbye), maskedFrame(opcode.binary, 'late')],
    seen: [{ close: 1000 }],
  },
  'a goodbye without a code': { frames: [maskedFrame(opcode.close, '')], seen: [{ close: undefined }] },
};

test('what a client says arrives, however its bytes are cut', async (t) => {
  for (const [sentence, { frames, seen }] of Object.entries(conversations)) {
    await t.test(sentence, () => {
      const bytes = Buffer.concat(frames);
      assert.deepEqual(decode(frames), seen);
      assert.deepEqual(decode([bytes]), seen);
      assert.deepEqual(decode([...bytes].map((byte) => Buffer.from([byte]))), seen);
      for (const cut of [1, 3, 7, 13]) assert.deepEqual(decode([bytes.subarray(0, cut), bytes.subarray(cut)]), seen);
    });
  }
});

test('a masked payload comes out as it went in, wherever it is cut', () => {
  const payload = randomBytes(1001);
  const frame = maskedFrame(opcode.binary, payload);
  for (let cut = frame.length - 20; cut < frame.length; cut++) {
    const pieces: Buffer[] = [];
    const decoder = new FrameDecoder({ data: (piece) => pieces.push(piece), ping: () => {}, close: () => {} });
    decoder.push(Buffer.from(frame.subarray(0, cut)));
    decoder.push(Buffer.from(frame.subarray(cut)));
    assert.deepEqual(Buffer.concat(pieces), payload);
  }
});

const offences: Readonly<Record<string, readonly Buffer[]>> = {
  'a frame that is not masked': [frameHead(opcode.binary, 1)],
  'a frame of an extension': [Buffer.from([0xc2, 0x80, 0, 0, 0, 0])],
  'a frame of an unknown kind': [Buffer.from([0x83, 0x80, 0, 0, 0, 0])],
  'a ping in fragments': [maskedFrame(opcode.ping, 'x', { final: false })],
  'a ping that is too long': [maskedFrame(opcode.ping, 'x'.repeat(126))],
  'a continuation of nothing': [maskedFrame(opcode.continuation, 'x')],
  'a message inside another': [maskedFrame(opcode.binary, 'x', { final: false }), maskedFrame(opcode.binary, 'y')],
  'a frame longer than numbers go': [
    Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
  ],
};

test('what no client may say is refused', async (t) => {
  for (const [sentence, frames] of Object.entries(offences)) {
    await t.test(sentence, () => assert.throws(() => decode(frames), WebSocketError));
  }
});

test('a message of any length has its head', () => {
  const heads = [0, 125, 126, 65_535, 65_536, 2 ** 33].map((bytes) => frameHead(opcode.binary, bytes).toString('hex'));
  assert.deepEqual(heads, ['8200', '827d', '827e007e', '827effff', '827f0000000000010000', '827f0000000200000000']);
});
