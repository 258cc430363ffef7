import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CadvisorMetrics } from './cadvisor-metrics.ts';
import { parseV2Cpu, parseV2Memory } from './parse-cgroup-v2.ts';
import { type InterfaceStats, parseMemoryInfo } from './parse-proc.ts';
import type { NodeSample } from './snapshot.ts';
import { TextWriter } from './text-writer.ts';

function nodeWith(names: readonly string[]): NodeSample {
  const spec = { cpuShares: 0, cpuQuota: 0, cpuPeriod: 0, memoryLimit: 0, memoryReservation: 0, swapLimit: 0 };
  const counted = { rxBytes: 1, rxPackets: 2, rxErrors: 3, rxDropped: 4, txBytes: 5, txPackets: 6 };
  return {
    path: '/',
    startedAt: 0,
    stats: {
      at: 1_000,
      cpu: parseV2Cpu(''),
      memory: parseV2Memory({ stat: '', current: '', peak: '', events: '', swap: '' }),
      pids: { current: 0, max: 0 },
      io: names.map((_, minor) => ({ device: `8:${minor}`, readBytes: 1, writeBytes: 2, reads: 3, writes: 4 })),
      psi: undefined,
      spec,
    },
    nanoCores: undefined,
    processes: { processes: 0, fileDescriptors: 0, sockets: 0, openFilesLimit: undefined },
    memory: parseMemoryInfo(''),
    interfaces: names.map((name): InterfaceStats => ({ name, ...counted, txErrors: 7, txDropped: 8 })),
    psi: undefined,
    tasks: 0,
  };
}

/** The lines of a scrape of a node with these interfaces, and as many disks. */
async function scrape(names: readonly string[]): Promise<string[]> {
  const chunks: string[] = [];
  const writer = new TextWriter(async (chunk) => void chunks.push(Buffer.from(chunk).toString()));
  await new CadvisorMetrics().write(writer, {
    snapshot: { at: 1_000, node: nodeWith(names), pods: [], groups: [] },
    disks: { filesystems: [], deviceName: (number) => `/dev/${number}` },
    facts: {
      hostname: 'n',
      architecture: 'amd64',
      kernelVersion: '',
      osImage: '',
      machineId: '',
      bootId: '',
      systemUuid: '',
      cpuCount: 1,
      onlineCpus: '0',
      memoryBytes: 1,
      swapBytes: 0,
      hugePages: [],
      maxPids: 1,
      swapController: false,
      selinux: false,
    },
    topology: { cores: 1, sockets: 1 },
  });
  await writer.end();
  return chunks.join('').trimEnd().split('\n');
}

test('an interface has whatever name a container gives it', async () => {
  const lines = await scrape(['a"b\\c']);
  const labels = '{container="",id="/",image="",name="",namespace="",pod="",interface="a\\"b\\\\c"}';
  assert.ok(lines.includes(`container_network_receive_bytes_total${labels} 1 1000`));
});

test('a node with more interfaces and disks than a buffer holds loses none', async () => {
  const names = Array.from({ length: 3_000 }, (_, i) => `cali${i}`);
  const lines = await scrape(names);
  for (const name of ['network_transmit_errors_total', 'fs_reads_bytes_total', 'fs_reads_total', 'fs_writes_total']) {
    const found = lines.filter((line) => line.startsWith(`container_${name}{`) && / \d+ 1000$/.test(line));
    assert.equal(found.length, names.length, name);
  }
  assert.equal(lines.filter((line) => line.startsWith('container_blkio_device_usage_total{')).length, 6_000);
  assert.match(lines.at(-1) ?? '', /^machine_scrape_error 0$/);
});
