import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { type Exec, notFound } from '../host/exec.ts';
import { answerText } from './answer.ts';
import { HttpError } from './endpoint.ts';
import { journalArguments, readNodeLogQuery } from './node-log-query.ts';
import { Router } from './router.ts';
import { rangeOf } from './static-files.ts';
import { systemLogs } from './system-logs.ts';

let root: string;
let server: Server;
const asked: (readonly string[])[] = [];
/** What the journal has units of; undefined where there is no journal. */
let units: string | undefined = 'ssh.service\nkubelet.service\n';

before(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'system-logs-'));
  root = join(folder, 'log');
  mkdirSync(join(root, 'pods', 'a b&c'), { recursive: true });
  writeFileSync(join(root, 'syslog'), 'one\ntwo\n');
  writeFileSync(join(root, 'app.log'), 'words of app\n');
  writeFileSync(join(root, 'wtmp'), Buffer.from([0, 1, 2]));
  writeFileSync(join(folder, 'secret'), 'secret');
  utimesSync(join(root, 'syslog'), 1_700_000_000, 1_700_000_000);
  symlinkSync('syslog', join(root, 'inside'));
  symlinkSync('../secret', join(root, 'outside'));
  const exec: Exec = {
    run: async () => {
      if (units === undefined) throw notFound('journalctl');
      return { stdout: units, stderr: '' };
    },
  };
  async function* output(_file: string, args: readonly string[]) {
    asked.push(args);
    yield Buffer.from('from the journal\n');
  }
  const router = new Router(systemLogs({ root, enabled: true, queries: true, exec, output }));
  server = createServer(async (raw, response) => {
    const url = new URL(raw.url ?? '/', 'http://node');
    const [match] = router.matches(url.pathname);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const user = { username: 'u', groups: [] };
    try {
      await match?.endpoint.handle?.({ raw, url, params: match.params, user, signal: gone.signal }, response);
    } catch (error) {
      assert.ok(error instanceof HttpError, String(error));
      answerText(response, error.status, error.message);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => {
  server.close();
  rmSync(join(root, '..'), { recursive: true });
});

async function ask(path: string, headers: Record<string, string> = {}) {
  const { get } = await import('node:http');
  const { port } = server.address() as AddressInfo;
  return new Promise<{ status: number; body: Buffer; headers: IncomingHttpHeaders }>((resolve, reject) => {
    get({ port, path, headers, agent: false }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks), headers: response.headers });
    }).once('error', reject);
  });
}

test('files and folders below the folder of logs, and nothing else', async () => {
  const table: Record<string, [number, string | RegExp]> = {
    '/logs/syslog': [200, 'one\ntwo\n'],
    '/logs/inside': [200, 'one\ntwo\n'],
    '/logs/outside': [403, '403 Forbidden\n'],
    '/logs/nobody': [404, '404 page not found\n'],
    '/logs/syslog/x': [404, '404 page not found\n'],
    '/logs/..%2fsecret': [404, '404 page not found\n'],
    '/logs/%2e%2e%2f%2e%2e%2fetc%2fpasswd': [404, '404 page not found\n'],
    '/logs/a%00b': [404, '404 page not found\n'],
    '/logs': [404, '404 page not found\n'],
    '/logs/pods': [301, ''],
    '/logs/syslog/': [301, ''],
    '/logs/pods/': [200, /<a href="a%20b%26c\/">a b&amp;c\/<\/a>/],
    '/logs/': [200, /^<!doctype html>\n.*\n<pre>\n<a href="app\.log">app\.log<\/a>\n.*<a href="pods\/">pods\/<\/a>/s],
  };
  for (const [path, [status, body]] of Object.entries(table)) {
    const answer = await ask(path);
    assert.equal(answer.status, status, path);
    if (typeof body === 'string') assert.equal(answer.body.toString(), body, path);
    else assert.match(answer.body.toString(), body, path);
  }
  assert.equal((await ask('/logs/pods')).headers.location, 'pods/');
  assert.equal((await ask('/logs/syslog/')).headers.location, '../syslog');
});

test('a file in part, and one that is known already', async () => {
  const part = await ask('/logs/syslog', { range: 'bytes=4-' });
  assert.deepEqual([part.status, part.body.toString(), part.headers['content-range']], [206, 'two\n', 'bytes 4-7/8']);
  const none = await ask('/logs/syslog', { range: 'bytes=8-' });
  assert.deepEqual([none.status, none.headers['content-range']], [416, 'bytes */8']);
  const known = await ask('/logs/syslog', { 'if-modified-since': new Date(1_700_000_000_000).toUTCString() });
  assert.equal(known.status, 304);
  assert.equal((await ask('/logs/syslog')).headers['content-type'], 'text/plain; charset=utf-8');
  assert.equal((await ask('/logs/wtmp')).headers['content-type'], 'application/octet-stream');
});

