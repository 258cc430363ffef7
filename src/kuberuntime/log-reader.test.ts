import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { readLog } from './log-reader.ts';
import type { LogOptions } from './log-renderer.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'logs-'));
  path = join(dir, '0.log');
});
afterEach(() => rmSync(dir, { recursive: true }));

const line = (words: string, tag = 'F') => `2016-10-06T00:17:09.669794202Z stdout ${tag} ${words}\n`;

/** A reader of the log at `path`, with a container that lives until `end`. */
function reading(options: Partial<LogOptions> = {}) {
  const abort = new AbortController();
  let alive = true;
  let wakes: (() => void)[] = [];
  let text = '';
  let heard = Promise.withResolvers<void>();
  const done = readLog({
    source: {
      path,
      alive: () => alive,
      onChange: (wake) => {
        wakes.push(wake);
        return { [Symbol.dispose]: () => (wakes = wakes.filter((w) => w !== wake)) };
      },
    },
    options: { follow: false, timestamps: false, stream: 'All', ...options },
    write: async (bytes) => {
      text += bytes.toString('utf8');
      heard.resolve();
    },
    clock: systemClock,
    signal: abort.signal,
  });
  done.catch(() => {});
  return {
    done,
    abort,
    text: () => text,
    subscribers: () => wakes.length,
    end: () => {
      alive = false;
      for (const wake of wakes) wake();
    },
    /** Resolves when the text ends so. */
    until: async (ending: string) => {
      while (!text.endsWith(ending)) {
        heard = Promise.withResolvers();
        if (text.endsWith(ending)) break;
        await heard.promise;
      }
    },
  };
}

const openFiles = () => readdirSync('/proc/self/fd').length;

test('a log is read to its end, and its tail from there', async () => {
  writeFileSync(path, line('one') + line('two', 'P') + line('more') + line('three'));
  const all = reading();
  await all.done;
  assert.equal(all.text(), 'one\ntwomore\nthree\n');
  const tail = reading({ tailLines: 1 });
  await tail.done;
  assert.equal(tail.text(), 'three\n');
});

test('lines far longer than any buffer pass', async () => {
  const long = 'x'.repeat(1_000_000);
  writeFileSync(path, line(long) + line(long, 'P') + line('end'));
  const all = reading();
  await all.done;
  assert.equal(all.text(), `${long}\n${long}end\n`);
});

test('a follower hears of lines as they come, until the container has ended', async () => {
  writeFileSync(path, line('one'));
  const follower = reading({ follow: true });
  await follower.until('one\n');
  appendFileSync(path, line('two'));
  await follower.until('two\n');
  appendFileSync(path, '2016-10-06T00:17:09Z stdout F half');
  appendFileSync(path, ' and half\n');
  await follower.until('half and half\n');
  appendFileSync(path, line('last'));
  follower.end();
  await follower.done;
  assert.equal(follower.text(), 'one\ntwo\nhalf and half\nlast\n');
  assert.equal(follower.subscribers(), 0);
});

test('followed from the tail, only that and what comes', async () => {
  writeFileSync(path, line('zero') + line('one'));
  const follower = reading({ follow: true, tailLines: 1 });
  await follower.until('one\n');
  appendFileSync(path, line('two'));
  await follower.until('two\n');
  follower.end();
  await follower.done;
  assert.equal(follower.text(), 'one\ntwo\n');
});

test('a follower finishes a rotated file before it goes on with the new one, and misses none', async () => {
  writeFileSync(path, line('one'));
  const follower = reading({ follow: true });
  await follower.until('one\n');
  const old = await open(path, 'a');
  renameSync(path, `${path}.20060102-150405`);
  writeFileSync(path, line('three'));
  // What the runtime still had in hand.
  await old.write(line('two'));
  await old.close();
  await follower.until('three\n');
  // Two rotations in a row, and the file between them is compressed away.
  renameSync(path, `${path}.20060102-150406`);
  writeFileSync(path, line('four'));
  await follower.until('four\n');
  follower.end();
  await follower.done;
  assert.equal(follower.text(), 'one\ntwo\nthree\nfour\n');
});

test('a log that is made empty is followed from its new beginning', async () => {
  writeFileSync(path, line('one') + line('two'));
  const follower = reading({ follow: true });
  await follower.until('two\n');
  truncateSync(path, 0);
  appendFileSync(path, line('new'));
  await follower.until('new\n');
  follower.abort.abort();
  await assert.rejects(follower.done);
});

test('a log that is removed while it is followed goes on in the file that takes its place', async () => {
  writeFileSync(path, line('one'));
  const follower = reading({ follow: true });
  await follower.until('one\n');
  rmSync(path);
  writeFileSync(path, line('two'));
  await follower.until('two\n');
  follower.end();
  await follower.done;
});

test('a log that is not there, and one that is none', async () => {
  await assert.rejects(reading().done, {
    message: `failed to try resolving symlinks in path "${path}": lstat ${path}: no such file or directory`,
  });
  writeFileSync(path, 'garbage\n');
  await assert.rejects(reading({ follow: true }).done, /unsupported log format: "garbage\\n"/);
});

test('a pipe in the place of a log holds nobody', { timeout: 10_000 }, async () => {
  execFileSync('mkfifo', [path]);
  await assert.rejects(reading().done, { code: 'LogUnreadable', message: /^failed to open log file ".*0\.log"$/ });
  rmSync(path);
  writeFileSync(path, line('one'));
  const { done, until, end, text } = reading({ follow: true });
  await until('one\n');
  rmSync(path);
  execFileSync('mkfifo', [path]);
  end();
  await done;
  assert.equal(text(), 'one\n');
});

test('followers that go leave nothing open', async () => {
  writeFileSync(path, line('one'));
  const warm = reading({ follow: true });
  await warm.until('one\n');
  warm.abort.abort();
  await assert.rejects(warm.done);
  const before = openFiles();
  for (let i = 0; i < 20; i++) {
    const followers = Array.from({ length: 10 }, () => reading({ follow: true }));
    await Promise.all(followers.map((f) => f.until('one\n')));
    for (const f of followers) f.abort.abort();
    await Promise.allSettled(followers.map((f) => f.done));
    assert.deepEqual(
      followers.map((f) => f.subscribers()),
      Array(10).fill(0),
    );
  }
  assert.ok(openFiles() <= before, `${openFiles()} open files, ${before} before`);
});
