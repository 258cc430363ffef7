import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import type { Backend, Wish } from './backend.ts';
import { DualProxier } from './dual-proxier.ts';
import { Proxier } from './proxier.ts';
import { parseClient, parseTarget } from './trace-question.ts';

const never = new AbortController().signal;
const service: Service = {
  metadata: { name: 'web', namespace: 'd' },
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
};
const slice: EndpointSlice = {
  metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } },
  addressType: 'IPv4',
  endpoints: [{ addresses: ['10.244.0.5'], nodeName: 'here' }],
  ports: [{ name: '', port: 8080, protocol: 'TCP' }],
};

/** A proxier whose backend has a kernel of nothing; `diff` is what the kernel differs by at each look. */
function start(diff: () => Promise<readonly string[]> = async () => [], minSyncPeriodMs = 0) {
  const backend: Backend = {
    mode: 'nftables',
    sync: async () => ({ isFull: true, writes: 0 }),
    run: async () => {},
    plan: ({ routes }: Wish) => [...routes.frontends()].join('\n'),
    diff,
    explain: (frontend) => [`rule of ${frontend}`],
  };
  const exec = { run: async () => ({ stdout: '', stderr: '' }) };
  const options = { masqueradeAll: false, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14, minSyncPeriodMs };
  const proxier = new Proxier({ exec, clock: new FakeClock(), log: silentLog, nodeName: 'here', backend, ...options });
  const sync = () => proxier.syncOnce('change', never);
  return { proxier, dual: new DualProxier(proxier), sync };
}

test('before all objects are known nothing is said of them', async () => {
  const { proxier, dual, sync } = start();
  proxier.onServiceChange('d/web', service);
  await sync();
  assert.throws(() => dual.plan(), { code: 'ServicesUnknown' });
  await assert.rejects(dual.diff(never), { code: 'ServicesUnknown' });
  proxier.sourcesSynced();
  await sync();
  assert.deepEqual(dual.plan(), [{ family: 'IPv4', mode: 'nftables', text: '10.96.0.1 TCP 80' }]);
});

test('the kernel is looked at again when Services were programmed meanwhile', async () => {
  let looks = 0;
  const { proxier, dual, sync } = start(async () => {
    looks += 1;
    if (looks > 1) return [];
    await sync();
    return ['+ what was on its way'];
  });
  proxier.sourcesSynced();
  await sync();
  assert.deepEqual(await dual.diff(never), [{ family: 'IPv4', mode: 'nftables', lines: [], isMoving: false }]);
  assert.equal(looks, 2);
});

test('where Services never rest it is said that they do not', async () => {
  let looks = 0;
  const { proxier, dual, sync } = start(async () => {
    looks += 1;
    await sync();
    return [`+ ${looks}`];
  });
  proxier.sourcesSynced();
  await sync();
  const [diff] = await dual.diff(never);
  assert.deepEqual([diff?.isMoving, diff?.lines], [true, [`+ ${looks}`]]);
});

test('a difference of a kernel at rest is told at the first look', async () => {
  let looks = 0;
  const { proxier, dual, sync } = start(async () => [`+ ${++looks}`]);
  proxier.sourcesSynced();
  await sync();
  assert.deepEqual(await dual.diff(never), [{ family: 'IPv4', mode: 'nftables', lines: ['+ 1'], isMoving: false }]);
});

test('a packet is traced with what this node knows, local pods that serve no more among it', async () => {
  const { proxier, dual, sync } = start();
  proxier.onServiceChange('d/web', service);
  proxier.onSliceChange('d/web-1', slice);
  proxier.sourcesSynced();
  const objects = { services: () => [service], slicesOf: () => [slice], hostAddresses: () => [] };
  const client = parseClient('10.244.0.9', () => undefined);
  const question = { client, target: parseTarget('d/web:80'), asked: 'd/web:80', protocol: undefined };
  await sync();
  const [found] = dual.trace(question, objects);
  assert.deepEqual([found?.verdict, found?.endpoints[0]?.ip], ['forward', '10.244.0.5']);
  assert.deepEqual(found?.rules, ['rule of 10.96.0.1 TCP 80']);
  proxier.onWithdrawn(new Map([['10.244.0.5', 'unready']]));
  await sync();
  const [refused] = dual.trace(question, objects);
  assert.equal(refused?.verdict, 'reject');
  assert.ok(refused.steps.some((step) => step.about === 'withdrawn'));
});

test('the first sync does not wait out the interval between syncs', async () => {
  const { proxier } = start(undefined, 600_000);
  const stop = new AbortController();
  const running = proxier.run(stop.signal);
  proxier.onServiceChange('d/web', service);
  // The pass that finds nothing to do yet is over, and the pause after it has begun.
  await new Promise((resolve) => setImmediate(resolve));
  proxier.sourcesSynced();
  await proxier.synced;
  stop.abort();
  await running;
});
