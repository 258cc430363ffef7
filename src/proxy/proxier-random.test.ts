import { test } from 'node:test';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import type { RandomRig } from '../testing/random-services.ts';
import { checkLeaks, checkSequence } from '../testing/random-services.ts';
import { FakeNft } from './nftables/fake-nft.ts';
import { NftBackend } from './nftables/nft-backend.ts';
import { Proxier } from './proxier.ts';
import type { IpFamily } from './read-service.ts';

/**
 * Any sequence of changes of any field, with failures between, ends in the table that a fresh start makes, and nobody
 * is kept with an endpoint that is gone.
 */

const ranges = { IPv4: '10.244.0.0/16', IPv6: 'fd00::af4:0/112' };
const client = { IPv4: '192.0.2.77', IPv6: 'fd00:c::77' };

function newRig(family: IpFamily, maxWrites?: number): RandomRig {
  const exec = new FakeNft();
  const settings = { exec, clock: new FakeClock(), log: silentLog, nodeName: 'here', masqueradeAll: false };
  return {
    start: () => {
      const backend = new NftBackend({ exec, log: silentLog, ...(maxWrites === undefined ? {} : { maxWrites }) });
      return new Proxier({ ...settings, backend, family, clusterCidrs: [ranges[family]], masqueradeBit: 14 });
    },
    failNext: (random) => exec.failNext('Error: interrupted', random(2) === 0),
    dump: () => {
      const dump = exec.dump();
      const endpoints = new Set(Array.from(dump.matchAll(/ offset (\d+) /g), ([, number]) => number));
      return (
        dump
          // Which endpoint has which slot depends on what was before,
          .replaceAll(/^( {4}(?:\S+ \. )?\d+ \. )\d+ : (\S+ \. \d+)$/gm, '$1* : $2')
          .split('\n')
          // and who is noted on who came.
          .filter((line) => !endpoints.has(line.split(`    ${client[family]} . `)[1]))
      );
    },
    pass: async () => {
      exec.scripts.length = 0;
      exec.noteEverywhere(client[family]);
    },
  };
}

for (const family of ['IPv4', 'IPv6'] as const) {
  for (let seed = 1; seed <= 25; seed++) {
    test(`${family}: sequence ${seed} ends as a fresh start does`, async () => {
      // Every other one with transactions of a few elements, between which it may be killed.
      await checkSequence(seed, () => newRig(family, seed % 2 === 0 ? 5 : undefined), family);
    });
  }
}

test('10,000 changes leak nothing: no chain, set or element, and no memory', () =>
  checkLeaks(() => newRig('IPv4'), 10_000));
