import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { loadConfig } from '../config/load-config.ts';
import { noOptions } from '../config/run-options.ts';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import { buildAllMetrics } from './metrics-part.ts';
import { serveProxyPorts } from './proxy-ports.ts';

const { config } = loadConfig(noOptions);
type Keys = Partial<typeof config.proxy>;

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '::'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** Serves both ports in the mode iptables, and gives a way to ask the one for operators. */
async function serve(keys: Keys, hasIpv6 = true) {
  const [healthz = 0, metrics = 0] = await freePorts(2);
  const places = { healthzBindAddress: `0.0.0.0:${healthz}`, metricsBindAddress: `127.0.0.1:${metrics}` };
  const served: string[] = [];
  const both = Promise.withResolvers<void>();
  const log: Log = {
    ...silentLog,
    debug: (fields, message) => {
      if (message === 'a port is served') served.push((fields as { address: string }).address);
      if (served.length === 2) both.resolve();
    },
  };
  const stop = new AbortController();
  const running = serveProxyPorts(
    {
      config: { ...config, proxy: { ...config.proxy, ...places, ...keys } },
      ...{ mode: 'iptables', hasIpv6, metrics: buildAllMetrics(silentLog), node: () => undefined, log },
      health: { healthy: true, updatedAt: 0 },
    },
    stop.signal,
  );
  await both.promise;
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${metrics}${path}`, { headers: { connection: 'close' } });
    return { status: response.status, text: await response.text() };
  };
  const end = () => {
    stop.abort();
    return running;
  };
  return { served, ask, healthz, end };
}

test('the mode in use is answered and shown, whatever was asked for', async () => {
  const { ask, end } = await serve({ mode: 'ipvs' });
  assert.deepEqual(await ask('/proxyMode'), { status: 200, text: 'iptables' });
  assert.equal(JSON.parse((await ask('/configz')).text)['kubeproxy.config.k8s.io'].mode, 'iptables');
  await end();
});

test('0.0.0.0 stands for both families, where there are two', async () => {
  const both = await serve({});
  assert.ok(both.served.includes('::'), both.served.join());
  for (const address of ['127.0.0.1', '[::1]'])
    assert.equal((await fetch(`http://${address}:${both.healthz}/livez`)).status, 200, address);
  await both.end();
  const one = await serve({}, false);
  assert.deepEqual(one.served.toSorted(), ['0.0.0.0', '127.0.0.1']);
  await one.end();
});

test('profiles are there when they are asked for', async () => {
  const without = await serve({});
  assert.equal((await without.ask('/debug/pprof/cmdline')).status, 404);
  await without.end();
  const { ask, end } = await serve({ enableProfiling: true });
  assert.match((await ask('/debug/pprof/')).text, /profile\?seconds=30/);
  assert.ok(JSON.parse((await ask('/debug/pprof/profile?seconds=0.01')).text).nodes.length > 0);
  assert.equal((await ask('/debug/pprof/profile?seconds=0')).status, 400);
  assert.equal((await ask('/debug/pprof/moon')).status, 404);
  assert.equal((await ask('/proxyMode')).status, 200);
  await end();
});
