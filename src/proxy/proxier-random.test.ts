import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import type { RandomRig } from '../testing/random-services.ts';
import { checkLeaks, checkSequence } from '../testing/random-services.ts';
import { FakeNft } from './nftables/fake-nft.ts';
import { Proxier } from './proxier.ts';

/** Any sequence of changes of any field, with failures between, ends in the table that a fresh start makes. */

function newRig(): RandomRig {
  const exec = new FakeNft();
  const settings = { exec, clock: new FakeClock(), log: silentLog, nodeName: 'here', masqueradeAll: false };
  return {
    start: () => new Proxier({ ...settings, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14 }),
    failNext: (random) => exec.failNext('Error: interrupted', random(2) === 0),
    // Which endpoint has which slot depends on what was before.
    dump: () =>
      exec
        .dump()
        .replaceAll(/^( {4}(?:\S+ \. )?\d+ \. )\d+ : (\S+ \. \d+)$/gm, '$1* : $2')
        .split('\n'),
    pass: async () => {
      exec.scripts.length = 0;
    },
  };
}

for (let seed = 1; seed <= 25; seed++) {
  test(`sequence ${seed} ends as a fresh start does`, async () => {
    await checkSequence(seed, newRig);
  });
}

test('10,000 changes leak nothing: no chain, set or element, and no memory', () => checkLeaks(newRig, 10_000));
