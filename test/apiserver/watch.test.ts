import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { TestClient, take, type WatchedEvent } from './client.ts';
import { PODS } from './kinds.ts';
import { StandInApiServer } from './server.ts';

const PATH = '/api/v1/namespaces/default/pods';
const outline = (event: WatchedEvent) => `${event.type} ${event.object.metadata.name ?? ''}`.trim();

for (const http2 of [false, true]) {
  describe(`watches over HTTP/${http2 ? 2 : '1.1'}`, () => {
    let server: StandInApiServer;
    let admin: TestClient;
    before(async () => {
      server = await StandInApiServer.start();
      admin = TestClient.admin(server, { http2 });
    });
    after(async () => {
      await admin[Symbol.asyncDispose]();
      await server.stop();
    });
    const create = (name: string, labels: Record<string, string> = {}) =>
      server.create({
        kind: 'Pod',
        apiVersion: 'v1',
        metadata: { name, labels },
        spec: { containers: [{ name: 'c', image: 'x' }] },
      });

    test('an object that enters the selection is added, one that leaves it deleted', async () => {
      const events = await admin.watch(
        `${PATH}?watch=true&labelSelector=in%3Dyes&resourceVersion=${server.store.version}`,
      );
      create('outside');
      create('mover');
      await admin.patch(`${PATH}/mover`, 'merge', { metadata: { labels: { in: 'yes' } } });
      await admin.patch(`${PATH}/mover`, 'merge', { metadata: { annotations: { a: 'b' } } });
      const left = await admin.patch(`${PATH}/mover`, 'merge', { metadata: { labels: { in: 'no' } } });
      const seen = await take(events, 3);
      assert.deepEqual(seen.map(outline), ['ADDED mover', 'MODIFIED mover', 'DELETED mover']);
      // The object as it was when it still belonged, under the version of the change.
      assert.equal(seen[2]?.object.metadata.labels?.['in'], 'yes');
      assert.equal(seen[2]?.object.metadata.resourceVersion, left.body.metadata.resourceVersion);
    });

    test('a watch resumes where another one ended, without a gap', async () => {
      const { version } = server.store;
      create('gap-1');
      create('gap-2');
      const first = await take(await admin.watch(`${PATH}?watch=1&resourceVersion=${version}`), 1);
      const resumeAt = first[0]?.object.metadata.resourceVersion;
      const second = await admin.watch(`${PATH}?watch=1&resourceVersion=${resumeAt}`);
      create('gap-3');
      assert.deepEqual([...first, ...(await take(second, 2))].map(outline), [
        'ADDED gap-1',
        'ADDED gap-2',
        'ADDED gap-3',
      ]);
    });

    test('without a version a watch begins with what is there', async () => {
      const events = await admin.watch(`${PATH}?watch=1&fieldSelector=metadata.name%3Dgap-1`);
      assert.deepEqual((await take(events, 1)).map(outline), ['ADDED gap-1']);
    });

    test('a streaming list ends with a bookmark that says so, and goes on as a watch', async () => {
      const events = await admin.watch(
        `${PATH}?watch=1&labelSelector=stream&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
      );
      const [bookmark] = await take(events, 1);
      assert.equal(bookmark?.type, 'BOOKMARK');
      assert.deepEqual(bookmark?.object.metadata.annotations, { 'k8s.io/initial-events-end': 'true' });
      assert.equal(bookmark?.object.metadata.resourceVersion, `${server.store.version}`);
      create('streamed', { stream: '' });
      assert.deepEqual((await take(events, 1)).map(outline), ['ADDED streamed']);
    });

    test('a streaming list needs to say how fresh it must be', async () => {
      const [event] = await take(await admin.watch(`${PATH}?watch=1&sendInitialEvents=true`), 1);
      assert.equal(event?.object.code, 422);
    });

    test('a watch that ends on time says goodbye with a bookmark', async () => {
      const query = `watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=${server.store.version}`;
      const events = await admin.watch(`${PATH}?${query}`);
      assert.deepEqual((await take(events, 1)).map(outline), ['BOOKMARK']);
      assert.equal((await events.next()).done, true);
    });

    test('a watch is forgotten when its client leaves', async () => {
      const leaver = new TestClient(server, server.pki.client('leaver', ['system:masters']), { http2 });
      await leaver.watch(`${PATH}?watch=1`);
      assert.equal(server.watches.count({ user: 'leaver' }), 1);
      await leaver[Symbol.asyncDispose]();
      while (server.watches.count({ user: 'leaver' }) > 0) await new Promise((resolve) => setImmediate(resolve));
    });

    test('an object can be waited for in the process', async (t) => {
      const waiting = server.until(PODS, 'default', 'awaited', (pod) => pod?.status?.['phase'] === 'Running', t.signal);
      create('awaited');
      await admin.patch(`${PATH}/awaited/status`, 'merge', { status: { phase: 'Running' } });
      assert.equal((await waiting)?.metadata.name, 'awaited');
    });
  });
}
