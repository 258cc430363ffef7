import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempDisposable, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { followProgram, lineSplitter } from './follow-program.ts';

const never = new AbortController().signal;

for (const [sentence, pieces, lines] of [
  ['lines in one piece', ['a\nb\n'], ['a', 'b']],
  ['a line in several pieces', ['a', 'b', 'c\nd', '\n'], ['abc', 'd']],
  ['a last line without its end', ['a\nb'], ['a', 'b']],
  ['empty lines', ['\n\na\n'], ['', '', 'a']],
  ['a line without end', ['x'.repeat(5_000), 'x'.repeat(5_000), '\nnext\n'], ['x'.repeat(4_096), 'next']],
] as const) {
  test(`told line by line: ${sentence}`, () => {
    const told: string[] = [];
    const splitter = lineSplitter((line) => told.push(line));
    for (const piece of pieces) splitter.take(piece);
    splitter.end();
    assert.deepEqual(told, lines);
  });
}

test('a program is heard while it runs, and ended with the signal', async () => {
  const stop = new AbortController();
  const heard = Promise.withResolvers<string>();
  const script = 'trap "exit 7" TERM; echo ready; while :; do sleep 0.05; done';
  const following = followProgram('sh', ['-c', script], { signal: stop.signal, onLine: heard.resolve });
  assert.equal(await heard.promise, 'ready');
  stop.abort();
  await following;
});

test('one that does not mind SIGTERM is killed', async () => {
  const stop = new AbortController();
  const heard = Promise.withResolvers<string>();
  const script = 'trap "" TERM; echo ready; while :; do sleep 0.05; done';
  const following = followProgram('sh', ['-c', script], { signal: stop.signal, onLine: heard.resolve });
  await heard.promise;
  stop.abort();
  await following;
});

test('an end that nobody asked for is an error with what it said', async () => {
  const options = { signal: never, onLine: () => {} };
  await assert.rejects(followProgram('sh', ['-c', 'echo why >&2; exit 3'], options), {
    code: 'ExecFailed',
    exitCode: 3,
    stderr: 'why\n',
  });
  await assert.rejects(followProgram('sh', ['-c', 'exit 0'], options), { code: 'ExecFailed', exitCode: 0 });
  await assert.rejects(followProgram('sh', ['-c', 'kill -9 $$'], options), { message: /ended by SIGKILL/ });
  await assert.rejects(followProgram('/nowhere/nothing', [], options), { code: 'ExecNotFound' });
});

test('what is followed ends with who follows it, though that is killed', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'keelson-follow-'));
  const held = join(dir.path, 'held');
  await promisify(execFile)('mkfifo', [held]);
  const script = `import { followProgram } from '${import.meta.resolve('./follow-program.ts')}';
    const onLine = () => process.kill(process.pid, 'SIGKILL');
    const args = ['-c', 'exec 3> "$0"; echo ready; exec sleep 600', '${held}'];
    await followProgram('sh', args, { signal: new AbortController().signal, onLine });`;
  const follower = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' });
  const [ended] = await Promise.all([once(follower, 'close'), readFile(held)]);
  assert.deepEqual(ended, [null, 'SIGKILL']);
});

test('with the signal aborted before, nothing is started', async () => {
  await followProgram('/nowhere/nothing', [], { signal: AbortSignal.abort(), onLine: () => {} });
});
