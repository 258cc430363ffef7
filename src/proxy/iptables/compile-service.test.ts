import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../route-services.ts';
import { compileService } from './compile-service.ts';

const named = (name: string, portName: string): Route => ({
  frontend: { ip: '10.96.0.1', protocol: 'TCP', port: 80 },
  origin: { namespace: 'd', name, portName, kind: 'loadBalancer' },
  verdict: 'forward',
  targets: [{ ip: '10.244.0.1', port: 8080, mayBeLocal: false }],
  ...{ masquerade: 'host', affinitySeconds: undefined, sources: ['10.0.0.0/8'] },
  outside: { verdict: 'drop', targets: [] },
});

const odd: Readonly<Record<string, readonly [name: string, portName: string]>> = {
  'long ones': ['n'.repeat(253), 'p'.repeat(253)],
  'quotes, backslashes and ends of lines': ['a"b\\', 'x\nCOMMIT\n*nat\r'],
  'what stands for a match in replacements': ['$&', "$`$'"],
  'what is not ASCII': ['dienst-ü', 'порт'.repeat(60)],
};
for (const [sentence, [name, portName]] of Object.entries(odd)) {
  test(`names that the API would not take do no harm to the rules of others: ${sentence}`, () => {
    const { chains, entries } = compileService([named(name, portName)], {
      ...{ family: 'IPv4', masqueradeAll: false, local: undefined },
    });
    const lines = [...chains.flatMap((chain) => chain.rules), ...entries.map(({ rule }) => rule)];
    const comments = lines.flatMap((line) => /--comment (.*?)(?= -[mj] |$)/s.exec(line)?.[1] ?? []);
    assert.ok(comments.length > 5);
    // The kernel keeps 255 bytes.
    for (const one of comments) assert.match(one, /^"[ !#-[\]-~]{1,255}"$/);
  });
}

test('ports of one name have one rule for health checks: a rule that is there twice would stay once', () => {
  const tcp: Route = { ...named('a', ''), ...{ sources: undefined, outside: undefined, healthPort: 31_000 } };
  const clusterIp: Route = { ...tcp, origin: { ...tcp.origin, kind: 'clusterIP' } };
  const udp: Route = { ...clusterIp, frontend: { ip: '10.96.0.1', protocol: 'UDP', port: 53 } };
  const rules = { family: 'IPv4', masqueradeAll: false, local: undefined } as const;
  const { entries } = compileService([clusterIp, udp], rules);
  const accepted = entries.filter(({ rule }) => rule.endsWith('--dport 31000 -j ACCEPT'));
  assert.deepEqual(
    accepted.map(({ table, chain }) => `${table} ${chain}`),
    ['filter KUBE-NODEPORTS'],
  );
});