test('ranges', () => {
  const table: Record<string, ReturnType<typeof rangeOf>> = {
    'bytes=0-0': [0, 1],
    'bytes=0-99': [0, 10],
    'bytes=-3': [7, 10],
    'bytes=-99': [0, 10],
    'bytes=-0': 'none of it',
    'bytes=10-': 'none of it',
    'bytes=5-4': undefined,
    'bytes=0-1,3-4': undefined,
    'lines=1-2': undefined,
    'bytes=-': undefined,
  };
  for (const [header, expected] of Object.entries(table)) assert.deepEqual(rangeOf(header, 10), expected, header);
});

test('services: from the journal, from files, compressed for whoever asks', async () => {
  assert.equal((await ask('/logs/?query=kubelet&tailLines=5')).body.toString(), 'from the journal\n');
  assert.deepEqual(asked.at(-1)?.slice(-3), ['--pager-end', '--lines=5', '--unit=kubelet']);
  assert.equal((await ask('/logs/?query=app')).body.toString(), 'words of app\n');
  assert.equal((await ask('/logs/?query=kubelet&query=app')).body.toString(), 'from the journal\nwords of app\n');
  assert.equal((await ask('/logs/?query=nobody')).body.toString(), '\nlog not found for nobody\n');
  assert.match(
    (await ask('/logs/?query=app&tailLines=1')).body.toString(),
    /options present and query resolved to log files/,
  );
  const packed = await ask('/logs/?query=kubelet', { 'accept-encoding': 'gzip' });
  assert.equal(gunzipSync(packed.body).toString(), 'from the journal\n');
  assert.equal((await ask('/logs/?query=/syslog')).body.toString(), 'one\ntwo\n');
  assert.equal((await ask('/logs/?query=/nobody')).status, 406);
  assert.equal((await ask('/logs/syslog?query=kubelet')).status, 406);
  units = undefined;
  assert.equal((await ask('/logs/?query=app')).body.toString(), 'words of app\n');
  assert.equal((await ask('/logs/?query=kubelet')).body.toString(), '\nlog not found for kubelet\n');
});

test('queries that cannot be read, and such as make no sense', () => {
  const table: Record<string, [number, string]> = {
    'query=': [400, 'query: Invalid value: []string{""}: query cannot be empty'],
    'query=%20': [400, 'query: Invalid value: []string{" "}: query cannot be empty'],
    'query=a&sinceTime=x': [400, 'sinceTime: Invalid value: "x": invalid time format'],
    'query=a&boot=x': [400, 'boot: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax'],
    'query=a&tailLines=1.5&boot=x': [
      400,
      '[boot: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax, tailLines: Invalid value: "1.5": strconv.Atoi: parsing "1.5": invalid syntax]',
    ],
    'tailLines=5': [406, 'query: Required value: cannot be empty with options'],
    'query=a%3Brm': [406, 'query: Invalid value: "a;rm": input contains unsupported characters'],
    'query=a&query=b&query=c&query=d&query=e': [406, 'query: Too many: 5: must have at most 4 items'],
    'query=a&query=/b': [406, 'query: Invalid value: "[/b], [a]": cannot specify a file and service'],
    'query=/a&query=/b': [406, 'query: Invalid value: []string{"/a", "/b"}: cannot specify more than one file'],
    'query=/a&tailLines=1': [406, 'query: Invalid value: []string{"/a"}: cannot specify file with options'],
    'query=a&boot=1': [406, 'boot: Invalid value: 1: must be less than 1'],
    'query=a&tailLines=100001': [406, 'tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive'],
    'query=a&pattern=(': [406, 'pattern: Invalid value: "(": error parsing regexp: `(`'],
    'query=a&sinceTime=2026-01-02T00:00:00Z&untilTime=2026-01-01T00:00:00Z': [
      406,
      'untilTime: Invalid value: 2026-01-01 00:00:00 +0000 UTC: must be after `sinceTime`',
    ],
  };
  for (const [query, [status, message]] of Object.entries(table)) {
    assert.deepEqual(readNodeLogQuery(new URLSearchParams(query)), { status, message }, query);
  }
  assert.equal(readNodeLogQuery(new URLSearchParams('')), undefined);
});

test('what the journal is asked', () => {
  const query =
    'query=a&query=b@1&sinceTime=2026-01-02T03:04:05%2B01:00&untilTime=2026-01-03T00:00:00Z&boot=-1&pattern=x.*y';
  const read = readNodeLogQuery(new URLSearchParams(query));
  assert.ok(read && 'services' in read);
  assert.deepEqual(journalArguments(read.services, read.options), [
    '--utc',
    '--no-pager',
    '--output=short-precise',
    '--since=2026-01-02 02:04:05',
    '--until=2026-01-03 00:00:00',
    '--unit=a',
    '--unit=b@1',
    '--grep=x.*y',
    '--boot',
    '-1',
  ]);
});
