import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differencesOf, explainFrontend } from './describe.ts';

const lines: Record<string, { script: string; told: string[] }> = {
  'a line for each element': {
    script:
      'delete element ip keelson frontends { 10.96.0.9 . tcp . 80 }\n' +
      'add element ip keelson frontends { 10.96.0.9 . tcp . 80 : goto pick-tcp-5, 10.96.0.8 . tcp . 80 : goto pick-tcp-1 }\n',
    told: [
      '- element ip keelson frontends 10.96.0.9 . tcp . 80',
      '+ element ip keelson frontends 10.96.0.9 . tcp . 80 : goto pick-tcp-5',
      '+ element ip keelson frontends 10.96.0.8 . tcp . 80 : goto pick-tcp-1',
    ],
  },
  'rules without the tag that we know them by': {
    script:
      'flush chain ip keelson refuse\nadd rule ip keelson refuse ip saddr { 10.0.0.0/8, 11.0.0.0/8 } reject comment "keelson 0a"\n',
    told: ['- rules of chain ip keelson refuse', '+ rule ip keelson refuse ip saddr { 10.0.0.0/8, 11.0.0.0/8 } reject'],
  },
  'a table that is replaced': {
    script: 'add table ip keelson\ndelete table ip keelson\nadd table ip keelson\n',
    told: ['- table ip keelson', '+ table ip keelson'],
  },
  'a table that is made, with a set and a chain': {
    script:
      'add table ip keelson\nadd set ip keelson hairpins { type ipv4_addr; }\nadd chain ip keelson a { type nat hook output priority 0; }\n',
    told: [
      '+ table ip keelson',
      '+ set ip keelson hairpins { type ipv4_addr; }',
      '+ chain ip keelson a { type nat hook output priority 0; }',
    ],
  },
  'a chain that goes': { script: 'delete chain ip keelson pick-tcp-5\n', told: ['- chain ip keelson pick-tcp-5'] },
  nothing: { script: '\n', told: [] },
};

for (const [sentence, { script, told }] of Object.entries(lines)) {
  test(`differences: ${sentence}`, () => assert.deepEqual(differencesOf(script), told));
}

test('a frontend is explained by its elements and the rules they lead to', () => {
  const options = {
    ...({ family: 'ip', table: 'keelson', masqueradeAll: false, masqueradeBit: 14 } as const),
    ...{ local: undefined, nodePortAddresses: [], localhostNodePorts: false },
  };
  const desired = {
    id: { ip: '10.96.0.9', proto: 'tcp', port: 80 },
    ...({ endpoints: ['10.244.0.1 . 8080'], verdict: 'forward', sources: ['10.0.0.0/8'] } as const),
  } as const;
  const told = explainFrontend(desired, options);
  assert.ok(told.includes('frontends { 10.96.0.9 . tcp . 80 : goto pick-tcp-1 }'), told.join('\n'));
  assert.ok(told.includes('endpoints-tcp { 10.96.0.9 . 80 . 0 : 10.244.0.1 . 8080 }'));
  assert.ok(told.some((line) => /^chain pick-tcp-1: .*dnat ip to .* mod 1 map @endpoints-tcp$/.test(line)));
  assert.ok(told.some((line) => /^chain only-[0-9a-f]{12}: ip saddr != \{ 10\.0\.0\.0\/8 \} drop$/.test(line)));
});
