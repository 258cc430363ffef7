import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { TestClient, take } from './client.ts';
import { StandInApiServer } from './server.ts';

const PODS = '/api/v1/pods';

for (const http2 of [false, true]) {
  describe(`faults over HTTP/${http2 ? 2 : '1.1'}`, () => {
    let server: StandInApiServer;
    let admin: TestClient;
    beforeEach(async () => {
      server = await StandInApiServer.start();
      admin = TestClient.admin(server, { http2 });
    });
    afterEach(async () => {
      await admin[Symbol.asyncDispose]();
      await server.stop();
    });
    /** Notes the outcome of something that is expected to hang. */
    const observed = (answer: Promise<unknown>) => {
      const state = { outcome: 'pending' };
      answer.then(
        () => (state.outcome = 'answered'),
        () => (state.outcome = 'broken'),
      );
      return state;
    };
    const untilHit = async (hits: number) => {
      while (server.faults.list().reduce((sum, fault) => sum + fault.hits, 0) < hits) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    };

    test('429 asks to come back later, as often as it was told to', async () => {
      server.faults.add({ match: { verb: 'list', resource: 'pods' }, action: '429', count: 2, retryAfterSeconds: 3 });
      assert.equal((await admin.get('/api/v1/nodes')).status, 200);
      for (let i = 0; i < 2; i++) {
        const answer = await admin.get(PODS);
        assert.equal(answer.status, 429);
        assert.equal(answer.headers['retry-after'], '3');
      }
      assert.equal((await admin.get(PODS)).status, 200);
    });

    test('500 and 503 are Status objects', async () => {
      for (const action of ['500', '503'] as const) {
        using fault = server.faults.add({ action });
        const answer = await admin.get(PODS);
        assert.equal(answer.status, Number(action));
        assert.equal(answer.body.kind, 'Status');
        assert.equal(fault.hits, 1);
      }
      assert.equal((await admin.get(PODS)).status, 200);
    });

    test('drop breaks the connection, the next request has a new one', async () => {
      server.faults.add({ action: 'drop', count: 1 });
      await assert.rejects(admin.get(PODS));
      assert.equal((await admin.get(PODS)).status, 200);
    });

    test('a stalled request is never answered, another one is', async () => {
      server.faults.add({ match: { resource: 'pods', user: 'admin' }, action: 'stall' });
      const stalled = observed(admin.get(PODS));
      await untilHit(1);
      await using other = new TestClient(server, server.pki.client('other', ['system:masters']), { http2 });
      assert.equal((await other.get(PODS)).status, 200);
      assert.equal(stalled.outcome, 'pending');
    });

    test('a fault for one user spares the others', async () => {
      server.faults.add({ match: { user: 'system:node:n1' }, action: '500' });
      await using node = TestClient.node(server, 'n1');
      assert.equal((await node.get('/api/v1/services')).status, 500);
      assert.equal((await admin.get('/api/v1/services')).status, 200);
    });

    test('expire ends a new watch with 410, and an open one too', async () => {
      const open = await admin.watch(`${PODS}?watch=1&resourceVersion=${server.store.version}`);
      server.watches.expire({ resource: 'pods' });
      assert.equal((await take(open, 1))[0]?.object.code, 410);
      server.faults.add({ match: { verb: 'watch' }, action: 'expire', count: 1 });
      const [event] = await take(await admin.watch(`${PODS}?watch=1&resourceVersion=1`), 1);
      assert.equal(event?.object.reason, 'Expired');
    });

    test('a watch can be cut', async () => {
      const events = await admin.watch(`${PODS}?watch=1`);
      assert.equal(server.watches.cut({ resource: 'pods' }), 1);
      await assert.rejects(take(events, 1));
    });

    test('a black hole swallows requests and silences watches, and heals', async () => {
      const events = await admin.watch(`/api/v1/namespaces?watch=1&resourceVersion=${server.store.version}`);
      const hole = server.blackhole();
      server.create({ kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'unseen' } });
      const next = observed(events.next());
      await using other = TestClient.admin(server, { http2 });
      const request = other.get(PODS);
      const lost = observed(request);
      await untilHit(1);
      // What steers the server still answers, so both had their chance by then.
      await using steering = TestClient.admin(server);
      assert.equal((await steering.get('/_faults')).status, 200);
      assert.deepEqual([next.outcome, lost.outcome], ['pending', 'pending']);
      hole[Symbol.dispose]();
      await assert.rejects(request);
      assert.equal((await admin.get('/api/v1/namespaces/unseen')).status, 200);
    });

    test('a restart keeps port and state and cuts every connection', async () => {
      server.create({ kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'kept' } });
      const events = await admin.watch(`${PODS}?watch=1`);
      const { port, store } = server;
      const { version } = store;
      await server.restart();
      await assert.rejects(take(events, 1));
      assert.equal(server.port, port);
      const { body } = await admin.get('/api/v1/namespaces/kept');
      assert.equal(body.metadata.name, 'kept');
      assert.equal(store.version, version);
    });

    test('while it is closed nobody gets in', async () => {
      await server.close();
      await assert.rejects(admin.get(PODS));
      await server.listen();
      assert.equal((await admin.get(PODS)).status, 200);
    });

    test('requests are counted by what they were', async () => {
      await admin.get(PODS);
      await admin.get('/api/v1/namespaces/none/pods/x');
      assert.equal(server.count({ verb: 'list', resource: 'pods' }), 1);
      assert.equal(server.requests.at(-1)?.status, 404);
    });
  });
}

test('the state of a stopped server is that of the next one, tokens included', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'standin-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const storageFile = join(dir, 'state.json');
  const first = await StandInApiServer.start({ storageFile });
  first.create({ kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'kept' }, data: { a: 'b' } });
  const { version } = first.store;
  await first.stop();
  await using second = await StandInApiServer.start({ storageFile });
  await using admin = TestClient.admin(second);
  const { body } = await admin.get('/api/v1/namespaces/default/configmaps/kept');
  assert.deepEqual(body['data'], { a: 'b' });
  assert.ok(second.store.version >= version);
  const [event] = await take(await admin.watch('/api/v1/pods?watch=1&resourceVersion=1'), 1);
  assert.equal(event?.object.code, 410);
});
