import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PacketTrace } from '../api/service-views.ts';
import { svcDiff, svcPlan, svcTrace } from './svc.ts';

const settled = { services: 0, endpoints: 0 };

test('a plan is text for the program, each family behind a comment', () => {
  const items = [
    { family: 'IPv4', mode: 'nftables', text: 'add table ip keelson\n' },
    { family: 'IPv6', mode: 'nftables', text: '' },
  ] as const;
  const common = { what: 'plan', output: 'text', socket: '' } as const;
  assert.equal(
    svcPlan({ pending: settled, items }, common),
    '# nftables, IPv4\nadd table ip keelson\n# nftables, IPv6',
  );
  assert.equal(svcPlan({ pending: settled, items }, { ...common, family: 'IPv6' }), '# nftables, IPv6');
  const [first] = items;
  const lacking = { pending: settled, items: [first] };
  assert.throws(() => svcPlan(lacking, { ...common, family: 'IPv6' }), /IPv6 is not carried on this node/);
});

test('a difference is told line by line, and what may be on its way', () => {
  const item = { family: 'IPv4', mode: 'nftables', isMoving: true } as const;
  assert.deepEqual(svcDiff({ pending: settled, items: [{ ...item, lines: [] }] }, 'text'), {
    inStep: true,
    text: 'nftables, IPv4: in step',
  });
  const { inStep, text } = svcDiff(
    { pending: { services: 2, endpoints: 1 }, items: [{ ...item, lines: ['+ a', '- b'] }] },
    'text',
  );
  assert.equal(inStep, false);
  assert.deepEqual(text.split('\n'), [
    ...['nftables, IPv4: 2 lines', '+ a', '- b'],
    '  Services were programmed meanwhile: some of it may be on its way',
    'changes not programmed yet: 2 of Services, 1 of EndpointSlices',
  ]);
});

const forwarded: PacketTrace = {
  ...{ family: 'IPv6', client: 'pod d/c (fd00::9)', verdict: 'forward' },
  destination: { ip: 'fd00:96::1', protocol: 'TCP', port: 80 },
  endpoints: [
    { ip: 'fd00::5', port: 8080, target: 'Pod d/web-1', node: 'here', isLocal: true, masqueraded: false },
    { ip: 'fd00::6', port: 8080, isLocal: false, masqueraded: true },
  ],
  steps: [
    { about: 'client', sentence: 'a pod' },
    { about: 'masquerade', object: 'Service d/web', field: 'spec.x: y', sentence: 'masqueraded' },
  ],
  rules: ['frontends { … }'],
  alsoAt: ['192.0.2.80:80/TCP'],
};

test('a trace says the verdict first, then each decision with what decides, the endpoints and the rules', () => {
  assert.deepEqual(svcTrace({ pending: settled, items: [forwarded] }, 'text').split('\n'), [
    ...['pod d/c (fd00::9) → [fd00:96::1]:80/TCP: forwarded to one of 2', ''],
    ...['  client       a pod', '  masquerade   masqueraded (Service d/web, spec.x: y)', ''],
    '  ENDPOINT         TARGET        NODE             SEES',
    '  [fd00::5]:8080   Pod d/web-1   here, this one   the client',
    '  [fd00::6]:8080                                  an address of this node',
    ...['', '  RULES', '  frontends { … }', '', '  also at: 192.0.2.80:80/TCP'],
  ]);
});

test('the verdicts in words', () => {
  const bare = { ...forwarded, endpoints: [], rules: [], alsoAt: [] };
  const words = (['reject', 'drop', 'untouched'] as const).map(
    (verdict) =>
      svcTrace({ pending: settled, items: [{ ...bare, verdict }] }, 'text')
        .split('\n')[0]
        ?.split(': ')[1],
  );
  assert.deepEqual(words, [
    'rejected, the client hears so at once',
    'dropped, the client waits in vain',
    "no Service's, nothing is done with it",
  ]);
});
