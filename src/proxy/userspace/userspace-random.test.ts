import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exec } from '../../host/exec.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import type { RandomRig } from '../../testing/random-services.ts';
import { checkLeaks, checkSequence } from '../../testing/random-services.ts';
import { FakeIptables } from '../iptables/fake-iptables.ts';
import { Proxier } from '../proxier.ts';
import type { IpFamily } from '../read-service.ts';
import type { RelayWish } from './compile-portals.ts';
import { portalChains, portalTables } from './compile-portals.ts';
import type { Sockets } from './relay.ts';
import { UserspaceBackend } from './userspace-backend.ts';
import { UserspaceRemains } from './userspace-remains.ts';

/**
 * Any sequence of changes, with failures, restarts and other programs between, ends as a fresh start does: with the
 * same rules, leading to relays that serve the same endpoints, and with no relay more.
 */

const never = new AbortController().signal;
type Random = (below: number) => number;

/** Relays of one life of the process, by port; ports are never used twice. */
class FakeSockets implements Sockets {
  readonly relays = new Map<number, string>();
  failures = 0;
  #next: number;

  constructor(firstPort: number) {
    this.#next = firstPort;
  }

  async open(protocol: RelayWish['protocol']) {
    if (this.failures > 0) {
      this.failures -= 1;
      throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    }
    const port = this.#next++;
    this.relays.set(port, `${protocol} nobody`);
    return {
      port,
      serve: ({ targets, affinitySeconds }: Pick<RelayWish, 'targets' | 'affinitySeconds'>) => {
        const all = targets.map((target) => `${target.ip} ${target.port}`).sort();
        this.relays.set(port, `${protocol} ${all.join(', ')} for ${affinitySeconds}`);
      },
      close: () => this.relays.delete(port),
    };
  }

  endAll(): void {}
}

interface Rig extends RandomRig {
  readonly iptables: FakeIptables;
  readonly exec: Pick<Exec, 'run'>;
}

function newRig(family: IpFamily): Rig {
  const iptables = new FakeIptables();
  const clock = new FakeClock();
  const addresses = new Set<string>();
  let sockets = new FakeSockets(0);
  let ipFailures = 0;
  let lives = 0;
  const exec: Pick<Exec, 'run'> = {
    run: async (file, args, options) => {
      if (file.includes('tables')) return iptables.run(file, args, options);
      if (file === 'ip' && ipFailures > 0 && ipFailures-- > 0) throw new Error('RTNETLINK answers: No buffer space');
      const [, six, verb, address = ''] = /^ip -([46]) addr (replace|del) (\S+)/.exec([file, ...args].join(' ')) ?? [];
      if (verb === 'replace') addresses.add(`${six} ${address}`);
      if (verb === 'del') addresses.delete(`${six} ${address}`);
      const shown = [...addresses].map((one) => `1: lo inet ${one.slice(2)} scope host lo`).join('\n');
      return { stdout: file === 'ip' ? shown : '', stderr: '' };
    },
  };
  const program = family === 'IPv4' ? 'iptables' : 'ip6tables';
  const acts: readonly ((random: Random) => unknown)[] = [
    () => addresses.clear(),
    () => new UserspaceRemains({ exec }).remove(never).catch(() => {}),
    async (random) => {
      const table = portalTables[random(2)] ?? 'nat';
      const chain = portalChains[table][1 + random(3)] ?? '';
      if (!iptables.table(table, program)?.has(chain)) return;
      const input = `*${table}\n:${chain} - [0:0]\nCOMMIT\n`;
      const options = { signal: never, timeoutMs: 1, input };
      await iptables.run(`${program}-restore`, ['-w', '5', '--noflush'], options).catch(() => {});
    },
  ];
  return {
    iptables,
    exec,
    start: () => {
      sockets = new FakeSockets(1_000 * ++lives);
      const backend = new UserspaceBackend({ exec, log: silentLog, clock, family, sockets });
      const options = { nodeName: 'here', masqueradeAll: false, masqueradeBit: 14, family };
      const clusterCidrs = ['10.244.0.0/16', 'fd00::af4:0/112'];
      return new Proxier({ exec, clock, log: silentLog, backend, ...options, clusterCidrs });
    },
    failNext: (random) => {
      const what = random(3);
      if (what === 0) iptables.failNext('interrupted', random(3));
      if (what === 1) sockets.failures = 1 + random(3);
      if (what === 2) ipFailures = 1;
    },
    disturb: async (random) => {
      await acts[random(acts.length)]?.(random);
      return false;
    },
    twin: () => newRig(family),
    dump: () => [
      ...portalTables.flatMap((table) =>
        [...(iptables.table(table, program) ?? [])].flatMap(([chain, rules]) => [
          `${table} ${chain}`,
          ...byFrontend(rules).map((rule) => `${table} ${chain} ${meaning(rule, sockets)}`),
        ]),
      ),
      ...[...sockets.relays.values()].sort().map((relay, at, all) => `${all.indexOf(relay) - at} ${relay}`),
      ...addresses,
    ],
    pass: async () => {
      iptables.scripts.length = 0;
    },
  };
}

/** Rules of one frontend in their order, under the first of them: rules of two never match the same packet. */
function byFrontend(rules: readonly string[]): readonly string[] {
  const groups = new Map<string, string[]>();
  for (const rule of rules) {
    const of = [/-d (\S+)/, /-p (\S+)/, /--dport (\d+)/].map((part) => part.exec(rule)?.[1]).join(' ');
    groups.set(of, [...(groups.get(of) ?? []), rule]);
  }
  return [...groups].map(([of, group]) => `${of}: ${group.join('; ')}`).sort();
}

const meaning = (rules: string, { relays }: FakeSockets): string =>
  rules.replaceAll(/--to-destination \S+:(\d+)/g, (_, port: string) => `to ${relays.get(Number(port)) ?? 'nobody'}`);

for (let seed = 1; seed <= 60; seed++) {
  const family = seed % 3 === 0 ? 'IPv6' : 'IPv4';
  test(`${family}: sequence ${seed} ends as a fresh start does`, async () => {
    const { rig } = await checkSequence(seed, () => newRig(family), family);
    const remains = new UserspaceRemains({ exec: rig.exec });
    rig.iptables.failNext('interrupted', seed % 3);
    // Failures that were asked for before may still be due.
    for (let due = 10; due > 0; due--) await remains.remove(never).catch(() => {});
    await remains.remove(never);
    assert.deepEqual(await remains.found(never), [], 'a cleanup leaves nothing, though one before was interrupted');
    assert.doesNotMatch(rig.iptables.dump(), / (KUBE|KEELSON)-/);
  });
}

test('2,500 changes leak nothing: no rule or relay, and no memory', () => checkLeaks(() => newRig('IPv4'), 2_500));
