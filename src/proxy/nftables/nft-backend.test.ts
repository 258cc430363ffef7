import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exec } from '../../host/exec.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import type { Log } from '../../lib/log.ts';
import { silentLog } from '../../lib/log.ts';
import { tracePacket } from '../../testing/packet-tracer.ts';
import { Proxier } from '../proxier.ts';
import { FakeNft } from './fake-nft.ts';
import { NftBackend } from './nft-backend.ts';
import type { ForeignChange, RulesetWatch } from './ruleset-watch.ts';

const never = new AbortController().signal;
const port = { name: 'web', port: 80, protocol: 'TCP' } as const;

/** Two lives of keelson on one kernel, of which the second has an nft that lists in its own way. */
async function rig(listing: (json: string) => string) {
  const nft = new FakeNft();
  const warned: string[] = [];
  const log: Log = { ...silentLog, warn: (_, message) => void warned.push(message) };
  const lists: string[] = [];
  const strange: Exec = {
    run: async (file, args, options) => {
      const result = await nft.run(file, args, options);
      if (args.join(' ').startsWith('-j list table')) lists.push('read');
      return args[0] === '-j' ? { ...result, stdout: listing(result.stdout) } : result;
    },
  };
  const start = (exec: Exec) => {
    const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14, nodeName: 'here' };
    const backend = new NftBackend({ exec, log });
    const proxier = new Proxier({ ...settings, exec, clock: new FakeClock(), log, backend });
    const spec = { clusterIP: '10.96.0.1', ports: [port], sessionAffinity: 'ClientIP' } as const;
    proxier.onServiceChange('d/web', { metadata: { name: 'web' }, spec });
    proxier.sourcesSynced();
    return proxier;
  };
  await start(nft).syncOnce('change', never);
  return { nft, wanted: nft.dump(), warned, lists, proxier: start(strange) };
}

for (const [sentence, listing] of [
  ['no JSON at all', () => 'table ip keelson {\n}\n'],
  ['JSON of another schema', () => '{"nftables2": {}}'],
  ['elements in another shape', (json: string) => json.replaceAll('"concat"', '"joined"')],
] as const) {
  test(`an nft that lists ${sentence} does not keep Services from being programmed`, async () => {
    const { nft, wanted, proxier, lists } = await rig(listing);
    for (let i = 0; i < 12; i++) {
      await proxier.syncOnce(i === 0 ? 'change' : 'periodic', never).catch(() => proxier.syncOnce('retry', never));
      assert.equal(nft.dump(), wanted);
    }
    assert.ok(lists.length <= 12, `${lists.length} readings`);
  });
}

test('fields that nobody knows yet are no reason to write', async () => {
  const { nft, proxier } = await rig((json) => json.replaceAll('"chain":{', '"chain":{"of-the-future":[{}],'));
  const written = nft.scripts.length;
  await proxier.syncOnce('change', never);
  await proxier.syncOnce('periodic', never);
  assert.equal(nft.scripts.length, written);
});

test('what another program does while the table is read is repaired too', async () => {
  const nft = new FakeNft();
  const flush = () =>
    nft.run('nft', ['-f', '-'], { signal: never, timeoutMs: 1, input: 'flush chain ip keelson prerouting\n' });
  let tell: (change: ForeignChange) => void = () => {};
  const watch = {
    listen: async (_: AbortSignal, listener: (change: ForeignChange) => void) => {
      tell = listener;
    },
    own: <T>(_: boolean, run: () => Promise<T>) => run(),
  };
  const flushed = async () => {
    await flush();
    tell(new Set(['ip keelson']));
  };
  let afterReading = async () => {};
  const exec: Exec = {
    run: async (file, args, options) => {
      const result = await nft.run(file, args, options);
      if (args.join(' ').startsWith('-j list table')) await afterReading();
      return result;
    },
  };
  const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14, nodeName: 'here' };
  const backend = new NftBackend({ exec, log: silentLog, watch: watch as unknown as RulesetWatch });
  const proxier = new Proxier({ ...settings, exec, clock: new FakeClock(), log: silentLog, backend });
  proxier.onServiceChange('d/web', { metadata: { name: 'web' }, spec: { clusterIP: '10.96.0.1', ports: [port] } });
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  const wanted = nft.dump();
  let asked = 0;
  await backend.run(never, () => {
    asked += 1;
  });
  await flushed();
  afterReading = flushed;
  await proxier.syncOnce('change', never);
  afterReading = async () => {};
  assert.equal(asked, 2);
  await proxier.syncOnce('change', never);
  assert.equal(nft.dump(), wanted);
});

const notes = 'element ip keelson affinity-tcp { 10.244.0.9 . 7 }';
const noteOne = (nft: FakeNft) => nft.run('nft', ['-f', '-'], { signal: never, timeoutMs: 1, input: `add ${notes}\n` });

