import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { test } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import { DualProxier } from '../proxy/dual-proxier.ts';
import { FakeNft } from '../proxy/nftables/fake-nft.ts';
import { Proxier } from '../proxy/proxier.ts';
import { HealthCheckPorts } from './health-check-ports.ts';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '::');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test('a port opens with its Service, answers for the endpoints of the moment, and closes with it', async () => {
  const port = await freePort();
  const served = Promise.withResolvers<void>();
  const log: Log = { ...silentLog, debug: (_, message) => message === 'a port is served' && served.resolve() };
  const healthChecksChanged = () => ports.update();
  const everywhere = { nodePortAddresses: [], bindAddress: '0.0.0.0', node: undefined, interfaces: {} };
  const places = () => ({ ...everywhere, hasIpv6: true });
  const settings = { clock: new FakeClock(), log: silentLog, nodeName: 'here', masqueradeAll: false, clusterCidrs: [] };
  const one = new Proxier({ ...settings, exec: new FakeNft(), masqueradeBit: 14, healthChecksChanged });
  const proxier = new DualProxier(one);
  const ports: HealthCheckPorts = new HealthCheckPorts({
    proxier: () => proxier,
    health: { healthy: true },
    places,
    log,
  });
  const stop = new AbortController();
  const running = ports.run(stop.signal);
  const service: Service = {
    metadata: { name: 'web', namespace: 'd' },
    spec: {
      ...{ type: 'LoadBalancer', clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
      ...{ externalTrafficPolicy: 'Local', healthCheckNodePort: port },
    },
  };
  proxier.onServiceChange('d/web', service);
  await served.promise;
  const ask = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/anything`, { headers: { connection: 'close' } });
    await response.body?.cancel();
    return [response.status, response.headers.get('x-load-balancing-endpoint-weight')];
  };
  assert.deepEqual(await ask(), [503, '0']);
  proxier.onSliceChange('d/web-1', {
    ...{ metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } }, addressType: 'IPv4' },
    endpoints: [{ addresses: ['10.244.0.1'], nodeName: 'here' }],
    ports: [{ name: '', port: 8080 }],
  });
  assert.deepEqual(await ask(), [200, '1']);
  proxier.onWithdrawn(new Map([['10.244.0.1', 'terminating']]));
  assert.deepEqual(await ask(), [503, '0']);
  proxier.onServiceChange('d/web', undefined);
  await assert.rejects(ask());
  stop.abort();
  await running;
});
