import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Exec, ExecError, notFound } from '../host/exec.ts';
import { MasqueradeRemains } from './masquerade-remains.ts';

const signal = new AbortController().signal;

function nft(answer: string | Error) {
  const commands: string[] = [];
  const exec: Exec = {
    run: async (file, args) => {
      commands.push([file, ...args].join(' '));
      if (answer instanceof Error) throw answer;
      return { stdout: answer, stderr: '' };
    },
  };
  return { commands, remains: new MasqueradeRemains({ exec }) };
}

test('the tables of the pod network are found and removed, and no other', async () => {
  const { commands, remains } = nft(
    'table ip keelson-pods\ntable ip6 keelson-pods\ntable inet keelson-pods\ntable ip nat\n',
  );
  assert.deepEqual(await remains.found(signal), ['nftables table ip keelson-pods', 'nftables table ip6 keelson-pods']);
  await remains.remove(signal);
  assert.deepEqual(commands.slice(2), ['nft delete table ip keelson-pods', 'nft delete table ip6 keelson-pods']);
});

test('where there is no nft there is no table', async () => {
  assert.deepEqual(await nft(notFound('nft')).remains.found(signal), []);
});

test('nft that may not look is an error', async () => {
  const facts = { code: 'ExecFailed', exitCode: 1, stderr: 'Operation not permitted', timedOut: false } as const;
  await assert.rejects(nft(new ExecError('nft', 'exited with status 1', facts)).remains.found(signal), /status 1/);
});
