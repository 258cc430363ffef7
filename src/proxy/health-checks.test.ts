import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import type { Endpoint } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { DualProxier } from './dual-proxier.ts';
import { claimPorts, healthCheckAnswer } from './health-checks.ts';
import { FakeNft } from './nftables/fake-nft.ts';
import { Proxier } from './proxier.ts';

const check = { namespace: 'd', name: 'web', port: 31_000 };

test('a node with endpoints of its own is healthy, in the words of kube-proxy', () => {
  assert.deepEqual(healthCheckAnswer(check, 2, true), {
    status: 200,
    text: '{\n\t"service": {\n\t\t"namespace": "d",\n\t\t"name": "web"\n\t},\n\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}',
    contentType: 'application/json',
    headers: { 'x-load-balancing-endpoint-weight': '2' },
  });
});

test('without endpoints, or with a kernel that lags behind, it is not', () => {
  assert.equal(healthCheckAnswer(check, 0, true).status, 503);
  assert.equal(healthCheckAnswer(check, 2, false).status, 503);
});

const service = (spec: Partial<Service['spec']> = {}): Service => ({
  metadata: { name: 'web', namespace: 'd' },
  spec: {
    ...{ type: 'LoadBalancer', clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
    ...{ externalTrafficPolicy: 'Local', healthCheckNodePort: 31_000, ...spec },
  },
});

function proxierWith(...endpoints: readonly Endpoint[]): { proxier: DualProxier; changes: () => number } {
  let changes = 0;
  const settings = { clock: new FakeClock(), log: silentLog, nodeName: 'here', masqueradeAll: false, clusterCidrs: [] };
  const healthChecksChanged = () => void changes++;
  const one = new Proxier({ ...settings, exec: new FakeNft(), masqueradeBit: 14, healthChecksChanged });
  const proxier = new DualProxier(one);
  proxier.onSliceChange('d/web-1', {
    ...{ metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } }, addressType: 'IPv4' },
    endpoints,
    ports: [
      { name: '', port: 8080 },
      { name: 'more', port: 8081 },
    ],
  });
  return { proxier, changes: () => changes };
}

test('ready endpoints of this node are counted, each once, and not those withdrawn', () => {
  const { proxier } = proxierWith(
    { addresses: ['10.244.0.1'], nodeName: 'here' },
    { addresses: ['10.244.0.2'], nodeName: 'here' },
    { addresses: ['10.244.0.3'], nodeName: 'here', conditions: { ready: false } },
    { addresses: ['10.244.1.1'], nodeName: 'there' },
  );
  proxier.onServiceChange('d/web', service());
  assert.equal(proxier.localEndpoints('d/web'), 2);
  proxier.onWithdrawn(new Map([['10.244.0.1', 'terminating']]));
  assert.equal(proxier.localEndpoints('d/web'), 1);
});

test('a change is told when a port to ask comes, moves or goes, and only then', () => {
  const { proxier, changes } = proxierWith();
  const ports = () => [...proxier.healthChecks()].map(([key, { port }]) => `${key} ${port}`);
  proxier.onServiceChange('d/web', service());
  assert.deepEqual([changes(), ports()], [1, ['d/web 31000']]);
  proxier.onServiceChange('d/web', service({ externalIPs: ['198.51.100.1'] }));
  assert.equal(changes(), 1);
  proxier.onServiceChange('d/web', service({ healthCheckNodePort: 31_001 }));
  assert.deepEqual([changes(), ports()], [2, ['d/web 31001']]);
  proxier.onServiceChange('d/web', service({ externalTrafficPolicy: 'Cluster' }));
  assert.deepEqual([changes(), ports()], [3, []]);
});

test('of Services that want the same port the oldest has it', () => {
  const wants = (name: string, port: number, createdAt: string) =>
    [`d/${name}`, { namespace: 'd', name, port, createdAt }] as const;
  const { won, lost } = claimPorts(
    new Map([
      wants('young', 31_000, '2026-02-01T00:00:00Z'),
      wants('b', 31_000, '2026-01-01T00:00:00Z'),
      wants('a', 31_000, '2026-01-01T00:00:00Z'),
      wants('other', 31_001, '2026-03-01T00:00:00Z'),
    ]),
  );
  assert.deepEqual([...won.keys()].sort(), ['d/a', 'd/other']);
  assert.deepEqual(lost, [
    { key: 'd/b', port: 31_000, winner: 'd/a' },
    { key: 'd/young', port: 31_000, winner: 'd/a' },
  ]);
});
