import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAbort } from '../lib/errors.ts';
import { ExecError, hostExec, isProgramMissing } from './exec.ts';

const never = new AbortController().signal;
const options = { signal: never, timeoutMs: 10_000 };

const failure = async (run: Promise<unknown>): Promise<ExecError> => {
  const error = await run.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(error instanceof ExecError, `expected an ExecError, got ${error}`);
  return error;
};

test('output comes back unchanged, input and environment go in', async () => {
  const result = await hostExec.run('sh', ['-c', 'cat; echo "$WORD"; echo oops >&2'], {
    ...options,
    input: 'in\n',
    env: { WORD: 'w' },
  });
  assert.deepEqual(result, { stdout: 'in\nw\n', stderr: 'oops\n' });
});

test('stdin is empty when there is no input', async () => {
  assert.equal((await hostExec.run('cat', [], options)).stdout, '');
});

test('a non-zero exit carries status and stderr', async () => {
  const error = await failure(hostExec.run('sh', ['-c', 'echo no such chain >&2; exit 3'], options));
  assert.equal(error.code, 'ExecFailed');
  assert.equal(error.exitCode, 3);
  assert.equal(error.stderr, 'no such chain\n');
  assert.equal(error.message, 'sh: exited with status 3: no such chain');
});

test('a program killed by a signal says which', async () => {
  const error = await failure(hostExec.run('sh', ['-c', 'kill -9 $$'], options));
  assert.equal(error.exitCode, undefined);
  assert.match(error.message, /SIGKILL/);
});

test('a missing program says which package brings it', async () => {
  const env = process.env['PATH'];
  process.env['PATH'] = '/nonexistent';
  try {
    const error = await failure(hostExec.run('nft', ['-v'], options));
    assert.ok(isProgramMissing(error));
    assert.equal(error.hint, 'install it: apt-get install nftables');
  } finally {
    process.env['PATH'] = env;
  }
});

test('the deadline ends a program that hangs', async () => {
  const error = await failure(hostExec.run('sleep', ['60'], { signal: never, timeoutMs: 50 }));
  assert.equal(error.code, 'ExecTimeout');
  assert.ok(error.timedOut && error.retryable);
});

test('the deadline holds also when a grandchild keeps the output open', async () => {
  const script = 'sleep 60 & echo $! >&3; exit 0';
  const dir = await mkdtemp(join(tmpdir(), 'keelson-exec-'));
  const pidFile = join(dir, 'pid');
  try {
    const run = hostExec.run('sh', ['-c', `exec 3>${pidFile}; ${script}`], { signal: never, timeoutMs: 50 });
    assert.equal((await failure(run)).code, 'ExecTimeout');
  } finally {
    process.kill(Number(await readFile(pidFile, 'utf8')), 'SIGKILL');
    await rm(dir, { recursive: true });
  }
});

test('too much output ends the program', async () => {
  const error = await failure(hostExec.run('yes', [], { ...options, maxOutputBytes: 1000 }));
  assert.equal(error.code, 'ExecOutputTooLarge');
});

test('an abort is an abort, not a failure of the program', async () => {
  const controller = new AbortController();
  const run = hostExec.run('sleep', ['60'], { signal: controller.signal, timeoutMs: 60_000 });
  controller.abort();
  await assert.rejects(run, isAbort);
});
