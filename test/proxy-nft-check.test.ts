import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import type { Exec } from '../src/host/exec.ts';
import { hostExec } from '../src/host/exec.ts';
import { nftUnusable } from '../src/proxy/nftables/nft-check.ts';
import { NftRemains } from '../src/proxy/nftables/nft-remains.ts';
import { Lab } from './proxy-lab.ts';

const never = new AbortController().signal;
let lab: Lab;
let dir: string;
before(async () => {
  lab = await Lab.create();
  dir = await mkdtemp(join(tmpdir(), 'keelson-nft-'));
});
after(async () => {
  await lab?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});
afterEach(() => lab.node('nft flush ruleset'));

let programs = 0;

/** A host whose nft is this shell script; deadlines are cut short. */
async function hostWith(script: string | undefined): Promise<Exec> {
  const file = join(dir, `nft-${programs++}`);
  if (script !== undefined) {
    await writeFile(file, `#!/bin/sh\n${script}\n`);
    await chmod(file, 0o755);
  }
  return { run: (_, args, options) => hostExec.run(file, args, { ...options, timeoutMs: 300 }) };
}

test('the real nft serves, and asking leaves nothing behind', async () => {
  assert.equal(await nftUnusable(lab.exec)(never), undefined);
  assert.equal(await lab.node('nft list ruleset'), '');
});

test('a table of keelson’s that is in place does not matter, whatever is in it', async () => {
  await lab.node('nft add table ip keelson');
  await lab.node('nft add chain ip keelson prerouting { type filter hook input priority 7 ; }');
  const listed = await lab.node('nft list ruleset');
  assert.equal(await nftUnusable(lab.exec)(never), undefined);
  assert.equal(await lab.node('nft list ruleset'), listed);
});

const version = (line: string, rest = 'exit 0') => `case "$1" in --version) echo "${line}"; exit 0;; esac\n${rest}`;
const refuses = (stderr: string) => version('nftables v1.0.6', `echo "${stderr}" >&2; exit 1`);

const hosts: Record<string, { script?: string; code: string | undefined; hint?: RegExp }> = {
  'no nft at all': { code: 'NftMissing', hint: /apt-get install nftables/ },
  'an nft that is too old': {
    script: version('nftables v0.9.8 (E.D.S.)'),
    code: 'NftTooOld',
    hint: /1\.0\.1 or later/,
  },
  'the oldest nft that serves': { script: version('nftables v1.0.1'), code: undefined },
  'an nft of the far future': { script: version('nftables v17.4 (Somebody Else)'), code: undefined },
  'an nft that prints its version in another way': { script: version('{\\"version\\": 2}'), code: undefined },
  'an nft that prints nothing': { script: version(''), code: undefined },
  'an nft that may not': {
    script: 'echo "Operation not permitted (you must be root)" >&2; exit 1',
    code: 'NftDenied',
    hint: /NET_ADMIN/,
  },
  'a kernel that may not be changed': {
    script: refuses('/dev/stdin:1:1-16: Error: Could not process rule: Operation not permitted'),
    code: 'NftDenied',
  },
  'a kernel without nf_tables': {
    script: refuses('netlink: Error: cache initialization failed: Protocol not supported'),
    code: 'NftUnsupported',
    hint: /nf_tables/,
  },
  'a kernel without a chain type or expression': {
    script: refuses('/dev/stdin:9:1-16: Error: Could not process rule: No such file or directory'),
    code: 'NftUnsupported',
    hint: /nft_chain_nat/,
  },
  'an nft that does not know the grammar': {
    script: refuses('/dev/stdin:3:14-19: Error: syntax error, unexpected string'),
    code: 'NftUnsupported',
    hint: /another version/,
  },
  'an nft that hangs': { script: 'exec sleep 60', code: 'NftTimeout', hint: /nft list tables/ },
  'an nft that hangs when it asks the kernel': {
    script: version('nftables v1.0.6', 'exec sleep 60'),
    code: 'NftTimeout',
  },
};

for (const [sentence, { script, code, hint = /^/ }] of Object.entries(hosts)) {
  test(`${sentence}: ${code ?? 'serves'}`, async () => {
    const error = await nftUnusable(await hostWith(script))(never);
    assert.equal(error?.code, code);
    if (error) assert.match(error.hint ?? '', hint);
  });
}

test('who is stopped while asking is told so, not that nft is unusable', async () => {
  const stop = new AbortController();
  const asking = nftUnusable(await hostWith('exec sleep 60'))(stop.signal);
  stop.abort();
  await assert.rejects(asking, { name: 'AbortError' });
});

test('remains are our tables of both families, and nothing else goes with them', async () => {
  for (const table of ['ip keelson', 'ip6 keelson', 'ip keelson2', 'inet keelson', 'ip kube-proxy', 'ip6 filter']) {
    await lab.node(`nft add table ${table}`);
  }
  const remains = new NftRemains({ exec: lab.exec });
  assert.deepEqual(await remains.found(never), ['nftables table ip keelson', 'nftables table ip6 keelson']);
  assert.deepEqual(await remains.conflicts(never), ['nftables table ip kube-proxy']);
  await remains.remove(never);
  assert.deepEqual(await remains.found(never), []);
  const left = (await lab.node('nft list tables')).trim().split('\n').sort();
  assert.deepEqual(left, ['table inet keelson', 'table ip keelson2', 'table ip kube-proxy', 'table ip6 filter']);
  await remains.remove(never);
});

for (const [sentence, script] of Object.entries({
  'without nft': undefined,
  'without nf_tables': refuses('Protocol not supported'),
  'with an nft that prints what nobody knows': 'echo "tabelle: ip"; echo "{"; exit 0',
})) {
  test(`${sentence} nothing remains, and removing it is no error`, async () => {
    const remains = new NftRemains({ exec: await hostWith(script) });
    assert.deepEqual(await remains.found(never), []);
    assert.deepEqual(await remains.conflicts(never), []);
    await remains.remove(never);
  });
}

test('remains that may not be looked for are not said to be none', async () => {
  const remains = new NftRemains({ exec: await hostWith('echo "Operation not permitted" >&2; exit 1') });
  await assert.rejects(remains.found(never), { code: 'NftDenied' });
});