/** A life of keelson with one Service. */
function lifeOf(exec: Exec, spec: object): Proxier {
  const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14, nodeName: 'here' };
  const proxier = new Proxier({ ...settings, exec, clock: new FakeClock(), log: silentLog });
  proxier.onServiceChange('d/web', {
    metadata: { name: 'web', namespace: 'd' },
    spec: { clusterIP: '10.96.0.1', ports: [port], ...spec },
  });
  proxier.sourcesSynced();
  return proxier;
}

for (const sessionAffinity of ['ClientIP', 'None']) {
  test(`clients that were to be forgotten when keelson was killed are forgotten at the next start: ${sessionAffinity}`, async () => {
    const nft = new FakeNft();
    await lifeOf(nft, { sessionAffinity }).syncOnce('change', never);
    const wanted = nft.dump();
    await noteOne(nft);
    await lifeOf(nft, { sessionAffinity }).syncOnce('change', never);
    assert.equal(nft.dump(), wanted);
  });
}

test('where nobody can tell who is kept, all are forgotten', async () => {
  const nft = new FakeNft();
  const strange: Exec = {
    run: async (file, args, options) => {
      const result = await nft.run(file, args, options);
      const isOfNotes = args.join(' ').startsWith('-j list set');
      return isOfNotes ? { ...result, stdout: result.stdout.replaceAll('"concat"', '"joined"') } : result;
    },
  };
  await lifeOf(nft, {}).syncOnce('change', never);
  const wanted = nft.dump();
  await noteOne(nft);
  await lifeOf(strange, {}).syncOnce('change', never);
  assert.equal(nft.dump(), wanted);
});

for (const [sentence, meanwhile, readings] of [
  ['is read once, while objects are listed', undefined, 1],
  ['is read again when somebody has changed it meanwhile', 'flush chain ip keelson prerouting\n', 2],
  ['is read again when somebody has removed it meanwhile', 'delete table ip keelson\n', 2],
] as const) {
  test(`at a start the table ${sentence}`, async () => {
    const nft = new FakeNft();
    let lists = 0;
    const exec: Exec = {
      run: (file, args, options) => {
        if (args.join(' ').startsWith('-j list table')) lists += 1;
        return nft.run(file, args, options);
      },
    };
    const lives = [1, 2].map(() => {
      const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14, nodeName: 'here' };
      return new Proxier({ ...settings, exec, clock: new FakeClock(), log: silentLog });
    });
    const [first, second] = lives as [Proxier, Proxier];
    for (const life of lives)
      life.onServiceChange('d/web', { metadata: { name: 'web' }, spec: { clusterIP: '10.96.0.1', ports: [port] } });
    first.sourcesSynced();
    await first.syncOnce('change', never);
    const wanted = nft.dump();
    lists = 0;
    const stop = new AbortController();
    const running = second.run(stop.signal);
    assert.equal(lists, 1);
    if (meanwhile) await nft.run('nft', ['-f', '-'], { signal: never, timeoutMs: 1, input: meanwhile });
    const written = nft.scripts.length;
    second.sourcesSynced();
    await second.synced;
    stop.abort();
    await running;
    assert.deepEqual({ lists, dump: nft.dump() }, { lists: readings, dump: wanted });
    assert.equal(nft.scripts.length > written, meanwhile !== undefined);
  });
}

test('an address of a Service goes before a node port of another, where it is the node’s own', async () => {
  const nft = new FakeNft();
  const proxier = lifeOf(nft, { externalIPs: ['192.0.2.1'], ports: [{ ...port, port: 30_080 }] });
  proxier.onServiceChange('d/other', {
    metadata: { name: 'other', namespace: 'd' },
    spec: { clusterIP: '10.96.0.2', externalTrafficPolicy: 'Local', ports: [{ ...port, nodePort: 30_080 }] },
  });
  for (const [name, ip] of [
    ['web', '10.244.0.1'],
    ['other', '10.244.0.2'],
  ] as const) {
    proxier.onSliceChange(`d/${name}-1`, {
      metadata: { name: `${name}-1`, namespace: 'd', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [ip], nodeName: 'here' }],
      ports: [{ name: 'web', port: 8080, protocol: 'TCP' }],
    });
  }
  await proxier.syncOnce('change', never);
  const table = nft.table('ip', 'keelson');
  assert.ok(table);
  const nodeAddresses = ['192.0.2.1'];
  const packet = {
    from: 'network',
    source: '192.0.2.2',
    destination: '192.0.2.1',
    proto: 'tcp',
    port: 30_080,
  } as const;
  const fate = tracePacket(table, { ...packet, nodeAddresses });
  assert.match(JSON.stringify(fate), /10\.244\.0\.1 /);
  assert.doesNotMatch(JSON.stringify(fate), /10\.244\.0\.2 /);
});
