import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createInflate } from 'node:zlib';
import { dataHead, frameType, HeaderWriter, ping, SpdyDecoder, synStream } from './spdy-frames.ts';

/** Reads header blocks as a server does: one inflating stream for all of them. */
async function inflated(blocks: readonly Buffer[]): Promise<readonly Buffer[]> {
  const inflate = createInflate();
  const read: Buffer[] = [];
  for (const block of blocks) {
    const pieces: Buffer[] = [];
    inflate.on('data', (piece: Buffer) => pieces.push(piece));
    await new Promise<void>((resolve) => inflate.write(block, () => resolve()));
    await new Promise((resolve) => setImmediate(resolve));
    inflate.removeAllListeners('data');
    read.push(Buffer.concat(pieces));
  }
  return read;
}

test('header blocks of a connection inflate to names in lower case and values, each at once', async () => {
  const writer = new HeaderWriter();
  const blocks = [writer.block({ streamType: 'error' }), writer.block({ streamtype: 'data', port: '80' })];
  const [first, second] = await inflated(blocks);
  assert.equal(first?.toString('latin1'), '\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05error');
  assert.equal(second?.toString('latin1'), '\0\0\0\x02\0\0\0\x0astreamtype\0\0\0\x04data\0\0\0\x04port\0\0\0\x0280');
});

test('frames have the heads of SPDY/3', () => {
  assert.equal(synStream(1, Buffer.from('xy')).toString('hex'), '800300010000000c00000001000000000000' + '7879');
  assert.equal(ping(7).toString('hex'), '800300060000000400000007');
  assert.equal(dataHead(5, 260).toString('hex'), '0000000500000104');
  assert.equal(dataHead(5, 0, true).toString('hex'), '0000000501000000');
});

const control = (type: number, flags: number, payload: Buffer) =>
  Buffer.concat([Buffer.from([0x80, 0x03, 0, type, flags, 0, 0, payload.length]), payload]);
const number = (id: number) => Buffer.from([0, 0, 0, id]);

test('what a server says arrives, however its bytes are cut; what nobody needs is passed over', () => {
  const bytes = Buffer.concat([
    control(frameType.synReply, 0, Buffer.concat([number(1), Buffer.from('headers')])),
    control(4, 0, Buffer.from('settings')),
    Buffer.concat([dataHead(1, 5), Buffer.from('hello')]),
    Buffer.concat([dataHead(3, 2, true), Buffer.from('no')]),
    dataHead(1, 0, true),
    control(frameType.ping, 0, number(9)),
    control(frameType.rstStream, 0, Buffer.concat([number(5), number(1)])),
    control(frameType.synReply, 1, Buffer.concat([number(7), Buffer.from('headers')])),
    control(frameType.goAway, 0, Buffer.concat([number(7), number(0)])),
  ]);
  const read = (chunks: readonly Buffer[]) => {
    const seen: string[] = [];
    const decoder = new SpdyDecoder({
      data: (id, piece, last) => seen.push(`${id}:${piece}${last ? '.' : ''}`),
      reset: (id) => seen.push(`reset ${id}`),
      ping: (id) => seen.push(`ping ${id}`),
    });
    for (const chunk of chunks) decoder.push(chunk);
    return seen.join(' ');
  };
  assert.equal(read([bytes]), '1:hello 3:no. 1:. ping 9 reset 5 7:.');
  const single = read([...bytes].map((byte) => Buffer.from([byte])));
  assert.equal(single, '1:h 1:e 1:l 1:l 1:o 3:n 3:o. 1:. ping 9 reset 5 7:.');
});

test('bytes that are not SPDY/3 are refused', () => {
  const sink = { data: () => {}, reset: () => {}, ping: () => {} };
  assert.throws(() => new SpdyDecoder(sink).push(Buffer.from('8002000100000000', 'hex')), /SPDY\/2/);
  assert.throws(() => new SpdyDecoder(sink).push(Buffer.from('8003000200ffffff', 'hex')), /control frame of 16777215/);
});
