import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RulesetEvent } from './ruleset-event.ts';
import { readRulesetEvent } from './ruleset-event.ts';

const rules = (table: string): RulesetEvent => ({ kind: 'change', table, what: 'rules' });
const elements = (table: string): RulesetEvent => ({ kind: 'change', table, what: 'elements' });
const end = (program: string): RulesetEvent => ({ kind: 'end', program });

const lines: Record<string, RulesetEvent | undefined> = {
  ' EVENT: -4 -t keelson -D pick-tcp-5 -p tcp': rules('ip keelson'),
  ' EVENT: -6 -t keelson -X layout-2': rules('ip6 keelson'),
  ' EVENT: nft: DEL table: table keelson ip flags 0 use 0 handle 7': rules('ip keelson'),
  'NEWGEN: GENID=29 PID=25047 NAME=nft': end('nft'),
  'NEWGEN: GENID=30 PID=1 NAME=iptables-restor': end('iptables-restor'),
  'add table ip keelson': rules('ip keelson'),
  '\0add table inet filter': rules('inet filter'),
  'delete rule ip keelson prerouting handle 7': rules('ip keelson'),
  'flush something ip6 of-the-future': rules('ip6 of-the-future'),
  'add map ip keelson frontends { type ipv4_addr : verdict }': rules('ip keelson'),
  'delete element ip keelson frontends { 10.96.0.9 . tcp . 80 : goto pick-tcp-5 }': elements('ip keelson'),
  '# new generation 18 by process 25025 (nft)': end('nft'),
  '# new generation 18 by process 25025 (a (b))': end('a (b)'),
  '# ERROR: We lost some netlink events!': { kind: 'lost' },
  '': undefined,
  'PACKET: 0 deadbeef IN=eth0': undefined,
  'something that nobody knows': undefined,
};

for (const [line, event] of Object.entries(lines)) {
  test(`${JSON.stringify(line)}: ${JSON.stringify(event)}`, () => assert.deepEqual(readRulesetEvent(line), event));
}
