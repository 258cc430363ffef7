import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ConfigMap } from '../api/core-v1.ts';
import { AgentError } from '../lib/errors.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { FakeKubeApi } from './fake-kubeapi.ts';
import { ApiError } from './kube-api.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';
import { configMaps } from './resources.ts';
import { ApiConnectionError } from './transport-errors.ts';

const never = new AbortController().signal;
const lost = () => new ApiConnectionError('ApiConnectionLost', 'gone', { retryable: true });
const map = (name: string, value = 'v'): ConfigMap => ({ metadata: { namespace: 'ns', name }, data: { value } });

/** A reflector over a fake server, with what its listener heard. */
class Scene implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly api = new FakeKubeApi(this.clock);
  readonly heard: string[] = [];
  readonly logged: string[] = [];
  readonly #stop = new AbortController();
  readonly reflector: Reflector<ConfigMap>;
  #running: Promise<void> | undefined;

  constructor(options: Partial<ReflectorOptions<ConfigMap>> = {}) {
    const log: Log = {
      ...silentLog,
      info: (_, message) => this.logged.push(message),
      warn: (fields, message) => this.logged.push(`${message} ${(fields as { code?: string }).code}`),
    };
    this.reflector = new Reflector({
      api: this.api,
      resource: configMaps,
      clock: this.clock,
      log,
      random: () => 0,
      ...options,
    });
    this.reflector.subscribe((key, object, previous) => {
      this.heard.push(`${key}: ${previous?.data?.['value'] ?? '-'} -> ${object?.data?.['value'] ?? '-'}`);
    });
  }

  async start(): Promise<void> {
    this.#running = this.reflector.run(this.#stop.signal);
    await this.clock.advance(0);
  }

  put(object: ConfigMap): Promise<ConfigMap> {
    return this.api.create(configMaps, object, never);
  }

  set(name: string, value: string): Promise<ConfigMap> {
    return this.api.patch(configMaps, { namespace: 'ns', name }, { type: 'merge', body: { data: { value } } }, never);
  }

  remove(name: string): Promise<void> {
    return this.api.delete(configMaps, { namespace: 'ns', name }, {}, never);
  }

  /** The lists and watches asked for since the last call. */
  requests(): string[] {
    return this.api.calls.splice(0).filter((call) => /^(list|watch)/.test(call));
  }

  takeHeard(): string[] {
    return this.heard.splice(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

describe('Reflector', () => {
  it('takes the list as a stream and follows it on the same watch', async () => {
    await using scene = new Scene();
    await scene.put(map('a'));
    assert.equal(scene.reflector.hasSynced, false);
    await scene.start();
    await scene.reflector.synced;
    assert.deepEqual([...scene.reflector.store.keys()], ['ns/a']);
    await scene.set('a', 'w');
    await scene.put(map('b'));
    await scene.remove('a');
    await scene.clock.advance(0);
    assert.deepEqual(scene.takeHeard(), ['ns/a: - -> v', 'ns/a: v -> w', 'ns/b: - -> v', 'ns/a: w -> -']);
    assert.deepEqual(scene.requests(), ['watch configmaps']);
  });

  it('falls back to pages and a watch where streaming is refused, and remembers that', async () => {
    await using scene = new Scene();
    scene.api.streamingLists = false;
    for (let i = 0; i < 501; i++) await scene.put(map(`m${i}`));
    scene.requests();
    await scene.start();
    await scene.reflector.synced;
    assert.equal(scene.reflector.store.size, 501);
    assert.deepEqual(scene.requests(), [
      'watch configmaps',
      'list configmaps',
      'list configmaps',
      'watch configmaps 502',
    ]);
    scene.api.compact();
    await scene.put(map('late'));
    scene.api.compact();
    scene.api.dropWatches(new ApiError(410, { reason: 'Expired', message: 'too old' }));
    await scene.clock.advance(0);
    assert.deepEqual(scene.requests(), ['list configmaps', 'list configmaps', 'watch configmaps 503']);
  });

  const refusals: Record<string, ApiError> = {
    'an ERROR event with code 500': new ApiError(500, {
      reason: 'InternalError',
      message: 'RequestWatchProgress is disabled',
    }),
    'a 422': new ApiError(422, { reason: 'Invalid', message: 'sendInitialEvents: Forbidden' }),
    'a 400': new ApiError(400, { reason: 'BadRequest', message: 'unknown field' }),
    'a 403 about the option': new ApiError(403, { message: 'sendInitialEvents is forbidden for watch' }),
  };
  for (const [what, error] of Object.entries(refusals)) {
    it(`takes ${what} for a refusal of streaming`, async () => {
      await using scene = new Scene();
      await scene.put(map('a'));
      scene.requests();
      scene.api.injectError('watch', 'configmaps', error);
      await scene.start();
      await scene.reflector.synced;
      assert.deepEqual(scene.requests(), ['watch configmaps', 'list configmaps', 'watch configmaps 2']);
    });
  }

  it('lists when a server ignores the request for a streamed list', async () => {
    const clock = new FakeClock();
    const api = new FakeKubeApi(clock);
    // An old server takes it for a plain watch and never says that the list is complete.
    const old = Object.assign(Object.create(api) as FakeKubeApi, {
      list: api.list.bind(api),
      watch: (...[resource, { sendInitialEvents: _, ...query }, signal]: Parameters<FakeKubeApi['watch']>) =>
        api.watch(resource, query, signal),
    });
    await using scene = new Scene({ api: old, clock });
    await api.create(configMaps, map('a'), never);
    await scene.start();
    assert.equal(scene.reflector.hasSynced, false);
    await clock.advance(10_000);
    await scene.reflector.synced;
    assert.deepEqual([...scene.reflector.store.keys()], ['ns/a']);
  });

  it('resumes a lost connection from the last version, without a list', async () => {
    await using scene = new Scene();
    await scene.put(map('a'));
    await scene.start();
    await scene.set('a', 'w');
    await scene.clock.advance(0);
    scene.requests();
    scene.takeHeard();
    scene.api.dropWatches(lost());
    await scene.clock.advance(0);
    await scene.set('a', 'x');
    await scene.remove('a');
    await scene.clock.advance(800);
    assert.deepEqual(scene.requests(), ['watch configmaps 3']);
    assert.deepEqual(scene.takeHeard(), ['ns/a: w -> x', 'ns/a: x -> -']);
    assert.deepEqual(scene.logged, [], 'a lost connection that comes back is not worth a line');
  });

  it('resumes from a bookmark when nothing of ours has changed for long', async () => {
    await using scene = new Scene({ query: { namespace: 'ns' } });
    await scene.start();
    await scene.api.create(configMaps, { metadata: { namespace: 'other', name: 'x' } }, never);
    scene.api.bookmark();
    scene.api.compact();
    await scene.clock.advance(0);
    scene.requests();
    scene.api.dropWatches();
    await scene.clock.advance(1000);
    assert.deepEqual(scene.requests(), ['watch configmaps 2']);
  });

  it('lists again when its version has expired, and tells only what differs', async () => {
    await using scene = new Scene();
    for (const name of ['kept', 'changed', 'deleted', 'remade']) await scene.put(map(name));
    await scene.start();
    scene.takeHeard();
    scene.requests();
    scene.api.dropWatches(lost());
    await scene.set('changed', 'w');
    await scene.remove('deleted');
    await scene.remove('remade');
    await scene.put(map('remade', 'again'));
    await scene.put(map('added'));
    scene.api.compact();
    await scene.clock.advance(800);
    assert.deepEqual(scene.requests(), ['watch configmaps 5', 'watch configmaps']);
    assert.deepEqual(scene.takeHeard(), [
      'ns/deleted: v -> -',
      'ns/added: - -> v',
      'ns/changed: v -> w',
      'ns/remade: v -> -',
      'ns/remade: - -> again',
    ]);
  });

  it('backs off up to half a minute while the server is away, and says so once', async () => {
    await using scene = new Scene();
    const down = new ApiConnectionError('ApiUnreachable', 'refused', { retryable: true });
    scene.api.injectError('watch', 'configmaps', down, 8);
    await scene.start();
    const delays: number[] = [];
    for (let i = 0; i < 8; i++) {
      const before = scene.api.calls.length;
      let waited = 0;
      for (; scene.api.calls.length === before; waited += 100) await scene.clock.advance(100);
      delays.push(waited);
    }
    assert.deepEqual(delays, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    assert.equal(scene.reflector.hasSynced, true);
    assert.deepEqual(scene.logged, [
      'cannot follow the API server; trying on ApiUnreachable',
      'following the API server again',
    ]);
  });

  it('reports missing rights once, asks slowly, and goes on when they are given', async () => {
    const health: unknown[] = [];
    await using scene = new Scene({ onHealth: (error) => health.push(error) });
    const denied = new ApiError(403, { reason: 'Forbidden', message: 'cannot list' });
    scene.api.injectError('watch', 'configmaps', denied, 3);
    await scene.start();
    await scene.clock.advance(4_999);
    assert.equal(scene.requests().length, 1);
    await scene.clock.advance(1 + 10_000 + 20_000);
    assert.equal(scene.reflector.hasSynced, true);
    assert.deepEqual(health, [denied, undefined]);
  });

  it('lets the pauses grow where lists succeed and watches do not', async () => {
    await using scene = new Scene();
    scene.api.streamingLists = false;
    scene.api.injectError('watch', 'configmaps', new ApiError(500, { message: 'broken' }), 1000);
    await scene.start();
    await scene.clock.advance(120_000);
    assert.ok(scene.requests().filter((call) => call.startsWith('list')).length < 12);
  });

  /** A server that does this for each watch; it falls silent where a reflector asks without pause. */
  const watching = (api: FakeKubeApi, events: () => Generator<unknown>) => {
    const made = { watches: 0 };
    async function* watch(...[, , signal]: Parameters<FakeKubeApi['watch']>) {
      made.watches += 1;
      if (made.watches < 100) yield* events();
      else await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    }
    return Object.assign(made, { api: Object.assign(Object.create(api) as FakeKubeApi, { watch }) });
  };
  const expired = new ApiError(410, { reason: 'Expired', message: 'too old' });
  const listed = { 'k8s.io/initial-events-end': 'true' };

  it('lets the pauses grow where each streamed list is followed by its expiry', async () => {
    const clock = new FakeClock();
    const server = watching(new FakeKubeApi(clock), function* () {
      yield { type: 'BOOKMARK', object: { metadata: { resourceVersion: '5', annotations: listed } } };
      throw expired;
    });
    await using scene = new Scene({ api: server.api, clock });
    await scene.start();
    assert.equal(server.watches, 2, 'the first expiry is an ordinary one');
    for (let i = 0; i < 1200; i++) await clock.advance(100);
    assert.ok(server.watches < 12, `${server.watches}`);
  });

  it('pauses where each watch brings an event and then its expiry', async () => {
    const clock = new FakeClock();
    const server = watching(new FakeKubeApi(clock), function* () {
      yield { type: 'BOOKMARK', object: { metadata: { resourceVersion: '5', annotations: listed } } };
      yield { type: 'MODIFIED', object: map('a') };
      throw expired;
    });
    await using scene = new Scene({ api: server.api, clock });
    await scene.start();
    for (let i = 0; i < 80; i++) await clock.advance(100);
    assert.ok(server.watches <= 12, `${server.watches}`);
  });

  it('does not follow pages that lead back to one another', async () => {
    const clock = new FakeClock();
    const api = new FakeKubeApi(clock);
    api.streamingLists = false;
    let lists = 0;
    const list = async () => ({
      resourceVersion: '5',
      items: [],
      ...(++lists < 100 ? { continue: `page ${lists % 3}` } : {}),
    });
    const watch = api.watch.bind(api);
    await using scene = new Scene({ api: Object.assign(Object.create(api) as FakeKubeApi, { list, watch }), clock });
    await scene.start();
    assert.deepEqual([lists, scene.reflector.hasSynced], [4, false]);
    assert.deepEqual(scene.logged, ['cannot follow the API server; trying on ListWithoutEnd']);
  });

  it('waits for a minute at most, whatever it is asked', async () => {
    await using scene = new Scene();
    const busy = new ApiError(429, { message: 'busy' }, { retryAfterMs: 86_400_000 });
    scene.api.injectError('watch', 'configmaps', busy);
    await scene.start();
    await scene.clock.advance(60_000);
    assert.equal(scene.reflector.hasSynced, true);
  });

  it('strips managedFields and what the transform strips', async () => {
    await using scene = new Scene({ transform: ({ data: _, ...rest }) => rest });
    await scene.put({ ...map('a'), metadata: { namespace: 'ns', name: 'a', managedFields: [{}] } });
    await scene.start();
    const stored = scene.reflector.store.get('ns/a');
    assert.equal(stored?.metadata.name, 'a');
    assert.deepEqual([stored?.metadata.managedFields, stored?.data], [undefined, undefined]);
  });

  it('goes on when a listener throws', async () => {
    await using scene = new Scene();
    scene.reflector.subscribe(() => {
      throw new Error('bug');
    });
    await scene.put(map('a'));
    await scene.start();
    await scene.put(map('b'));
    await scene.clock.advance(0);
    assert.equal(scene.reflector.store.size, 2);
  });

  const odd = { metadata: { namespace: 'ns', name: 'odd', labels: 5, resourceVersion: '2' } };
  for (const streamingLists of [true, false]) {
    it(`leaves out what makes no sense, in a list ${streamingLists ? 'that is streamed' : 'of pages'} and in a watch`, async () => {
      await using scene = new Scene();
      scene.api.streamingLists = streamingLists;
      await scene.put(map('a'));
      scene.api.strays.set('configmaps', [null, 'x', 7, [], {}, { metadata: null }, { metadata: {} }, odd]);
      await scene.start();
      await scene.reflector.synced;
      assert.deepEqual([...scene.reflector.store.keys()], ['ns/a']);
      scene.requests();
      for (const type of ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'WEIRD', 5, null, undefined])
        for (const object of [undefined, null, 'x', 5, [], {}, { metadata: 'x' }, { metadata: { name: 5 } }, odd])
          scene.api.sendRaw(configMaps, { type, object });
      scene.api.sendRaw(configMaps, {});
      await scene.set('a', 'w');
      await scene.clock.advance(60_000);
      assert.deepEqual(scene.takeHeard(), ['ns/a: - -> v', 'ns/a: v -> w']);
      assert.deepEqual(scene.requests(), [], 'the watch goes on');
      assert.deepEqual(new Set(scene.logged), new Set(['the API server sent an object that cannot be used undefined']));
      const lines = scene.logged.length;
      scene.api.sendRaw(configMaps, { type: 'ADDED', object: { metadata: { name: 5 } } });
      await scene.clock.advance(0);
      assert.equal(scene.logged.length, lines, 'once');
    });
  }

  it('keeps the last good state of an object until a good one comes, or its end', async () => {
    await using scene = new Scene();
    await scene.put(map('a'));
    await scene.put(map('b'));
    await scene.start();
    const raw = (type: string, name: string, more: object) =>
      scene.api.sendRaw(configMaps, { type, object: { ...map(name), ...more } });
    for (let i = 0; i < 3; i++) raw('MODIFIED', 'a', { data: 'x' });
    await scene.clock.advance(0);
    assert.deepEqual(scene.takeHeard(), ['ns/a: - -> v', 'ns/b: - -> v']);
    assert.equal(scene.logged.length, 1);
    // The same in a list.
    scene.api.strays.set('configmaps', [{ ...map('b'), data: 'x' }]);
    scene.api.dropWatches(new ApiError(410, { reason: 'Expired', message: 'too old' }));
    await scene.remove('b');
    await scene.clock.advance(1_000);
    assert.deepEqual([...scene.reflector.store.keys()].sort(), ['ns/a', 'ns/b']);
    await scene.set('a', 'w');
    raw('DELETED', 'b', { data: 'x' });
    await scene.clock.advance(0);
    assert.deepEqual(scene.takeHeard(), ['ns/a: v -> w', 'ns/b: v -> -']);
  });

  it('lists again after a line that is no JSON, which would come again from where it came', async () => {
    await using scene = new Scene();
    await scene.start();
    scene.requests();
    scene.api.dropWatches(new AgentError('WatchBroken', 'not an event'));
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.requests(), ['watch configmaps']);
  });

  it('ends when it is told to', async () => {
    const scene = new Scene();
    await scene.start();
    await scene[Symbol.asyncDispose]();
    assert.equal(scene.api.watchCount(configMaps), 0);
  });
});

describe('FakeKubeApi beside the contract', () => {
  it('injects an error as often as asked', async () => {
    const api = new FakeKubeApi();
    api.injectError('get', 'configmaps', lost(), 2);
    const get = () => api.get(configMaps, { namespace: 'ns', name: 'a' }, never);
    await assert.rejects(get(), { code: 'ApiConnectionLost' });
    await assert.rejects(get(), { code: 'ApiConnectionLost' });
    await assert.rejects(get(), { code: 'Api404' });
  });

  it('hands out copies', async () => {
    const api = new FakeKubeApi();
    const made = await api.create(configMaps, map('a'), never);
    (made as { data: unknown }).data = {};
    assert.equal((await api.get(configMaps, made.metadata, never)).data?.['value'], 'v');
  });
});
