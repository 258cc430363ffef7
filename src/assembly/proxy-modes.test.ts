import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Exec, ExecError, notFound } from '../host/exec.ts';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import type { ProxyMode } from '../proxy/backend.ts';
import { carriedFamilies } from './proxy-modes.ts';

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'proc-'));
  for (const [name, disabled] of [
    ['with', '0'],
    ['switched-off', '1'],
  ] as const) {
    await mkdir(join(folder, name, 'net'), { recursive: true });
    await mkdir(join(folder, name, 'sys/net/ipv6/conf/all'), { recursive: true });
    await writeFile(join(folder, name, 'net/if_inet6'), '');
    await writeFile(join(folder, name, 'sys/net/ipv6/conf/all/disable_ipv6'), `${disabled}\n`);
  }
});
after(() => rm(folder, { recursive: true }));

const refused = new ExecError('ip6tables-save', 'exited with status 3: can’t initialize ip6tables table `nat’', {
  ...{ code: 'ExecFailed', exitCode: 3, stderr: '', timedOut: false },
});

const cases: Readonly<
  Record<string, { proc: string; mode: ProxyMode; error?: Error; families: readonly string[]; hint?: RegExp }>
> = {
  'both families': { proc: 'with', mode: 'iptables', families: ['IPv4', 'IPv6'] },
  'nftables needs no program for IPv6': {
    ...{ proc: 'with', mode: 'nftables', error: notFound('ip6tables-save'), families: ['IPv4', 'IPv6'] },
  },
  'a kernel without IPv6 is not tried': { proc: 'without', mode: 'nftables', families: ['IPv4'] },
  'IPv6 that is switched off is not tried': { proc: 'switched-off', mode: 'iptables', families: ['IPv4'] },
  'without ip6tables IPv4 is carried alone, which is said': {
    ...{
      proc: 'with',
      mode: 'ipvs',
      error: notFound('ip6tables-save'),
      families: ['IPv4'],
      hint: /apt-get install iptables/,
    },
  },
  'without tables for IPv6 too': {
    ...{ proc: 'with', mode: 'userspace', error: refused, families: ['IPv4'], hint: /modprobe ip6table_nat/ },
  },
};

for (const [sentence, { proc, mode, error, families, hint }] of Object.entries(cases)) {
  test(sentence, async () => {
    const exec: Exec = {
      run: async () => {
        if (error) throw error;
        return { stdout: '', stderr: '' };
      },
    };
    const hints: string[] = [];
    const log: Log = { ...silentLog, warn: (fields) => void hints.push((fields as { hint: string }).hint) };
    const procDir = join(folder, proc);
    assert.deepEqual(await carriedFamilies(mode, { exec, log, procDir }, new AbortController().signal), families);
    assert.equal(hints.length, hint ? 1 : 0);
    if (hint) assert.match(hints[0] ?? '', hint);
  });
}
