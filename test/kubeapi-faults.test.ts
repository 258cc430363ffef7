import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ConfigMap } from '../src/api/core-v1.ts';
import { createKubeClient, type KubeClientOptions } from '../src/kubeapi/client.ts';
import { Reflector } from '../src/kubeapi/reflector.ts';
import { configMaps } from '../src/kubeapi/resources.ts';
import { type Clock, systemClock } from '../src/lib/clock.ts';
import { CONFIG_MAPS } from './apiserver/kinds.ts';
import { StandInApiServer, type StandInOptions } from './apiserver/server.ts';
import { memoryLog, scratchDir } from './kubeapi-support.ts';

const never = new AbortController().signal;
const namespace = 'default';

/** The system's clock, a hundred times faster where somebody waits between tries; deadlines stay. It tells of each wait. */
function hurriedClock(): Clock & { pauses(count: number): Promise<void> } {
  let heard = (): void => {};
  return {
    ...systemClock,
    sleep: (ms, signal) => {
      heard();
      return systemClock.sleep(ms / 100, signal);
    },
    async pauses(count) {
      for (let i = 0; i < count; i++) {
        await new Promise<void>((resolve) => {
          heard = resolve;
        });
      }
    },
  };
}

interface Setup {
  readonly server?: StandInOptions;
  readonly client?: KubeClientOptions;
  readonly user?: string;
}

/** A stand-in server, a client and a reflector of ConfigMaps that runs until the end of the scope. */
async function scene({ server: options = {}, client: clientOptions = {}, user = 'admin' }: Setup = {}) {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await StandInApiServer.start(options));
  const dir = stack.use(await scratchDir());
  const groups = user === 'admin' ? ['system:masters'] : [];
  const kubeconfig = server.kubeconfigFor(user, { groups }, `${dir.path}/kubeconfig`);
  const api = await createKubeClient({ kubeconfig, qps: 0, ...clientOptions });
  stack.defer(() => api.close());
  const clock = hurriedClock();
  const log = memoryLog();
  const query = { namespace, fieldSelector: 'metadata.name!=kube-root-ca.crt' };
  const reflector = new Reflector<ConfigMap>({ api, resource: configMaps, query, clock, log });
  const stop = new AbortController();
  const running = reflector.run(stop.signal);
  stack.defer(async () => {
    stop.abort();
    await running;
  });
  const owned = stack.move();
  return {
    server,
    api,
    clock,
    log,
    reflector,
    put: (name: string, value: string) =>
      server.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name }, data: { value } }),
    /** Resolves when the reflector's store has exactly these objects. */
    until: (wanted: Record<string, string>) => untilStoreHas(reflector, wanted),
    lists: () => server.count({ verb: 'list', resource: 'configmaps' }),
    watches: () => server.count({ verb: 'watch', resource: 'configmaps' }),
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

async function untilStoreHas(reflector: Reflector<ConfigMap>, wanted: Record<string, string>): Promise<void> {
  const changed = Promise.withResolvers<void>();
  const check = () => {
    const have = [...reflector.store.values()].map(({ metadata, data }) => [metadata.name, data?.['value']]);
    if (JSON.stringify(Object.fromEntries(have.sort())) === JSON.stringify(wanted)) changed.resolve();
  };
  using _subscription = reflector.subscribe(check);
  check();
  await changed.promise;
}

describe('a reflector over the real client', () => {
  for (const watchList of [true, false]) {
    const how = watchList ? 'a streamed list' : 'pages, where streaming is refused,';
    it(`follows the server with ${how} and resumes after cut connections without a list`, async () => {
      await using s = await scene({ server: { watchList } });
      s.put('a', '1');
      await s.until({ a: '1' });
      const lists = s.lists();
      const watches = s.watches();
      for (const value of ['2', '3']) {
        s.server.cutConnections();
        s.put(`b${value}`, value);
        await s.until(value === '2' ? { a: '1', b2: '2' } : { a: '1', b2: '2', b3: '3' });
      }
      assert.equal(s.lists(), lists);
      assert.equal(s.watches(), watches + 2);
      const resumed = s.server.requests.filter((request) => request.verb === 'watch').slice(-2);
      assert.ok(resumed.every(({ query }) => query['resourceVersion'] && !query['sendInitialEvents']));
    });
  }

  it('survives a restart of the server', async () => {
    await using s = await scene();
    s.put('a', '1');
    await s.until({ a: '1' });
    await s.server.close();
    s.put('b', '2');
    await assert.rejects(s.api.get(configMaps, { namespace, name: 'a' }, never), { code: 'ApiUnreachable' });
    await s.server.listen();
    await s.until({ a: '1', b: '2' });
  });

  it('lists again when the history is gone, and tells what was deleted meanwhile', async () => {
    await using s = await scene();
    s.put('a', '1');
    s.put('b', '2');
    await s.until({ a: '1', b: '2' });
    const heard: string[] = [];
    s.reflector.subscribe((key, object) => heard.push(`${key} ${object ? 'set' : 'deleted'}`));
    await s.server.close();
    s.server.store.remove(CONFIG_MAPS, namespace, 'a');
    s.put('c', '3');
    s.server.store.compact();
    await s.server.listen();
    await s.until({ b: '2', c: '3' });
    assert.deepEqual(heard, ['default/a deleted', 'default/c set']);
  });

  it('notices a server that went mute within the deadline of any request', async () => {
    await using s = await scene({ client: { requestTimeoutMs: 300 } });
    s.put('a', '1');
    await s.until({ a: '1' });
    const pause = s.clock.pauses(1);
    const hole = s.server.blackhole();
    s.put('b', '2');
    await assert.rejects(s.api.get(configMaps, { namespace, name: 'a' }, never), { code: 'ApiTimeout' });
    // The watch has failed although nobody told it of the end, and is about to be made anew.
    await pause;
    hole[Symbol.dispose]();
    await s.until({ a: '1', b: '2' });
  });

  it('says once what rights are missing, and goes on when they are granted', async () => {
    await using s = await scene({ user: 'nobody' });
    await s.clock.pauses(1);
    s.put('a', '1');
    await s.clock.pauses(2);
    const reported = () => s.log.lines.filter(({ level }) => level === 'warn');
    assert.equal(reported().length, 1);
    assert.match(String(reported()[0]?.fields['err']), /User "nobody" cannot (list|watch) resource "configmaps"/);
    s.server.create({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'grant' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'User', name: 'nobody', apiGroup: 'rbac.authorization.k8s.io' }],
    });
    await s.until({ a: '1' });
    assert.deepEqual(
      s.log.lines.slice(-1).map(({ message }) => message),
      ['following the API server again'],
    );
  });

  const faults = ['429', '503', '500', 'drop', 'expire'] as const;
  for (const action of faults) {
    it(`gets through a few answers of ${action}`, async () => {
      await using s = await scene();
      s.put('a', '1');
      await s.until({ a: '1' });
      using fault = s.server.faults.add({ match: { resource: 'configmaps' }, action, count: 3, retryAfterSeconds: 1 });
      s.server.cutConnections();
      s.put('b', '2');
      await s.until({ a: '1', b: '2' });
      assert.equal(fault.hits, 3);
    });
  }

  it('streams objects of a megabyte without taking long', async () => {
    await using s = await scene();
    const big = 'x'.repeat(900_000);
    for (let i = 0; i < 8; i++) s.put(`m${i}`, big);
    await s.until(Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`m${i}`, big])));
  });
});
