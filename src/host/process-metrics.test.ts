import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from '../lib/metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { processMetrics, readProcess } from './process-metrics.ts';

test('what /proc says of a process', () => {
  const stat =
    '42 (a ) b) S 1 42 42 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 11 0 12345 800000000 2000 18446744073709551615 1 1 0';
  const limits =
    'Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \nMax address space         unlimited            unlimited            bytes     \n';
  const netstat = 'TcpExt: InOctets\nTcpExt: 5\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 700 900\n';
  assert.deepEqual(readProcess(stat, limits, 'cpu 1\nbtime 1700000000\n', netstat), {
    cpu_seconds_total: 3,
    max_fds: 1024,
    resident_memory_bytes: 2000 * 4096,
    start_time_seconds: 1_700_000_123.45,
    virtual_memory_bytes: 800_000_000,
    virtual_memory_max_bytes: 2 ** 64,
    network_receive_bytes_total: 700,
    network_transmit_bytes_total: 900,
  });
});

test('this process, by its own word', async () => {
  const registry = new Registry();
  processMetrics(registry);
  const text = await registry.text();
  const resident = sampleOf(text, 'process_resident_memory_bytes') ?? 0;
  const startedAt = sampleOf(text, 'process_start_time_seconds') ?? 0;
  assert.ok(Math.abs(resident / process.memoryUsage.rss() - 1) < 0.2, `${resident}`);
  assert.ok(Math.abs(startedAt - (Date.now() / 1000 - process.uptime())) < 5, `${startedAt}`);
  assert.ok((sampleOf(text, 'process_open_fds') ?? 0) > 3);
  assert.ok((sampleOf(text, 'process_cpu_seconds_total') ?? 0) > 0);
});
