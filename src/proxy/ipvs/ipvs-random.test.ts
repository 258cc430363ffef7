import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import { randomOf } from '../../testing/random.ts';
import type { RandomRig } from '../../testing/random-services.ts';
import { checkLeaks, checkSequence } from '../../testing/random-services.ts';
import { Proxier } from '../proxier.ts';
import type { IpFamily } from '../read-service.ts';
import { FakeIpvs } from './fake-ipvs.ts';
import type { IpvsSettings } from './ipvs-backend.ts';
import { IpvsBackend } from './ipvs-backend.ts';
import { IpvsRemains } from './ipvs-remains.ts';

/**
 * Any sequence of changes of any field, with failures, restarts with another configuration, and other programs between,
 * ends as a fresh start does.
 */

const never = new AbortController().signal;
const settings: IpvsSettings = {
  ...{ scheduler: 'rr', excludeCIDRs: [], strictARP: true },
  ...{ tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 250_000 },
};

interface Rig extends RandomRig {
  readonly kernel: FakeIpvs;
}

/** What of the configuration may be another after a restart. */
interface Config {
  readonly scheduler: string;
  readonly masqueradeBit: number;
  readonly nodePortAddresses: readonly string[];
}
const ranges = [[], ['192.0.2.0/28', 'fd00::c000:200/124'], ['198.51.100.0/24', '192.0.2.32/28', 'fd00::c000:220/124']];
const usual: Config = { scheduler: 'rr', masqueradeBit: 14, nodePortAddresses: [] };

function newRig(family: IpFamily = 'IPv4', hostAddresses?: readonly string[], first = usual): Rig {
  const kernel = new FakeIpvs(hostAddresses);
  const clock = new FakeClock();
  let config = first;
  const host = () => [...(kernel.links.get('eth0')?.addresses ?? [])];
  return {
    kernel,
    start: () => {
      kernel.revive();
      const { scheduler, masqueradeBit, nodePortAddresses } = config;
      const own = { ...settings, scheduler };
      const backend = new IpvsBackend({ exec: kernel, log: silentLog, clock, family, settings: own });
      const options = { clock, log: silentLog, nodeName: 'here', masqueradeAll: false, masqueradeBit, family };
      const traffic = { nodePortAddresses };
      return new Proxier({
        ...options,
        exec: kernel,
        backend,
        clusterCidrs: ['10.244.0.0/16', 'fd00::af4:0/112'],
        traffic,
      });
    },
    failNext: (random) => kernel.failNext('interrupted', random(2) === 0, random(4)),
    dump: () => comparable(kernel),
    pass: async () => {
      await clock.advance(20_000);
      kernel.written.length = 0;
      for (const { endpoints } of kernel.servers.values()) for (const one of endpoints.values()) one.connections = 0;
    },
    disturb: async (random) => {
      if (random(4) > 0) return (await disturb(kernel, family, random)) === 'dying';
      config = {
        scheduler: ['rr', 'sh', 'mh'][random(3)] ?? '',
        masqueradeBit: [14, 25, 3][random(3)] ?? 14,
        nodePortAddresses: ranges[random(ranges.length)] ?? [],
      };
      return true;
    },
    twin: () => newRig(family, host(), config),
  };
}

/** Of the host; Services have some of them too. */
const comingAndGoing = {
  IPv4: ['192.0.2.1', '192.0.2.33', '10.96.0.1', '198.51.100.1', '203.0.113.1'],
  IPv6: ['fd00::c000:201', 'fd00::c000:221', 'fd00::a60:1', 'fd00::c633:6401', 'fd00::cb00:7101'],
};

/** What others do, an interrupted cleanup among them. */
async function disturb(kernel: FakeIpvs, family: IpFamily, random: (below: number) => number): Promise<unknown> {
  const any = <T>(from: Iterable<T>): T | undefined => [...from][random([...from].length || 1)];
  const host = kernel.links.get('eth0')?.addresses ?? new Set();
  const ip = any(comingAndGoing[family]) ?? '';
  const server = any(kernel.servers.values());
  const endpoint = any(server?.endpoints.keys() ?? []) ?? (family === 'IPv4' ? '10.244.0.99:1' : '[fd00::99]:1');
  const stopAfter = (lines: number) => {
    kernel.stopAfter(lines);
    return 'dying';
  };
  const acts: readonly (() => unknown)[] = [
    () => host.delete(ip) || host.add(ip),
    () => host.delete(ip) || host.add(ip),
    () => stopAfter(random(60)),
    () => stopAfter(random(20)),
    () => server?.endpoints.delete(endpoint),
    () => server?.endpoints.set(endpoint, { weight: random(3), connections: random(2) }),
    () => kernel.servers.delete(any(kernel.servers.keys()) ?? ''),
    () => kernel.links.get('kube-ipvs0')?.addresses.delete(any(kernel.links.get('kube-ipvs0')?.addresses ?? []) ?? ''),
    () => kernel.links.delete('kube-ipvs0'),
    () => kernel.rules[family].flush(),
    () => new IpvsRemains({ exec: kernel }).remove(never).catch(() => {}),
  ];
  return acts[random(acts.length)]?.();
}

const left = (kernel: FakeIpvs): readonly string[] =>
  kernel.dump().filter((line) => /^(6 )?(-[Aa] (-[tuf]|--sctp)|create|-A .*keelson|link k)/.test(line));

/** Who has which mark depends on what was before; each mark stands for where it leads. */
function comparable(kernel: FakeIpvs): readonly string[] {
  const lines = kernel.dump();
  const marks = new Map<string, string[]>();
  for (const line of lines) {
    const [, name = '', rest = ''] = /^-[Aa] -f (\d+) (.*)/.exec(line) ?? [];
    if (name !== '') marks.set(name, [...(marks.get(name) ?? []), rest]);
  }
  return lines
    .filter((line) => !/^-[Aa] -f /.test(line))
    .map((line) =>
      line.replace(/skbmark (0x[0-9a-f]+)/, (_, mark: string) => {
        return `to ${JSON.stringify(marks.get(String(Number(mark)))?.sort())}`;
      }),
    )
    .concat(`${marks.size} marks`)
    .sort();
}

for (let seed = 1; seed <= 40; seed++) {
  const family = seed % 3 === 0 ? 'IPv6' : 'IPv4';
  test(`${family}: sequence ${seed} ends as a fresh start does`, async () => {
    const { rig, cluster } = await checkSequence(seed, () => newRig(family), family);
    const before = rig.kernel.written.length;
    const again = rig.start();
    cluster.tell(again);
    await again.syncOnce('change', never);
    assert.deepEqual(rig.kernel.written.slice(before), [], 'a restart with nothing to change writes nothing');
    const random = randomOf(seed);
    if (random(2) === 0) rig.kernel.links.delete('kube-ipvs0');
    rig.kernel.stopAfter(random(100));
    const remains = new IpvsRemains({ exec: rig.kernel });
    await remains.remove(never).catch(() => {});
    rig.kernel.revive();
    await remains.remove(never);
    assert.deepEqual(left(rig.kernel), [], 'a cleanup leaves nothing, though one before was interrupted');
  });
}

test('2,500 changes leak nothing: no server, address or set, and no memory', () => checkLeaks(() => newRig(), 2_500));
