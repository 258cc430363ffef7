import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cniFileName, decideCni, generateCniConfig } from './cni-config.ts';

const settings = { podCidrs: ['10.244.1.0/24'], bridgeName: 'keelson0', mtu: 1500 };
const wanted = generateCniConfig(settings);
const older = generateCniConfig({ ...settings, podCidrs: ['10.1.0.0/24'] });

const cases: Record<string, { files: string[]; ours?: string; expect: object }> = {
  'an empty folder gets ours': { files: [], expect: { action: 'write', reason: 'missing' } },
  'a foreign configuration is left alone': {
    files: ['99-calico.conflist'],
    expect: { action: 'leave', file: '99-calico.conflist' },
  },
  'what the runtime does not read does not count': {
    files: ['README', 'x.conflist.bak', '.hidden.tmp'],
    expect: { action: 'write', reason: 'missing' },
  },
  'ours is not written twice': { files: [cniFileName], ours: wanted, expect: { action: 'keep' } },
  'ours follows another CIDR': { files: [cniFileName], ours: older, expect: { action: 'write', reason: 'changed' } },
  'a foreign one that sorts before ours wins, and ours is not touched': {
    files: [cniFileName, '05-cilium.conflist'],
    ours: older,
    expect: { action: 'leave', file: '05-cilium.conflist' },
  },
  'a foreign one that sorts after ours changes nothing': {
    files: [cniFileName, '87-podman-bridge.conflist'],
    ours: wanted,
    expect: { action: 'keep' },
  },
};

for (const [sentence, { files, ours, expect }] of Object.entries(cases)) {
  test(sentence, () => assert.deepEqual(decideCni(files, ours, wanted), expect));
}

test('dual stack gets a range and a route per family', () => {
  const { plugins } = JSON.parse(generateCniConfig({ ...settings, podCidrs: ['10.244.1.0/24', 'fd00:1::/64'] }));
  assert.deepEqual(plugins[0].ipam.ranges, [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd00:1::/64' }]]);
  assert.deepEqual(plugins[0].ipam.routes, [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]);
});
