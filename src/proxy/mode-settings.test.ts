import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultsOf } from '../config/keys.ts';
import { proxyKeys } from '../config/proxy-keys.ts';
import type { ProxyMode } from './backend.ts';
import { type ModeSettings, modeSettings } from './mode-settings.ts';

const defaults = defaultsOf(proxyKeys);
const sections = {
  iptables: { ...defaults.iptables, masqueradeAll: true, masqueradeBit: 1, syncPeriod: 10_000, minSyncPeriod: 100 },
  ipvs: { ...defaults.ipvs, syncPeriod: 20_000, minSyncPeriod: 200 },
  nftables: { ...defaults.nftables, masqueradeBit: 3, syncPeriod: 30_000, minSyncPeriod: 0 },
};

const cases: Readonly<Record<string, { mode: ProxyMode; settings: ModeSettings }>> = {
  'nftables has a section, and a period that is not set is none': {
    mode: 'nftables',
    settings: { masqueradeAll: false, masqueradeBit: 3, syncPeriodMs: 30_000, minSyncPeriodMs: undefined },
  },
  'iptables has a section': {
    mode: 'iptables',
    settings: { masqueradeAll: true, masqueradeBit: 1, syncPeriodMs: 10_000, minSyncPeriodMs: 100 },
  },
  'ipvs masquerades as iptables says': {
    mode: 'ipvs',
    settings: { masqueradeAll: true, masqueradeBit: 1, syncPeriodMs: 20_000, minSyncPeriodMs: 200 },
  },
  'userspace does all as iptables says': {
    mode: 'userspace',
    settings: { masqueradeAll: true, masqueradeBit: 1, syncPeriodMs: 10_000, minSyncPeriodMs: 100 },
  },
};
for (const [sentence, { mode, settings }] of Object.entries(cases)) {
  test(sentence, () => assert.deepEqual(modeSettings(mode, sections), settings));
}

test('without a word of it, changes do not wait for each other', () => {
  for (const mode of ['nftables', 'iptables', 'ipvs', 'userspace'] as const)
    assert.equal(modeSettings(mode, defaults).minSyncPeriodMs, undefined);
});
