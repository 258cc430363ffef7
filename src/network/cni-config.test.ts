import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cniFileName, decideCni, generateCniConfig } from './cni-config.ts';
import { compileMasquerade } from './masquerade.ts';

const plan = { podCidrs: ['10.244.1.0/24'], bridgeName: 'keelson0', mtu: 0 };

const cases: Record<string, { files: string[]; ours?: string; expect: string }> = {
  'an empty folder gets ours': { files: [], expect: `write ${cniFileName}` },
  'a foreign configuration is left alone': { files: ['10-calico.conflist'], expect: 'none 10-calico.conflist' },
  'what the runtime does not read does not count': {
    files: ['README', 'x.conflist.bak'],
    expect: `write ${cniFileName}`,
  },
  'ours is not written twice': { files: [cniFileName], ours: generateCniConfig(plan), expect: 'none -' },
  'ours follows another CIDR': {
    files: [cniFileName],
    ours: generateCniConfig({ ...plan, podCidrs: ['10.1.0.0/24'] }),
    expect: `write ${cniFileName}`,
  },
};

for (const [sentence, { files, ours, expect }] of Object.entries(cases)) {
  test(sentence, () => {
    const decision = decideCni(plan, files, ours);
    assert.equal(decision.action === 'write' ? `write ${decision.file}` : `none ${decision.foreign ?? '-'}`, expect);
  });
}

test('dual stack gets a range and a route per family', () => {
  const { plugins } = JSON.parse(generateCniConfig({ ...plan, podCidrs: ['10.244.1.0/24', 'fd00:1::/64'], mtu: 1400 }));
  assert.deepEqual(plugins[0].ipam.ranges, [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd00:1::/64' }]]);
  assert.deepEqual(plugins[0].ipam.routes, [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]);
  assert.equal(plugins[0].mtu, 1400);
});

test('only what leaves the cluster is masqueraded, and a family without pods has no table', () => {
  const text = compileMasquerade({ podCidrs: ['10.244.1.0/24'], clusterCidrs: ['10.244.0.0/16'] });
  assert.match(
    text,
    /ip saddr \{ 10\.244\.1\.0\/24 \} ip daddr != \{ 10\.244\.0\.0\/16, 10\.244\.1\.0\/24 \} fib daddr type != local masquerade/,
  );
  assert.ok(!/table ip6 keelson-pods \{/.test(text));
});
