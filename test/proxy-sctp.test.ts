import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { Backend } from '../src/proxy/backend.ts';
import { IptablesBackend } from '../src/proxy/iptables/iptables-backend.ts';
import { NftBackend } from '../src/proxy/nftables/nft-backend.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { bridgeIp, bridgeIp6, Lab, nodeIp, nodeIp6 } from './proxy-lab.ts';

/**
 * SCTP by single packets: many kernels translate it, and have no sockets for it. An INIT is sent through a raw socket,
 * and raw sockets of the endpoints' namespaces tell where it came out, or what ICMP came back.
 */

const families = {
  IPv4: {
    ...{ domain: 'PF_INET', address: 'pack_sockaddr_in(0, inet_pton(AF_INET, $ARGV[1]))', icmp: 1 },
    ...{ vip: '10.96.0.1', empty: '10.96.0.2', client: '10.244.0.10', endpoint: '10.244.0.11', cidr: '10.244.0.0/16' },
    // Destination unreachable, port unreachable.
    ...{ bridge: bridgeIp, node: nodeIp, refusal: [3, 3] },
  },
  IPv6: {
    ...{ domain: 'PF_INET6', address: 'pack_sockaddr_in6(0, inet_pton(AF_INET6, $ARGV[1]))', icmp: 58 },
    ...{ vip: 'fd00:96::1', empty: 'fd00:96::2', client: 'fd00:10:244::10', endpoint: 'fd00:10:244::11' },
    ...{ cidr: 'fd00:10:244::/48', bridge: bridgeIp6, node: nodeIp6, refusal: [1, 4] },
  },
} as const;
const port = 9;
const targetPort = 9_899;
const clientPort = 5_000;

const crcTable = Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  return crc >>> 0;
});

/** An SCTP packet that asks for an association, with the checksum that connection tracking insists on (RFC 9260). */
function initPacket(destination: number): Buffer {
  const packet = Buffer.alloc(32);
  packet.writeUInt16BE(clientPort, 0);
  packet.writeUInt16BE(destination, 2);
  packet.writeUInt8(1, 12);
  packet.writeUInt16BE(20, 14);
  packet.writeUInt32BE(1, 16);
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt16BE(1, 24);
  packet.writeUInt16BE(1, 26);
  let crc = 0xffff_ffff;
  for (const byte of packet) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] ?? 0);
  packet.writeUInt32LE(~crc >>> 0, 8);
  return packet;
}

/** Node has no raw sockets; perl is part of every Debian. */
const perl = (namespace: string, script: string, ...args: readonly string[]) =>
  spawn('ip', ['netns', 'exec', namespace, 'perl', '-MSocket=:all', '-e', script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });

interface Heard {
  readonly from: string;
  /** Without the IP header. */
  readonly body: Buffer;
}

/** Listens for all of one protocol in a namespace. */
class Ear implements Disposable {
  readonly #process: ReturnType<typeof perl>;
  readonly #lines: AsyncIterator<string>;
  readonly #family: IpFamily;

  private constructor(process: ReturnType<typeof perl>, family: IpFamily) {
    this.#process = process;
    this.#lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
    this.#family = family;
  }

