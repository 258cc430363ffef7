import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContentStore, Ingest, LayerSize } from '../cri/containerd-content.ts';
import { CriError } from '../cri/services.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { parseImageName } from '../lib/image-name.ts';
import { silentLog } from '../lib/log.ts';
import { howFar, sumUp } from './pull-progress.ts';
import { watchPull } from './watch-pull.ts';

const MiB = 1024 * 1024;
const signal = new AbortController().signal;
const layers: readonly LayerSize[] = [
  { digest: 'sha256:a', size: 100 * MiB },
  { digest: 'sha256:b', size: 200 * MiB },
];
const manifest: LayerSize = { digest: 'sha256:m', size: 1000 };

class FakeContent implements ContentStore {
  readonly there = new Set<string>();
  readonly fetching = new Map<string, number>();
  lookedInto: string[] = [];
  error: Error | undefined;

  async ingests(): Promise<readonly Ingest[]> {
    if (this.error) throw this.error;
    return [...this.fetching].map(([digest, offset]) => ({ digest, offset, total: 0 }));
  }
  async blobs(): Promise<readonly LayerSize[]> {
    return [manifest, ...layers].filter(({ digest }) => this.there.has(digest));
  }
  async layersOf(digest: string): Promise<readonly LayerSize[] | undefined> {
    this.lookedInto.push(digest);
    return digest === manifest.digest ? layers : undefined;
  }
}

function setUp() {
  const clock = new FakeClock();
  const content = new FakeContent();
  const events: string[] = [];
  const gate = Promise.withResolvers<string>();
  const event = (_: string, reason: string, message: string) => void events.push(`${reason}: ${message}`);
  const watched = { image: 'app:1', name: parseImageName('app:1'), content, clock, log: silentLog, event };
  const pull = (by: AbortSignal) =>
    Promise.race([
      gate.promise,
      new Promise<never>((_, reject) => by.addEventListener('abort', () => reject(by.reason))),
    ]);
  const pulling = watchPull({ ...watched, look: () => {} }, pull, signal);
  return { clock, content, events, gate, pulling };
}

test('a pull tells every half minute how far it is', async () => {
  const o = setUp();
  await o.clock.advance(30_000);
  o.content.there.add('sha256:m').add('sha256:a');
  o.content.fetching.set('sha256:b', 20 * MiB);
  await o.clock.advance(30_000);
  o.content.fetching.delete('sha256:b');
  o.content.there.add('sha256:b');
  await o.clock.advance(10_000);
  o.gate.resolve('id');
  assert.equal(await o.pulling, 'id');
  assert.deepEqual(o.events, ['Pulling: Pulling image "app:1": 120 MiB of 300 MiB']);
  assert.deepEqual(o.content.lookedInto, ['sha256:m']);
});

test('a pull that is over is watched no longer', async () => {
  const o = setUp();
  o.gate.resolve('id');
  await o.pulling;
  assert.equal(o.clock.pending, 0);
});

test('a layer of which nothing more comes ends the pull', async () => {
  const o = setUp();
  o.content.there.add('sha256:m');
  o.content.fetching.set('sha256:a', 5 * MiB);
  await o.clock.advance(200_000);
  o.content.fetching.set('sha256:a', 6 * MiB);
  const given = assert.rejects(o.pulling, {
    code: 'PullStalled',
    message: 'pull of image "app:1" given up: 6 MiB of 300 MiB, no progress for 5m0s',
  });
  await o.clock.advance(310_000);
  await given;
});

test('where nobody knows how far a pull is it may take an hour', async () => {
  const o = setUp();
  o.content.error = new CriError('ListStatuses', 'UNIMPLEMENTED', 'unknown service');
  await o.clock.advance(50 * 60_000);
  assert.deepEqual(o.events, []);
  const given = assert.rejects(o.pulling, { message: 'pull of image "app:1" given up: no progress for 1h0m0s' });
  await o.clock.advance(10 * 60_000);
  await given;
});

const sums: Record<string, { ingests: Ingest[]; there: string[]; manifests?: LayerSize[][]; is: object | undefined }> =
  {
    'nothing is known before the manifest is here': { ingests: [], there: [], manifests: [], is: undefined },
    'an image whose layers are all there is not the one': {
      ingests: [],
      there: ['sha256:a', 'sha256:b'],
      is: undefined,
    },
    'a layer that waits for its turn counts nothing': {
      ingests: [{ digest: 'sha256:a', offset: 7, total: 0 }],
      there: [],
      is: { bytes: 7, totalBytes: 300 * MiB, fetching: true },
    },
    'between two layers something is missing': {
      ingests: [],
      there: ['sha256:a'],
      is: { bytes: 100 * MiB, totalBytes: 300 * MiB, fetching: false },
    },
    'of two manifests the one that is being fetched counts': {
      ingests: [{ digest: 'sha256:a', offset: 7, total: 0 }],
      there: [],
      manifests: [[{ digest: 'sha256:old', size: 9 }], [...layers]],
      is: { bytes: 7, totalBytes: 300 * MiB, fetching: true },
    },
  };

for (const [sentence, { ingests, there, manifests = [[...layers]], is }] of Object.entries(sums)) {
  test(sentence, () => {
    const blobs = layers.filter(({ digest }) => there.includes(digest));
    assert.deepEqual(sumUp(manifests, ingests, blobs), is);
  });
}

const texts: Record<string, [bytes: number, totalBytes: number]> = {
  '1 KiB of 2 MiB': [100, 2 * MiB],
  '120 MiB of 300 MiB': [120 * MiB, 300 * MiB],
  '300 MiB of 300 MiB, unpacking': [300 * MiB, 300 * MiB],
  '1024 MiB of 20.5 GiB': [1024 * MiB, 20.5 * 1024 * MiB],
};

for (const [text, [bytes, totalBytes]] of Object.entries(texts)) {
  test(`is written ${text}`, () => assert.equal(howFar({ bytes, totalBytes }), text));
}
