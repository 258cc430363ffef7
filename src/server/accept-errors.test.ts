import assert from 'node:assert/strict';
import { Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Pki } from '../../test/pki/pki.ts';
import { systemClock } from '../lib/clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { PlainServer } from './plain-server.ts';
import { NodeServer } from './server.ts';

const place = { address: '127.0.0.1', port: 0, clock: systemClock };
const { cert, key } = Pki.create().serving(['n']);

const servers: Readonly<Record<string, (log: Log) => { run(signal: AbortSignal): Promise<void> }>> = {
  "the node's port": (log) =>
    new NodeServer({
      ...place,
      tls: {},
      files: {
        read: async () => ({ cert, key }),
        watch: (_known, _changed, signal) => new Promise((end) => signal.addEventListener('abort', () => end())),
      },
      endpoints: [],
      guard: { admit: async () => ({ username: '', groups: [] }) },
      log,
    }),
  'a plain port': (log) => new PlainServer({ ...place, keys: '', kind: '', what: '', answer: () => undefined, log }),
};

/** The listener that the work opens. */
function nextListener(t: TestContext): Promise<Server> {
  const { promise, resolve } = Promise.withResolvers<Server>();
  const listen = Server.prototype.listen;
  t.mock.method(Server.prototype, 'listen', function (this: Server, ...args: Parameters<typeof listen>) {
    return Reflect.apply(listen, this, args).once('listening', () => resolve(this));
  });
  return promise;
}

for (const [name, make] of Object.entries(servers)) {
  test(`a connection that the kernel cannot hand over is told of, and no more: ${name}`, async (t) => {
    const warnings: object[] = [];
    const served = Promise.withResolvers<void>();
    const tell = () => served.resolve();
    const log: Log = { ...silentLog, debug: tell, info: tell, warn: (fields) => void warnings.push(fields) };
    const life = new AbortController();
    const listener = nextListener(t);
    const over = make(log).run(life.signal);
    const server = await listener;
    await served.promise;
    assert.doesNotThrow(() => server.emit('error', Object.assign(new Error('accept ENOBUFS'), { code: 'ENOBUFS' })));
    assert.equal(warnings.length, 1);
    life.abort();
    await over;
  });
}