  static async in(namespace: string, family: IpFamily, protocol: number): Promise<Ear> {
    const script = `$| = 1; socket(S, ${families[family].domain}, SOCK_RAW, ${protocol}) or die $!; print "ready\\n";
      while ($from = recv(S, $_, 4096, 0)) {
        (undef, $ip) = ${family === 'IPv4' ? 'unpack_sockaddr_in' : 'unpack_sockaddr_in6'}($from);
        print inet_ntop(${family === 'IPv4' ? 'AF_INET' : 'AF_INET6'}, $ip), " ", unpack("H*", $_), "\\n";
      }`;
    const ear = new Ear(perl(namespace, script), family);
    assert.equal((await ear.#lines.next()).value, 'ready');
    return ear;
  }

  async next(): Promise<Heard> {
    const [from = '', hex = ''] = ((await this.#lines.next()).value ?? '').split(' ');
    const packet = Buffer.from(hex, 'hex');
    // Raw sockets of IPv4 give the header too.
    return { from, body: this.#family === 'IPv4' ? packet.subarray(((packet[0] ?? 0) & 15) * 4) : packet };
  }

  [Symbol.dispose](): void {
    this.#process.kill();
  }
}

async function send(namespace: string, family: IpFamily, ip: string, destination: number): Promise<void> {
  const { domain, address } = families[family];
  const script = `socket(S, ${domain}, SOCK_RAW, 132) or die $!;
    defined(send(S, pack("H*", $ARGV[0]), 0, ${address})) or die $!;`;
  const child = perl(namespace, script, initPacket(destination).toString('hex'), ip);
  const status = await new Promise((resolve) => child.once('exit', resolve));
  assert.equal(status, 0);
}

function serviceOf(name: string, clusterIP: string, nodePort: number): Service {
  return {
    metadata: { name, namespace: 'd' },
    spec: { type: 'NodePort', clusterIPs: [clusterIP], ports: [{ port, protocol: 'SCTP', targetPort, nodePort }] },
  };
}
const sliceOf = (family: IpFamily): EndpointSlice => ({
  metadata: { name: 'all-1', namespace: 'd', labels: { [serviceNameLabel]: 'all' } },
  addressType: family,
  endpoints: [{ addresses: [families[family].endpoint], nodeName: 'node' }],
  ports: [{ name: '', protocol: 'SCTP', port: targetPort }],
});

const iptables = (variant: 'nft' | 'legacy') => (exec: Exec, family: IpFamily) =>
  new IptablesBackend({ exec, family, variant, log: silentLog });
const backends: Readonly<Record<string, (exec: Exec, family: IpFamily) => Backend>> = {
  nftables: (exec) => new NftBackend({ exec, log: silentLog }),
  'iptables-nft': iptables('nft'),
  'iptables-legacy': iptables('legacy'),
};
for (const [name, backendOf] of Object.entries(backends)) {
  for (const family of ['IPv4', 'IPv6'] as const) describe(`${family} SCTP by ${name}`, () => cases(family, backendOf));
}

function cases(family: IpFamily, backendOf: (exec: Exec, family: IpFamily) => Backend): void {
  const facts = families[family];
  const stop = new AbortController();
  let lab: Lab;
  let running: Promise<void>;
  const inLab = (name: string) => lab.hostNamespace.replace(/node$/, name);
  before(async () => {
    lab = await Lab.create();
    await lab.pod('client', families.IPv4.client, families.IPv6.client);
    await lab.pod('s1', families.IPv4.endpoint, families.IPv6.endpoint);
    const proxier = new Proxier({
      ...{ exec: lab.exec, clock: systemClock, log: silentLog, nodeName: 'node', family },
      ...{ backend: backendOf(lab.exec, family), masqueradeAll: false, masqueradeBit: 14, clusterCidrs: [facts.cidr] },
    });
    proxier.onServiceChange('d/all', serviceOf('all', facts.vip, 30_009));
    proxier.onServiceChange('d/empty', serviceOf('empty', facts.empty, 30_010));
    proxier.onSliceChange('d/all-1', sliceOf(family));
    proxier.sourcesSynced();
    running = proxier.run(stop.signal);
    await proxier.synced;
  });
  after(async () => {
    stop.abort();
    await running;
    await lab?.[Symbol.asyncDispose]();
  });

  const arrives = async (from: string, ip: string, destination: number, seen: string) => {
    using ear = await Ear.in(inLab('s1'), family, 132);
    await send(inLab(from), family, ip, destination);
    const packet = await ear.next();
    assert.equal(packet.from, seen);
    assert.equal(packet.body.readUInt16BE(2), targetPort);
  };
  test('a pod gets to the endpoint by the virtual address', () => arrives('client', facts.vip, port, facts.client));
  test('a host outside gets there by the node port, masqueraded', () =>
    arrives('out', facts.node, 30_009, facts.bridge));
  test('the endpoint gets to itself, masqueraded', () => arrives('s1', facts.vip, port, facts.bridge));

  for (const [ip, destination] of [
    [facts.empty, port],
    [facts.node, 30_010],
  ] as const) {
    test(`without endpoints ${ip} is refused`, async () => {
      using ear = await Ear.in(inLab('client'), family, facts.icmp);
      await send(inLab('client'), family, ip, destination);
      let heard = await ear.next();
      // Neighbours are looked for by ICMPv6 too.
      while (family === 'IPv6' && (heard.body[0] ?? 0) >= 128) heard = await ear.next();
      assert.deepEqual([...heard.body.subarray(0, 2)], facts.refusal);
    });
  }
}
