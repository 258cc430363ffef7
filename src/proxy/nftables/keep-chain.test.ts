import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DesiredFrontend } from './compile.ts';
import { frontendElement } from './compile.ts';
import { commit, planTransactions } from './diff.ts';
import { isKeepChain, keepChainName, keepChainsOf, keepRules } from './keep-chain.ts';
import type { RulesetOptions } from './ruleset.ts';
import { emptyState } from './table-state.ts';

const endpoints = ['10.244.0.5 . 8080', '10.244.1.7 . 8080'];
const affinity = { servicePort: 'd/web http', seconds: 60 };
const frontend: DesiredFrontend = {
  id: { ip: '10.96.0.9', proto: 'tcp', port: 80 },
  ...{ endpoints, verdict: 'forward', affinity },
};
const chain = { kind: 'pick', proto: 'tcp', endpoints, affinity } as const;

test('a name stands for what is in the chain, not for the order of its endpoints', () => {
  const name = keepChainName(chain);
  assert.ok(isKeepChain(name), name);
  assert.equal(keepChainName({ ...chain, endpoints: endpoints.toReversed() }), name);
  assert.deepEqual(keepRules({ ...chain, endpoints: endpoints.toReversed() }, 'ip'), keepRules(chain, 'ip'));
  const others = [
    { ...chain, kind: 'masq' as const },
    { ...chain, proto: 'udp' as const },
    { ...chain, endpoints: endpoints.slice(1) },
    { ...chain, affinity: { ...affinity, seconds: 61 } },
    { ...chain, affinity: { ...affinity, servicePort: 'd/web https' } },
  ].map(keepChainName);
  assert.equal(new Set([name, ...others]).size, others.length + 1);
});

test('whoever is noted for an endpoint gets it; anybody else is spread evenly and noted', () => {
  const rules = keepRules(chain, 'ip');
  assert.equal(rules.length, 5);
  const numbers = rules.map((rule) => [...rule.matchAll(/offset (\d+)/g)].map(([, number]) => number));
  const [[first] = [], [second] = []] = numbers;
  assert.notEqual(first, second);
  assert.deepEqual(numbers, [[first, first], [second, second], [first], [second], []]);
  assert.deepEqual(
    rules.map((rule) => /dnat ip to (\S+)/.exec(rule)?.[1]),
    ['10.244.0.5:8080', '10.244.1.7:8080', '10.244.0.5:8080', '10.244.1.7:8080', 'numgen'],
  );
  assert.deepEqual(
    rules.map((rule) => / numgen random mod (\d+) 0 /.exec(rule)?.[1]),
    [undefined, undefined, '2', '1', undefined],
  );
});

test('an address of IPv6 stands in brackets beside its port', () => {
  const [rule] = keepRules({ ...chain, endpoints: ['fd00::5 . 80'] }, 'ip6');
  assert.match(rule ?? '', /^meta l4proto tcp ip6 saddr .* timeout 60s \} dnat ip6 to \[fd00::5\]:80$/);
});

test('clients are kept where there is affinity and somebody to keep them with', () => {
  const outside = { endpoints: endpoints.slice(1), verdict: 'forward' } as const;
  const nobody = { endpoints: [], verdict: 'drop' } as const;
  assert.deepEqual(keepChainsOf(frontend), { pick: chain, outside: undefined });
  assert.deepEqual(keepChainsOf({ ...frontend, masquerade: 'host', outside }), {
    pick: { ...chain, kind: 'host' },
    outside: { ...chain, kind: 'plain', endpoints: outside.endpoints },
  });
  assert.equal(keepChainsOf({ ...frontend, outside: nobody }).outside, undefined);
  assert.deepEqual(keepChainsOf({ ...frontend, affinity: undefined, outside }), {
    pick: undefined,
    outside: undefined,
  });
});

test('rules of clients count for the size of a transaction', () => {
  const state = emptyState();
  const all = Array.from({ length: 40 }, (_, n): readonly [string, DesiredFrontend] => {
    const id = { ip: `10.96.0.${n}`, proto: 'tcp', port: 80 } as const;
    const affinity = { servicePort: `d/s${n} http`, seconds: 60 };
    return [frontendElement(id), { ...frontend, id, affinity }];
  });
  const options: RulesetOptions = {
    ...({ family: 'ip', table: 'keelson', masqueradeAll: false, local: undefined } as const),
    ...{ nodePortAddresses: [], localhostNodePorts: false, masqueradeBit: 14 },
  };
  const rules: number[] = [];
  for (const one of planTransactions(state, { frontends: all, hairpins: [] }, options, 30)) {
    rules.push(one.script.match(/^add rule \S+ \S+ keep-/gm)?.length ?? 0);
    commit(state, one);
  }
  assert.equal(
    rules.reduce((sum, count) => sum + count),
    40 * 5,
  );
  assert.ok(Math.max(...rules) <= 30, `${rules}`);
});
