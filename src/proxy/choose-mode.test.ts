import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentError } from '../lib/errors.ts';
import type { ProxyMode } from './backend.ts';
import { candidateModes, decideMode, hasIpv6 } from './choose-mode.ts';

const all: readonly ProxyMode[] = ['nftables', 'iptables', 'userspace'];
const bad = (mode: ProxyMode) => new AgentError('Unusable', `no ${mode} here`, { hint: 'install it' });

const cases: Readonly<
  Record<
    string,
    {
      wanted: ProxyMode | '';
      fallbacks?: readonly ProxyMode[];
      unusable?: readonly ProxyMode[];
      chosen: ProxyMode;
      refused?: readonly ProxyMode[];
      hopeless?: true;
    }
  >
> = {
  'nothing is asked for: nftables': { wanted: '', chosen: 'nftables' },
  'a kernel without nftables: iptables': {
    ...{ wanted: '', unusable: ['nftables'], chosen: 'iptables', refused: ['nftables'] },
  },
  'neither: userspace': {
    ...{ wanted: '', unusable: ['nftables', 'iptables'], chosen: 'userspace', refused: ['nftables', 'iptables'] },
  },
  'our own choice does not depend on the fallbacks': {
    ...{ wanted: '', fallbacks: [], unusable: ['nftables'], chosen: 'iptables', refused: ['nftables'] },
  },
  'nothing works: nftables, tried on': {
    ...{ wanted: '', unusable: all, chosen: 'nftables', refused: all, hopeless: true },
  },
  'what is asked for and works is taken': { wanted: 'iptables', chosen: 'iptables' },
  'ipvs is taken when it is asked for': { wanted: 'ipvs', chosen: 'ipvs' },
  'ipvs that cannot work falls back to the first that can': {
    ...{ wanted: 'ipvs', unusable: ['ipvs'], chosen: 'nftables', refused: ['ipvs'] },
  },
  'the fallbacks are tried in the order given': {
    ...{ wanted: 'ipvs', fallbacks: ['userspace', 'nftables'], unusable: ['ipvs'] },
    ...{ chosen: 'userspace', refused: ['ipvs'] },
  },
  'a fallback that cannot work either is passed over': {
    ...{ wanted: 'nftables', unusable: ['nftables'], chosen: 'iptables', refused: ['nftables'] },
  },
  'no fallback: what was asked for is tried on': {
    ...{ wanted: 'ipvs', fallbacks: [], unusable: ['ipvs'], chosen: 'ipvs', refused: ['ipvs'], hopeless: true },
  },
  'no fallback works: what was asked for is tried on': {
    ...{ wanted: 'ipvs', fallbacks: ['iptables'], unusable: ['ipvs', 'iptables'] },
    ...{ chosen: 'ipvs', refused: ['ipvs', 'iptables'], hopeless: true },
  },
};

for (const [
  sentence,
  { wanted, fallbacks = all, unusable = [], chosen, refused = [], hopeless = false },
] of Object.entries(cases)) {
  test(sentence, () => {
    const candidates = candidateModes(wanted, fallbacks);
    const verdicts = new Map(candidates.map((mode) => [mode, unusable.includes(mode) ? bad(mode) : undefined]));
    const decision = decideMode(candidates, verdicts);
    assert.equal(decision.mode, chosen);
    assert.deepEqual(
      decision.refused.map(({ mode }) => mode),
      refused,
    );
    assert.equal(decision.hopeless, hopeless);
  });
}

test('a mode nobody has looked at yet is not taken', () => {
  assert.equal(decideMode(all, new Map([['iptables', undefined]])).mode, 'iptables');
});

const lo = '00000000000000000000000000000001 01 80 10 80       lo\n';
const families: Readonly<Record<string, { facts: Parameters<typeof hasIpv6>[0]; has: boolean }>> = {
  'a kernel without IPv6': { facts: { inet6Addresses: undefined, disableIpv6: undefined }, has: false },
  'IPv6 with addresses': { facts: { inet6Addresses: lo, disableIpv6: '0\n' }, has: true },
  'IPv6 without an address yet': { facts: { inet6Addresses: '', disableIpv6: '0\n' }, has: true },
  'IPv6 switched off': { facts: { inet6Addresses: '', disableIpv6: '1\n' }, has: false },
  'IPv6 switched off but for one interface': { facts: { inet6Addresses: lo, disableIpv6: '1\n' }, has: true },
  'a switch that cannot be read': { facts: { inet6Addresses: '', disableIpv6: undefined }, has: true },
};
for (const [sentence, { facts, has }] of Object.entries(families)) {
  test(`${sentence}: ${has ? 'carried' : 'not tried'}`, () => assert.equal(hasIpv6(facts), has));
}
