import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { PodManager } from './pod-manager.ts';
import { PodSources } from './sources.ts';

const pod = (name: string): Pod => ({
  metadata: { name, namespace: 'ns', uid: name },
  spec: { containers: [{ name: 'a', image: 'i' }] },
});

/** Both feeds in memory: what a test puts in is told to whoever listens. */
class Feeds {
  readonly api = { hasSynced: false, store: new Map<string, Pod>(), subscribe: this.#subscribe.bind(this) };
  readonly files = { hasSynced: false, snapshot: () => ({ pods: this.#pods }), onChange: this.#onChange.bind(this) };
  #pods: readonly Pod[] = [];
  #apiListener: (key: string, pod: Pod | undefined) => void = () => {};
  #fileListener: () => void = () => {};

  tellApi(name: string, object: Pod | undefined): void {
    this.#apiListener(`ns/${name}`, object);
  }
  tellFiles(pods: readonly Pod[]): void {
    this.#pods = pods;
    this.#fileListener();
  }
  #subscribe(listener: (key: string, pod: Pod | undefined) => void): void {
    this.#apiListener = listener;
  }
  #onChange(listener: () => void): void {
    this.#fileListener = listener;
  }
}

const desired = (manager: PodManager) => [...manager.all()].map((d) => `${d.uid} ${d.source}`);
const newManager = () =>
  new PodManager(
    () => 0,
    () => {},
  );

test('both sources lead into the one manager, and out of it again', () => {
  const [manager, feeds] = [newManager(), new Feeds()];
  new PodSources(manager, feeds);
  feeds.tellApi('a', pod('a'));
  feeds.tellFiles([pod('f'), pod('g')]);
  assert.deepEqual(desired(manager), ['a api', 'f file', 'g file']);
  feeds.tellApi('a', undefined);
  feeds.tellFiles([pod('g')]);
  assert.deepEqual(desired(manager), ['g file']);
});

const table: Record<string, { api?: boolean; files?: boolean; ready: boolean }> = {
  'no source at all: there is nothing to wait for': { ready: true },
  'the API has not reported': { api: false, ready: false },
  'the API has': { api: true, ready: true },
  'the manifest directory has not': { files: false, ready: false },
  'one of two has reported': { api: true, files: false, ready: false },
  'the other of two has': { api: false, files: true, ready: false },
  'both have': { api: true, files: true, ready: true },
};

for (const [sentence, { api, files, ready }] of Object.entries(table)) {
  test(`${sentence}: ${ready ? 'ready' : 'not ready'}`, () => {
    const feeds = new Feeds();
    feeds.api.hasSynced = api === true;
    feeds.files.hasSynced = files === true;
    const sources = new PodSources(newManager(), {
      api: api === undefined ? undefined : feeds.api,
      files: files === undefined ? undefined : feeds.files,
    });
    assert.equal(sources.ready(), ready);
  });
}
