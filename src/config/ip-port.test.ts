import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipPort, splitIpPort } from './values.ts';

test('places to listen at', () => {
  const table: Record<string, [value: string, place: { address: string; port: number } | undefined]> = {
    'an address of IPv4': ['127.0.0.1:10249', { address: '127.0.0.1', port: 10_249 }],
    'an address of IPv6': ['[::]:10249', { address: '::', port: 10_249 }],
    'without a port': ['127.0.0.1', undefined],
    'IPv6 without brackets': ['::1:10249', undefined],
    'a name': ['localhost:10249', undefined],
    'a port above all': ['0.0.0.0:65536', undefined],
    'a port alone': [':10249', undefined],
  };
  for (const [sentence, [value, place]] of Object.entries(table)) {
    const complaints: unknown[] = [];
    const read = ipPort.read(value, ['metricsBindAddress'], (complaint) => complaints.push(complaint));
    assert.equal(complaints.length, place ? 0 : 1, sentence);
    if (place) assert.deepEqual(splitIpPort(read ?? ''), place, sentence);
  }
});
