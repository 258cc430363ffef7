import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CleanupItem, cleanupLines } from './cleanup.ts';

const nft: CleanupItem = { what: 'mode nftables', found: ['nftables table ip keelson'] };
const ipvs: CleanupItem = { what: 'mode ipvs', found: [] };
const broken: CleanupItem = { what: 'mode iptables', found: ['chain nat KUBE-SERVICES'], problem: 'the lock is held' };
const stays = ['kernel settings'];

const table: Readonly<
  Record<string, [Parameters<typeof cleanupLines>[0], { good: boolean; lines: readonly string[] }]>
> = {
  'a plan removes nothing': [
    { isPlan: true, items: [nft, ipvs], stays },
    { good: true, lines: ['to remove: nftables table ip keelson (mode nftables)', 'stays: kernel settings'] },
  ],
  'what was removed is listed': [
    { isPlan: false, items: [nft, ipvs], stays },
    { good: true, lines: ['removed: nftables table ip keelson (mode nftables)', 'stays: kernel settings'] },
  ],
  'nothing to do is said': [
    { isPlan: false, items: [ipvs], stays: [] },
    { good: true, lines: ['nothing of keelson is in the kernel'] },
  ],
  'what could not be removed is a failure, and the rest is done': [
    { isPlan: false, items: [nft, broken], stays: [] },
    {
      good: false,
      lines: [
        'removed: nftables table ip keelson (mode nftables)',
        'not removed: chain nat KUBE-SERVICES (mode iptables)',
        'mode iptables: failed: the lock is held',
      ],
    },
  ],
  'of what was removed in part it is said which part': [
    {
      isPlan: false,
      items: [{ ...broken, found: ['chain filter A', '3 chains'], left: ['2 chains'] }],
      stays: [],
    },
    {
      good: false,
      lines: [
        'removed: chain filter A (mode iptables)',
        'removed: 3 chains (mode iptables)',
        'not removed: 2 chains (mode iptables)',
        'mode iptables: failed: the lock is held',
      ],
    },
  ],
  'what could not be looked for is no more than that': [
    { isPlan: true, items: [{ ...broken, found: [] }], stays: [] },
    { good: false, lines: ['mode iptables: failed: the lock is held'] },
  ],
};
for (const [sentence, [report, text]] of Object.entries(table)) {
  test(sentence, () => assert.deepEqual(cleanupLines(report), text));
}
