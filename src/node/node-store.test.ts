import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeKubeApi } from '../kubeapi/fake-kubeapi.ts';
import { ApiError } from '../kubeapi/kube-api.ts';
import { nodes } from '../kubeapi/resources.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { NodeStore } from './node-store.ts';

/** A server whose watches end at once; it falls silent where somebody asks without pause. */
function ending(clock: FakeClock, end: () => void) {
  const api = new FakeKubeApi(clock);
  const made = { watches: 0 };
  async function* watch(...[, , signal]: Parameters<FakeKubeApi['watch']>) {
    made.watches += 1;
    if (made.watches < 100) end();
    else await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  }
  const port = Object.assign(Object.create(api) as FakeKubeApi, { list: api.list.bind(api), watch });
  return Object.assign(made, { api: port, server: api });
}

const ends: Record<string, () => void> = {
  'are closed': () => {},
  'have expired': () => {
    throw new ApiError(410, { reason: 'Expired', message: 'too old' });
  },
  'are refused': () => {
    throw new ApiError(500, { message: 'broken' });
  },
};

describe('NodeStore', () => {
  for (const [what, end] of Object.entries(ends)) {
    it(`lets the pauses grow where watches ${what} at once`, async () => {
      const clock = new FakeClock();
      const made = ending(clock, end);
      const stop = new AbortController();
      await made.server.create(nodes, { metadata: { name: 'n' } }, stop.signal);
      const store = new NodeStore('n', silentLog);
      const running = store.run(made.api, clock, silentLog, stop.signal);
      for (let i = 0; i < 1200; i++) await clock.advance(100);
      assert.equal(store.current()?.metadata.name, 'n');
      assert.ok(made.watches > 2 && made.watches < 12, `${made.watches}`);
      stop.abort();
      await running;
    });
  }
});
