import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { ContainerId, PodUid } from '../api/ids.ts';
import { systemClock } from '../lib/clock.ts';
import { silentLog } from '../lib/log.ts';
import type { ObservedPod } from '../pod/observed.ts';
import { PodCache } from '../pod/pod-cache.ts';
import { computeRotation, nextLookMs, rotatedName } from './compute-rotation.ts';
import { LogRotator } from './log-rotator.ts';

test('what becomes of files that were put aside', () => {
  const limits = { maxSize: 100, maxFiles: 4 };
  const table: Record<string, [Record<string, number>, readonly string[], readonly string[]]> = {
    'the latest stays as it is': [{ 'l.1': 100 }, [], []],
    'the one before is compressed': [{ 'l.1': 100, 'l.2': 100 }, [], ['l.1']],
    once: [{ 'l.1.gz': 10, 'l.2': 100, 'l.3': 100 }, [], ['l.2']],
    'the oldest go': [{ 'l.1.gz': 1, 'l.2.gz': 1, 'l.3': 100, 'l.4': 100 }, ['l.1.gz'], ['l.3']],
    'leftovers go': [{ 'l.1.tmp': 5, 'l.2': 100, 'l.2.gz': 9, 'l.3': 100 }, ['l.1.tmp', 'l.2'], []],
    'too many bytes in few files': [{ 'l.1': 50, 'l.2': 270 }, ['l.1'], []],
    'the latest stays, whatever its size': [{ 'l.1': 10, 'l.2': 1000 }, ['l.1'], []],
    none: [{}, [], []],
  };
  for (const [sentence, [files, remove, compress]] of Object.entries(table)) {
    const rotated = Object.entries(files).map(([name, bytes]) => ({ name, bytes }));
    assert.deepEqual(computeRotation(rotated, limits), { remove, compress }, sentence);
  }
  assert.deepEqual(computeRotation([{ name: 'l.1', bytes: 9 }], { maxSize: 100, maxFiles: 2 }).remove, []);
});

test('names tell the second, and no file is written over', () => {
  const now = new Date(2006, 0, 2, 15, 4, 5).getTime() + 123;
  const table: Record<string, [readonly string[], string]> = {
    'no other': [['0.log', '1.log.20060102-150405'], '0.log.20060102-150405'],
    'the second is taken': [['0.log.20060102-150405'], '0.log.20060102-150406'],
    'and the next one too': [['0.log.20060102-150405', '0.log.20060102-150406.gz'], '0.log.20060102-150407'],
    'later ones are there, and an earlier one is free': [['0.log.20060102-150407.gz'], '0.log.20060102-150408'],
    'the clock was set back': [['0.log.20110102-150405'], '0.log.20110102-150406'],
  };
  for (const [sentence, [taken, expected]] of Object.entries(table)) {
    assert.equal(rotatedName('0.log', now, taken), expected, sentence);
  }
});

test('when a log is looked at again', () => {
  const table: Record<string, [number, number, number, number | undefined]> = {
    'it did not grow: when it does': [50, 0, 1000, undefined],
    'it was rotated by another': [50, -10, 1000, undefined],
    'slowly: after the interval': [50, 1, 1000, 10_000],
    'in half the time until it is full': [50, 10, 1000, 2500],
    'fast: soon': [90, 100, 100, 200],
    'it is full already': [150, 100, 100, 200],
  };
  for (const [sentence, [size, bytes, elapsedMs, expected]] of Object.entries(table)) {
    assert.equal(nextLookMs(size, { bytes, elapsedMs }, 100, 10_000), expected, sentence);
  }
});

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'rotate-'));
  path = join(dir, 'default_p_u1', 'c', '0.log');
  mkdirSync(join(path, '..'), { recursive: true });
});
afterEach(() => rmSync(dir, { recursive: true }));

const id = 'c1' as ContainerId;
const uid = 'u1' as PodUid;
const files = () => readdirSync(join(path, '..')).sort();

function rotator(
  reopen: () => Promise<void>,
  options: { maxSize?: number } = {},
): { rotator: LogRotator; cache: PodCache } {
  const cache = new PodCache();
  const container = { id, name: 'c', attempt: 0, state: 'running' };
  cache.commit(
    uid,
    { uid, name: 'p', namespace: 'default', sandboxes: [], containers: [container] } as unknown as ObservedPod,
    1,
  );
  const made = new LogRotator({
    podLogsDir: dir,
    cache,
    runtime: { reopenContainerLog: reopen },
    maxSize: options.maxSize ?? 100,
    maxFiles: 3,
    maxWorkers: 1,
    monitorIntervalMs: 10_000,
    clock: systemClock,
    log: silentLog,
  });
  return { rotator: made, cache };
}

test('a full log is put aside, and the one before compressed', async () => {
  let opened = 0;
  const { rotator: r } = rotator(async () => writeFileSync(path, `new ${++opened}`));
  const { signal } = new AbortController();
  writeFileSync(path, 'one');
  await r.rotate(id, path, signal);
  await r.rotate(id, path, signal);
  const [log, first = '', second = ''] = files();
  assert.equal(log, '0.log');
  assert.match(first, /^0\.log\.\d{8}-\d{6}\.gz$/);
  assert.match(second, /^0\.log\.\d{8}-\d{6}$/);
  assert.equal(gunzipSync(readFileSync(join(path, '..', first))).toString(), 'one');
  assert.equal(readFileSync(join(path, '..', second), 'utf8'), 'new 1');
  await r.rotate(id, path, signal);
  assert.equal(files().length, 3);
  assert.equal(readFileSync(path, 'utf8'), 'new 3');
});

test('a runtime that does not open a new one gets the old one back', async () => {
  const { rotator: r } = rotator(() => Promise.reject(new Error('no')));
  writeFileSync(path, 'one');
  await assert.rejects(r.rotate(id, path, new AbortController().signal), /no/);
  assert.deepEqual(files(), ['0.log']);
});

test('what cannot be compressed does not keep a log from being rotated', async () => {
  const { rotator: r } = rotator(async () => writeFileSync(path, 'new'));
  writeFileSync(path, 'one');
  const before = join(path, '..', '0.log.20060102-150405');
  // Read as a file, it fails.
  mkdirSync(before);
  await r.rotate(id, path, new AbortController().signal);
  assert.equal(readFileSync(path, 'utf8'), 'new');
});

test('a log that grows is rotated by itself, and one of a container that has ended is left alone', async () => {
  const reopened = Promise.withResolvers<void>();
  const { rotator: r, cache } = rotator(async () => {
    writeFileSync(path, '');
    reopened.resolve();
  });
  writeFileSync(path, 'small');
  const abort = new AbortController();
  const running = r.run(abort.signal);
  writeFileSync(path, 'x'.repeat(200));
  await reopened.promise;
  cache.commit(uid, undefined, 2);
  r.podChanged(uid);
  abort.abort();
  await running;
  assert.ok(existsSync(path));
});
