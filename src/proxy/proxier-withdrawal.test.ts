import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { silentLog } from '../lib/log.ts';
import { FakeNft } from './nftables/fake-nft.ts';
import { Proxier } from './proxier.ts';

/** Whoever ends a pod waits here until the kernel leads nobody to it. */

const never = new AbortController().signal;
const local = '10.244.0.5';
const service: Service = {
  metadata: { name: 'web', namespace: 'd' },
  spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
};
const slice = (...ips: readonly string[]): EndpointSlice => ({
  ...{ metadata: { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } }, addressType: 'IPv4' },
  endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: 'here' })),
  ports: [{ name: '', port: 8080 }],
});

async function setUp({ synced = true } = {}) {
  const nft = new FakeNft();
  const settings = { clock: new FakeClock(), log: silentLog, nodeName: 'here', masqueradeAll: false, clusterCidrs: [] };
  const proxier = new Proxier({ ...settings, exec: nft, masqueradeBit: 14 });
  proxier.onServiceChange('d/web', service);
  proxier.onSliceChange('d/web-1', slice(local, '10.244.0.6'));
  if (synced) {
    proxier.sourcesSynced();
    await proxier.syncOnce('change', never);
  }
  const leads = () => nft.dump().includes(local);
  /** Whether the wait for the address is over, after `work`. */
  const isOverAfter = async (work: () => Promise<void> | void, ip = local) => {
    let over = false;
    const wait = proxier.whenWritten([ip], never).then(() => {
      over = true;
    });
    await work();
    await new Promise(setImmediate);
    const answer = over;
    if (!answer) await proxier.syncOnce('retry', never);
    await wait;
    return answer;
  };
  return { nft, proxier, leads, isOverAfter };
}
const leaving = new Map([[local, 'terminating']] as const);

test('the wait ends with the sync that took the address out, and not before', async () => {
  const { proxier, leads, isOverAfter } = await setUp();
  proxier.onWithdrawn(leaving);
  assert.equal(leads(), true);
  assert.equal(await isOverAfter(() => {}), false);
  assert.equal(leads(), false);
  assert.equal(await isOverAfter(() => {}), true, 'nothing is left to do');
});

test('a sync under way when the address was withdrawn does not count', async () => {
  const { proxier, leads, isOverAfter } = await setUp();
  proxier.onSliceChange('d/web-1', slice(local));
  const underWay = proxier.syncOnce('change', never);
  proxier.onWithdrawn(leaving);
  assert.equal(await isOverAfter(() => underWay), false);
  proxier.onSliceChange('d/web-1', undefined);
  assert.equal(await isOverAfter(() => proxier.syncOnce('change', never)), true);
  assert.equal(leads(), false);
});

test('a sync that fails does not end the wait, also for an address that no slice names any more', async () => {
  const { nft, proxier, leads, isOverAfter } = await setUp();
  proxier.onSliceChange('d/web-1', slice('10.244.0.6'));
  nft.failNext('Error: interrupted');
  assert.equal(await isOverAfter(() => assert.rejects(proxier.syncOnce('change', never))), false);
  assert.equal(leads(), false);
});

test('what is asked later is not waited for', async () => {
  const { proxier, isOverAfter } = await setUp();
  proxier.onWithdrawn(leaving);
  const over = await isOverAfter(async () => {
    const withdrawal = proxier.syncOnce('change', never);
    proxier.onSliceChange('d/web-1', slice(local));
    await withdrawal;
  });
  assert.equal(over, true);
});

test('nobody waits for an address that is no endpoint here, or of the other family, though the kernel lags behind', async () => {
  const { proxier, isOverAfter } = await setUp();
  proxier.onWithdrawn(leaving);
  assert.equal(await isOverAfter(() => {}, '10.244.0.99'), true);
  assert.equal(await isOverAfter(() => {}, 'fd00::5'), true);
  assert.equal(await isOverAfter(() => {}), false);
});

test("of two pods on the host's network one leaves, and whoever waits at the address of both waits for that", async () => {
  const { proxier, nft, isOverAfter } = await setUp();
  const pod = (uid: string, port: number): EndpointSlice => ({
    ...slice(),
    endpoints: [{ addresses: ['192.0.2.1'], nodeName: 'here', targetRef: { kind: 'Pod', uid } }],
    ports: [{ name: '', port }],
  });
  proxier.onSliceChange('d/web-1', pod('a', 8081));
  proxier.onSliceChange('d/web-2', pod('b', 8082));
  await proxier.syncOnce('change', never);
  const leads = () => [8081, 8082].map((port) => nft.dump().includes(`192.0.2.1 . ${port}`));
  assert.deepEqual([leads(), proxier.isLocalEndpoint('a'), proxier.localEndpoints('d/web')], [[true, true], true, 1]);
  proxier.onWithdrawn(new Map([['a', 'terminating']]));
  assert.equal(await isOverAfter(() => {}, '192.0.2.1'), false);
  assert.deepEqual([leads(), proxier.localEndpoints('d/web')], [[false, true], 1]);
  proxier.onWithdrawn(new Map(['a', 'b'].map((uid) => [uid, 'unready'])));
  assert.equal(proxier.localEndpoints('d/web'), 0);
});

test('as long as the sources are not known, rules of an earlier run may lead anywhere', async () => {
  const { proxier, isOverAfter } = await setUp({ synced: false });
  const soon = AbortSignal.abort(new Error('enough'));
  await proxier.syncOnce('change', never);
  await assert.rejects(proxier.whenWritten(['10.244.0.99'], soon), /enough/);
  proxier.sourcesSynced();
  assert.equal(await isOverAfter(() => proxier.syncOnce('change', never), '10.244.0.99'), true);
});

test('so may they when the API server has not told anything yet', async () => {
  const nft = new FakeNft();
  const settings = { clock: new FakeClock(), log: silentLog, nodeName: 'here', masqueradeAll: false, clusterCidrs: [] };
  const proxier = new Proxier({ ...settings, exec: nft, masqueradeBit: 14 });
  const patience = new AbortController();
  const waiting = assert.rejects(proxier.whenWritten([local], patience.signal), /enough/);
  patience.abort(new Error('enough'));
  await waiting;
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  await proxier.whenWritten([local], never);
});

test('what is withdrawn does not wait for minSyncPeriod', async () => {
  const nft = new FakeNft();
  const clock = new FakeClock();
  const settings = { clock, log: silentLog, nodeName: 'here', masqueradeAll: false, clusterCidrs: [] };
  const proxier = new Proxier({ ...settings, exec: nft, masqueradeBit: 14, minSyncPeriodMs: 60_000 });
  const stop = new AbortController();
  const running = proxier.run(stop.signal);
  proxier.onServiceChange('d/web', service);
  proxier.onSliceChange('d/web-1', slice(local, '10.244.0.6'));
  proxier.sourcesSynced();
  await proxier.synced;
  await clock.advance(0);
  proxier.onWithdrawn(leaving);
  await proxier.whenWritten([local], never);
  assert.equal(nft.dump().includes(local), false);
  stop.abort();
  await running;
});
