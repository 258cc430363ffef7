import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conntrackArgs, flowsIn } from './conntrack.ts';

test('only flows from the virtual address to that endpoint are named', () => {
  assert.equal(
    conntrackArgs({ ip: '10.96.0.10', port: 53, endpoint: { ip: '10.244.0.5', port: 5353 } }, 'ipv4').join(' '),
    '-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.244.0.5 --reply-port-src 5353',
  );
});

test('flows that were never translated are those that the virtual address itself would answer', () => {
  assert.match(
    conntrackArgs({ ip: '10.96.0.10', port: 53, endpoint: undefined }, 'ipv4').join(' '),
    /--reply-src 10\.96\.0\.10 --reply-port-src 53$/,
  );
});

test('flows are read from a listing', () => {
  const listing = `udp      17 29 src=10.244.0.9 dst=10.96.0.10 sport=47419 dport=53 [UNREPLIED] src=10.244.0.5 dst=10.244.0.9 sport=5353 dport=47419 mark=0 use=1
udp      17 100 src=10.244.0.9 dst=10.96.0.11 sport=5000 dport=54 src=10.96.0.11 dst=10.244.0.9 sport=54 dport=5000 [ASSURED] mark=0 use=1
`;
  assert.deepEqual(flowsIn(listing), [
    { ip: '10.96.0.10', port: 53, answersFrom: { ip: '10.244.0.5', port: 5353 } },
    { ip: '10.96.0.11', port: 54, answersFrom: { ip: '10.96.0.11', port: 54 } },
  ]);
});

test('flows to a node port are told by the port alone', () => {
  const gone = conntrackArgs({ ip: '*', port: 30053, endpoint: { ip: '10.244.0.5', port: 5353 } }, 'ipv4').join(' ');
  assert.match(gone, /udp --orig-port-dst 30053 --reply-src 10\.244\.0\.5 --reply-port-src 5353$/);
  const untranslated = conntrackArgs({ ip: '*', port: 30053, endpoint: undefined }, 'ipv4').join(' ');
  assert.match(untranslated, /udp --orig-port-dst 30053 --reply-port-src 30053$/);
});
