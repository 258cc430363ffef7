import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isProgramMissing } from './exec.ts';
import { programOutput } from './program-output.ts';

const { signal } = new AbortController();

async function all(output: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const chunk of output) text += chunk.toString();
  return text;
}

test('both outputs as they come, however the program ends', async () => {
  assert.equal(
    await all(programOutput('sh', ['-c', 'echo out; echo err >&2; exit 3'], { signal, timeoutMs: 10_000 })),
    'out\nerr\n',
  );
});

test('a program that is not there', async () => {
  await assert.rejects(all(programOutput('no-such-program', [], { signal, timeoutMs: 10_000 })), isProgramMissing);
});

test('a program that goes on is stopped when nobody listens, and by its signal', async () => {
  for await (const chunk of programOutput('yes', [], { signal, timeoutMs: 60_000 })) {
    assert.ok(chunk.length > 0);
    break;
  }
  const abort = new AbortController();
  const output = programOutput('sh', ['-c', 'echo here; exec sleep 600'], { signal: abort.signal, timeoutMs: 60_000 });
  assert.equal((await output.next()).value?.toString(), 'here\n');
  abort.abort();
  assert.equal((await output.next().catch(() => ({ done: true }))).done, true);
});
