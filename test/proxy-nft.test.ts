import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Exec } from '../src/host/exec.ts';
import { NftTable } from '../src/proxy/nftables/apply.ts';
import type { DesiredFrontend, Proto } from '../src/proxy/nftables/compile.ts';
import { frontendElement } from '../src/proxy/nftables/compile.ts';
import { commit, planTransactions } from '../src/proxy/nftables/diff.ts';
import { FakeNft } from '../src/proxy/nftables/fake-nft.ts';
import { nftVersion } from '../src/proxy/nftables/nft-program.ts';
import type { RulesetOptions } from '../src/proxy/nftables/ruleset.ts';
import { ownChains } from '../src/proxy/nftables/ruleset.ts';
import type { TableState } from '../src/proxy/nftables/table-state.ts';
import { emptyState } from '../src/proxy/nftables/table-state.ts';
import { Lab } from './proxy-lab.ts';

const never = new AbortController().signal;
const options: RulesetOptions = {
  family: 'ip',
  table: 'keelson',
  masqueradeAll: false,
  local: { cidrs: ['10.244.0.0/16'] },
  nodePortAddresses: [],
  localhostNodePorts: true,
  masqueradeBit: 14,
};

let lab: Lab;
before(async () => {
  lab = await Lab.create();
});
after(() => lab?.[Symbol.asyncDispose]());

const frontend = (ip: string, proto: Proto, port: number, ...endpoints: string[]): [string, DesiredFrontend] => [
  frontendElement({ ip, proto, port }),
  { id: { ip, proto, port }, endpoints, verdict: endpoints.length > 0 ? 'forward' : 'reject' },
];

const dns = (...hosts: number[]) => hosts.map((host) => `10.244.0.${host} . 53`);

/** What both the fake and the real program have to do alike. */
function contract(name: string, exec: () => Exec): void {
  describe(name, () => {
    const table = () => new NftTable(exec(), options);
    const run = (input: string) => exec().run('nft', ['-f', '-'], { signal: never, timeoutMs: 5_000, input });
    const bring = async (
      state: TableState,
      frontends: Iterable<readonly [string, DesiredFrontend | undefined]>,
      hairpins: readonly (readonly [string, boolean])[] = [],
    ) => {
      for (const one of planTransactions(state, { frontends, hairpins }, options, 3)) {
        await table().run(one, never);
        commit(state, one);
      }
    };

    test('a table that is not there reads as absent', async () => {
      assert.equal((await table().read(never)).layout, 'absent');
      assert.match(await nftVersion(exec(), never), /^\d+\.\d+\.\d+$/);
    });

    test('what was committed is what is read back, after each of a series of changes', async () => {
      const state = await table().read(never);
      const steps: [Iterable<readonly [string, DesiredFrontend | undefined]>, [string, boolean][]][] = [
        [[frontend('10.96.0.1', 'tcp', 443, '192.0.2.1 . 6443'), frontend('10.96.0.2', 'sctp', 9)], []],
        [[frontend('10.96.0.3', 'udp', 53, ...dns(1, 2, 3))], [['10.244.0.1', true]]],
        [[frontend('10.96.0.3', 'udp', 53, ...dns(2, 3))], []],
        [[['10.96.0.1 . tcp . 443', undefined]], [['10.244.0.1', false]]],
        [[frontend('10.96.0.2', 'sctp', 9, '10.244.0.2 . 9'), frontend('10.96.0.3', 'udp', 53)], []],
      ];
      const rich = (...endpoints: string[]): [string, DesiredFrontend][] =>
        [frontend('10.96.0.7', 'udp', 53, ...endpoints), frontend('*', 'sctp', 30053, ...endpoints)].map(([, one]) => {
          const outside = { endpoints: endpoints.slice(1), verdict: 'forward' } as const;
          const more = {
            outside,
            masquerade: 'host',
            affinity: { servicePort: 'd/x', seconds: 60 },
            sources: ['0.0.0.0/1', '192.0.2.9'],
          } as const;
          return [frontendElement(one.id), { ...one, ...more }];
        });
      steps.push([rich(...dns(1, 2, 3)), []], [rich(...dns(3, 1)), []]);
      steps.push([
        rich(...dns(1)).map(([key, one]) => [
          key,
          { ...one, affinity: { servicePort: 'd/x', seconds: 7 }, sources: ['192.0.2.0/24'] },
        ]),
        [],
      ]);
      steps.push([rich().map(([key]) => [key, undefined]), []]);
      for (const [frontends, hairpins] of steps) {
        await bring(state, frontends, hairpins);
        assert.deepEqual(await table().read(never), state);
        assert.equal(await table().looksIntact(state, never), true);
      }
    });

    for (const refusal of [
      'add element ip keelson frontends { 10.96.9.9 . tcp . 80 : goto nowhere }',
      'delete element ip keelson frontends { 10.96.9.9 . tcp . 80 }',
      'add element ip nowhere frontends { 10.96.9.9 . tcp . 80 : drop }',
      'add rule ip keelson nowhere reject',
      'delete chain ip keelson pick-sctp-1',
      'delete chain ip keelson refuse',
    ]) {
      test(`refused, with all that came before it: ${refusal}`, async () => {
        const before = await table().read(never);
        await assert.rejects(run(`add chain ip keelson extra\n${refusal}\n`), { exitCode: 1 });
        assert.deepEqual(await table().read(never), before);
      });
    }

    test('a flush of any map or chain is seen by the cheap look', async () => {
      const [key, one] = frontend('10.96.0.80', 'tcp', 80, '10.244.0.1 . 80', '10.244.0.2 . 80');
      const rich = { ...one, sources: ['10.0.0.0/8'] };
      const [keptKey, another] = frontend('10.96.0.81', 'tcp', 80, '10.244.0.1 . 80');
      const kept = { ...another, affinity: { servicePort: 'd/x', seconds: 9 } };
      const own = ownChains(kept, options).map(({ name }) => name);
      assert.equal(own.length, 1);
      const maps = ['frontends', 'endpoints-tcp', 'sources'].map((map) => `map ip keelson ${map}`);
      const chains = ['prerouting', 'pick-tcp-2', 'refuse', ...own].map((chain) => `chain ip keelson ${chain}`);
      for (const what of [...maps, 'set ip keelson hairpins', ...chains]) {
        await run('delete table ip keelson\n');
        const state = emptyState();
        await bring(
          state,
          [
            [key, rich],
            [keptKey, kept],
          ],
          [['10.244.0.1', true]],
        );
        assert.equal(await table().looksIntact(state, never), true, what);
        await run(`flush ${what}\n`);
        assert.equal(await table().looksIntact(state, never), false, what);
      }
    });

    test('a flush of the ruleset is seen too', async () => {
      const state = await table().read(never);
      await run('flush ruleset\n');
      assert.equal(await table().looksIntact(state, never), false);
    });
  });
}

const fake = new FakeNft();
contract('the fake', () => fake);
contract('the real nft', () => lab.exec);
