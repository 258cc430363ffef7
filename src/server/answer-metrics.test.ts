import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { test } from 'node:test';
import type { TextWriter } from '../stats/text-writer.ts';
import { acceptsGzip, answerMetrics } from './answer-metrics.ts';

const table: Record<string, boolean> = {
  '': false,
  gzip: true,
  'deflate, gzip;q=0.5': true,
  'gzip;q=0': false,
  'gzip; q=0.000': false,
  '*': true,
  identity: false,
};

for (const [header, expected] of Object.entries(table)) {
  test(`accept-encoding '${header}' ${expected ? 'takes' : 'does not take'} gzip`, () => {
    assert.equal(acceptsGzip(header), expected);
  });
}

test('no header takes no gzip', () => {
  assert.equal(acceptsGzip(undefined), false);
});

test('a client that does not read loses its connection, and the writer hears of it', { timeout: 20_000 }, async () => {
  const outcome = Promise.withResolvers<unknown>();
  const server = createServer((raw, response) => {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const request = { raw, url: new URL('http://n/'), params: {}, user: { username: '', groups: [] } };
    const writeOn = async (writer: TextWriter) => {
      for (;;) {
        writer.text('m 1\n');
        if (writer.isFull) await writer.flush();
      }
    };
    answerMetrics({ ...request, signal: gone.signal }, response, writeOn, 50).then(outcome.resolve, outcome.resolve);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  client.pause().write('GET / HTTP/1.1\r\nHost: n\r\n\r\n');
  assert.ok((await outcome.promise) instanceof Error);
  client.destroy();
  server.close();
});
