import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { DialError, dial } from './tcp-dial.ts';

const signal = new AbortController().signal;

async function listening() {
  const server = createServer((socket) => socket.on('error', () => {}).resume());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { port, close: () => new Promise((resolve) => server.close(resolve)) };
}

test('a port where somebody listens', async () => {
  const server = await listening();
  await dial('127.0.0.1', server.port, 10_000, signal);
  await server.close(); // Ends only when our connection is gone.
});

test('a port where nobody listens', async () => {
  const server = await listening();
  await server.close();
  const message = `dial tcp 127.0.0.1:${server.port}: connect: connection refused`;
  await assert.rejects(dial('127.0.0.1', server.port, 10_000, signal), {
    code: 'DialFailed',
    message,
    timedOut: false,
  });
});

test('who asks us to stop is heard at once', async () => {
  const server = await listening();
  const stop = new AbortController();
  const pending = dial('127.0.0.1', server.port, 10_000, stop.signal);
  stop.abort();
  await assert.rejects(pending, { name: 'AbortError' });
  await assert.rejects(dial('127.0.0.1', server.port, 10_000, stop.signal), { name: 'AbortError' });
  await server.close();
});

test('a name that does not exist', async () => {
  const error = await dial('nowhere.invalid', 80, 10_000, signal).catch((e: unknown) => e);
  assert.ok(error instanceof DialError);
  assert.match(error.message, /^dial tcp: lookup nowhere\.invalid: no such host$|i\/o timeout/);
});
