import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import { traceIptables } from '../../testing/iptables-tracer.ts';
import type { Packet } from '../../testing/packet-tracer.ts';
import { tracePacket } from '../../testing/packet-tracer.ts';
import type { RandomCluster, RandomRig } from '../../testing/random-services.ts';
import { checkLeaks, checkSequence } from '../../testing/random-services.ts';
import type { Backend } from '../backend.ts';
import { FakeNft } from '../nftables/fake-nft.ts';
import { NftBackend } from '../nftables/nft-backend.ts';
import { Proxier } from '../proxier.ts';
import { FakeIptables } from './fake-iptables.ts';
import { IptablesBackend } from './iptables-backend.ts';

/** Any sequence of changes, with failures between, ends in the rules that a fresh start makes, which mean what nft's do. */

const never = new AbortController().signal;
const clock = new FakeClock();

const settings: Record<string, object> = {
  'one range of pods': {},
  'two ranges of pods': { clusterCidrs: ['10.244.0.0/17', '10.244.128.0/17'] },
  'pods known by a bridge': { traffic: { detectLocalMode: 'BridgeInterface', bridgeInterface: 'br0' } },
  'nobody knows the pods': { clusterCidrs: [] },
  'masquerade all': { masqueradeAll: true },
  'node ports on some addresses': { traffic: { nodePortAddresses: ['192.0.2.0/28', '127.0.0.0/8'] } },
  'node ports on loopback': { traffic: { localhostNodePorts: true } },
};

function proxierOf(backend: Backend, more: object): Proxier {
  const defaults = { masqueradeAll: false, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14, nodeName: 'here' };
  const exec = { run: async () => ({ stdout: '', stderr: '' }) };
  return new Proxier({ exec, clock, log: silentLog, backend, ...defaults, ...more });
}

const iptablesOf = (exec: FakeIptables): Backend => new IptablesBackend({ exec, log: silentLog, family: 'IPv4' });

interface Rig extends RandomRig {
  readonly iptables: FakeIptables;
}

function newRig(more: object): Rig {
  const iptables = new FakeIptables();
  return {
    iptables,
    start: () => proxierOf(iptablesOf(iptables), more),
    failNext: (random) => iptables.failNext('interrupted', random(4)),
    dump: () => iptables.dump().split('\n'),
    pass: async () => {
      iptables.scripts.length = 0;
    },
  };
}

for (const [sentence, more] of Object.entries(settings)) {
  test(`any sequence of changes ends as a fresh start does: ${sentence}`, async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const { rig, cluster } = await checkSequence(seed, () => newRig(more));
      // Which interface a packet comes in by is not modelled.
      if (!JSON.stringify(more).includes('bridge')) {
        await comparePackets(rig.iptables, cluster, more, `seed ${seed}`);
      }
    }
  });
}

test('2,500 changes leak nothing: no chain or rule, and no memory', () => checkLeaks(() => newRig({}), 2_500));

/** Every packet that any of the objects may be about meets the same fate as with nftables. */
async function comparePackets(
  iptables: FakeIptables,
  cluster: RandomCluster,
  more: object,
  seed: string,
): Promise<void> {
  const nft = new FakeNft();
  const proxier = proxierOf(new NftBackend({ exec: nft, log: silentLog }), more);
  cluster.tell(proxier);
  await proxier.syncOnce('change', never);
  const table = nft.table('ip', 'keelson');
  assert.ok(table);
  const sources = ['10.244.0.200', '10.244.0.0', '192.0.2.2', '198.51.100.77'];
  const hosts = (net: string, count: number) => Array.from({ length: count }, (_, i) => `${net}.${i}`);
  const addressed = [...hosts('10.96.0', 6), ...hosts('198.51.100', 4), ...hosts('203.0.113', 4)];
  const ports = [30_000, 30_001, 30_002, 30_003];
  const ends = [
    ...addressed.flatMap((ip) => [[ip, 'tcp', 80] as const, [ip, 'udp', 53] as const]),
    ...['192.0.2.1', '192.0.2.33'].flatMap((ip) => ports.map((port) => [ip, 'tcp', port] as const)),
    ...ports.map((port) => ['127.0.0.1', 'udp', port] as const),
  ];
  for (const [destination, proto, port] of ends) {
    const here = { destination, proto, port, nodeAddresses: ['192.0.2.1', '192.0.2.33', '127.0.0.1'] } as const;
    const packets: Packet[] = [
      { ...here, from: 'host', source: destination.startsWith('127.') ? destination : '192.0.2.1' },
    ];
    if (!destination.startsWith('127.')) {
      packets.push(...sources.map((source) => ({ ...here, from: 'network' as const, source })));
    }
    for (const packet of packets) {
      const fate = traceIptables((name) => iptables.table(name), packet);
      assert.deepEqual(fate, tracePacket(table, packet), `${seed} ${JSON.stringify(packet)}`);
    }
  }
}
