import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Log } from '../../lib/log.ts';
import { silentLog } from '../../lib/log.ts';
import { Registry } from '../../lib/metrics.ts';
import { sampleOf } from '../../testing/sample-of.ts';
import type { Backend, TrafficRules, Wish } from '../backend.ts';
import { iptablesMetrics } from '../proxy-metrics.ts';
import type { IpFamily } from '../read-service.ts';
import type { Route } from '../route-services.ts';
import { RouteTable } from '../route-table.ts';
import { FakeIptables } from './fake-iptables.ts';
import { IptablesBackend } from './iptables-backend.ts';
import { iptablesUnusable } from './iptables-check.ts';
import { IptablesRemains } from './iptables-remains.ts';

const signal = new AbortController().signal;
const rules: TrafficRules = {
  ...{ family: 'IPv4', masqueradeAll: false, masqueradeBit: 14, local: { cidrs: ['10.244.0.0/16'] } },
  ...{ nodePortAddresses: [], localhostNodePorts: true },
};

const route = (name: string, ip: string, ...endpoints: readonly string[]): Route => ({
  frontend: { ip, protocol: 'TCP', port: 80 },
  origin: { namespace: 'd', name, portName: 'web', kind: 'clusterIP' },
  verdict: endpoints.length > 0 ? 'forward' : 'reject',
  targets: endpoints.map((end) => ({ ip: end, port: 8080, mayBeLocal: false })),
  ...{ masquerade: 'outsiders', outside: undefined, affinitySeconds: undefined, sources: undefined },
});

/** Some Services by name, with the wish that they and a change of `changed` make. */
class Objects {
  readonly routes = new RouteTable();

  set(name: string, ...routes: readonly Route[]): this {
    this.routes.update(`d/${name}`, '', routes);
    return this;
  }

  wish(...changed: readonly string[]): Wish {
    const services = new Set(changed.map((name) => `d/${name}`));
    return { routes: this.routes, rules, changed: { frontends: new Set(), services }, changedTargets: new Set() };
  }
}

const two = () =>
  new Objects()
    .set('web', route('web', '10.96.0.1', '10.244.0.1', '10.244.0.2'))
    .set('none', route('none', '10.96.0.2'));

const backendOf = (exec: FakeIptables, log: Log = silentLog, family: IpFamily = 'IPv4'): Backend =>
  new IptablesBackend({ exec, log, family });

const sync = (backend: Backend, wish: Wish, cause: 'change' | 'periodic' = 'change') =>
  backend.sync(wish, { cause, signal });

const isKube = (chain: string): boolean => /^(?:KUBE|KEELSON)-/.test(chain);

/** A log that keeps the messages of warnings. */
function warnings(): { readonly log: Log; readonly said: string[] } {
  const said: string[] = [];
  const log: Log = { ...silentLog, warn: (_, message) => said.push(message), child: () => log };
  return { log, said };
}

test('a change writes the chains and rules of its Service alone', async () => {
  const iptables = new FakeIptables();
  const objects = two();
  const backend = backendOf(iptables);
  assert.equal((await sync(backend, objects.wish())).isFull, true);
  objects.set('web', route('web', '10.96.0.1', '10.244.0.2'));
  assert.deepEqual(await sync(backend, objects.wish('web')), { isFull: false, writes: 2 });
  assert.match(
    iptables.scripts.at(-1) ?? '',
    /^\*nat\n:KUBE-SVC-\S+ - \[0:0\]\n:KUBE-SEP-\S+ .*\n(?:-A KUBE-SVC-.*\n){2}-X KUBE-SEP/,
  );
  objects.set('none', route('none', '10.96.0.2', '10.244.0.9'));
  await sync(backend, objects.wish('none'));
  assert.match(iptables.scripts.at(-1) ?? '', /\n-D KUBE-SERVICES -d 10\.96\.0\.2\/32 .* -j REJECT/);
  const count = iptables.scripts.length;
  assert.deepEqual(await sync(backend, objects.wish('web')), { isFull: false, writes: 0 });
  assert.equal(iptables.scripts.length, count);
});

test('a start with nothing to change writes nothing, a gone Service leaves nothing', async () => {
  const iptables = new FakeIptables();
  const objects = two();
  await sync(backendOf(iptables), objects.wish());
  const backend = backendOf(iptables);
  assert.deepEqual(await sync(backend, objects.wish()), { isFull: true, writes: 0 });
  assert.equal(iptables.scripts.length, 1);
  objects.set('web').set('none');
  await sync(backendOf(iptables), objects.wish());
  assert.doesNotMatch(iptables.dump(), /KUBE-(SVC|SEP)-/);
});

test('what a failure leaves is read back', async () => {
  const iptables = new FakeIptables();
  const objects = two();
  const backend = backendOf(iptables);
  iptables.failNext('interrupted', 2);
  await assert.rejects(sync(backend, objects.wish()), { code: 'IptablesFailed', retryable: true });
  assert.equal((await sync(backend, objects.wish())).isFull, true);
  assert.deepEqual(await backend.diff(objects.wish(), signal), []);
});

const failures: Record<string, { stderr: string; code: string }> = {
  'the lock is taken': { stderr: 'Another app is currently holding the xtables lock.', code: 'XtablesLocked' },
  'no rights': { stderr: 'iptables-restore: Permission denied (you must be root).', code: 'IptablesDenied' },
};
for (const [sentence, { stderr, code }] of Object.entries(failures)) {
  test(`${sentence}: ${code}, with a remedy`, async () => {
    const iptables = new FakeIptables();
    iptables.failNext(stderr);
    const error = await sync(backendOf(iptables), two().wish()).catch((reason: unknown) => reason);
    assert.deepEqual({ code: (error as { code: string }).code }, { code });
    assert.ok((error as { hint?: string }).hint);
  });
}

test('the program is missing: IptablesMissing, which the check says beforehand', async () => {
  const iptables = new FakeIptables();
  assert.equal(await iptablesUnusable(iptables)(signal), undefined);
  assert.equal(iptables.dump(), '');
  iptables.uninstall('iptables', 'iptables-save', 'iptables-restore');
  await assert.rejects(sync(backendOf(iptables), two().wish()), { code: 'IptablesMissing' });
  assert.equal((await iptablesUnusable(iptables)(signal))?.code, 'IptablesMissing');
});

test('rules that another program took away come back at the next look, and that is said', async () => {
  const iptables = new FakeIptables();
  const { log, said } = warnings();
  const objects = two();
  const backend = backendOf(iptables, log);
  await sync(backend, objects.wish());
  const before = iptables.dump();
  assert.deepEqual(await sync(backend, objects.wish(), 'periodic'), { isFull: true, writes: 0 });
  const input = '*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n';
  await iptables.run('iptables-restore', ['-w', '5', '--noflush'], { signal, timeoutMs: 1, input });
  assert.deepEqual(said, []);
  await sync(backend, objects.wish(), 'periodic');
  assert.equal(iptables.dump(), before);
  assert.deepEqual(said, ['another program changed the rules of iptables; repaired']);
});

test('with many Services the cheap look notices a flush, and another mode is named once', async () => {
  const iptables = new FakeIptables();
  const { log, said } = warnings();
  const objects = new Objects();
  for (let i = 0; i < 1_100; i++) objects.set(`s${i}`, route(`s${i}`, `10.97.${i >> 8}.${i & 255}`, '10.244.0.1'));
  const exec = {
    run: (...[file, args, options]: Parameters<FakeIptables['run']>) =>
      file === 'nft' ? Promise.resolve({ stdout: 'nftables v1.0.6', stderr: '' }) : iptables.run(file, args, options),
  };
  const backend = new IptablesBackend({ exec, log, family: 'IPv4' });
  await sync(backend, objects.wish());
  assert.deepEqual(await sync(backend, objects.wish(), 'periodic'), { isFull: false, writes: 0 });
  assert.deepEqual(said, ['iptables slows down with so many Services, and nftables does not']);
  const before = iptables.dump();
  const [jump] = iptables.table('nat')?.get('PREROUTING') ?? [];
  const input = `*nat\n-D PREROUTING ${jump}\nCOMMIT\n`;
  await iptables.run('iptables-restore', ['-w', '5', '--noflush'], { signal, timeoutMs: 1, input });
  assert.equal((await sync(backend, objects.wish(), 'periodic')).isFull, true);
  assert.equal(iptables.dump(), before);
});

test('no Service of IPv6: nothing is written for it, and nothing is missed', async () => {
  const iptables = new FakeIptables();
  const backend = backendOf(iptables, silentLog, 'IPv6');
  const wish: Wish = { ...new Objects().wish(), rules: { ...rules, family: 'IPv6' } };
  assert.deepEqual(await sync(backend, wish), { isFull: true, writes: 0 });
  assert.deepEqual(await sync(backend, wish), { isFull: false, writes: 0 });
  assert.deepEqual(await backend.diff(wish, signal), []);
  assert.deepEqual(iptables.scripts, []);
});

test('a host without the programs of IPv6 needs them only once there is a Service of IPv6', async () => {
  const iptables = new FakeIptables();
  iptables.uninstall('ip6tables', 'ip6tables-save', 'ip6tables-restore');
  const backend = backendOf(iptables, silentLog, 'IPv6');
  const objects = new Objects();
  const wish = (): Wish => ({ ...objects.wish('web'), rules: { ...rules, family: 'IPv6' } });
  assert.deepEqual(await sync(backend, wish()), { isFull: true, writes: 0 });
  objects.set('web', route('web', 'fd00::1', 'fd00::2'));
  await assert.rejects(sync(backend, wish()), { code: 'IptablesMissing' });
});

test('the plan is what is written, the difference a line for each rule, the explanation the way of a packet', async () => {
  const iptables = new FakeIptables('legacy');
  const objects = two();
  const backend = backendOf(iptables);
  const missing = await backend.diff(objects.wish(), signal);
  assert.ok(missing.includes('+ nat KUBE-SERVICES'));
  assert.ok(missing.every((line) => line.startsWith('+ ')));
  await sync(backend, objects.wish());
  assert.deepEqual(iptables.scripts, [backend.plan(objects.wish())]);
  objects.set('web', route('web', '10.96.0.1', '10.244.0.2'));
  const lines = await backend.diff(objects.wish(), signal);
  assert.ok(lines.some((line) => /^- nat -A KUBE-SVC-\S+ .* -> 10\.244\.0\.1:8080"/.test(line)));
  const way = backend.explain('10.96.0.1 TCP 80', objects.wish());
  assert.match(way[0] ?? '', /^nat -A KUBE-SERVICES -d 10\.96\.0\.1\/32 -p tcp .*"d\/web:web cluster IP"/);
  assert.match(way.at(-1) ?? '', /^nat -A KUBE-SEP-.* -j DNAT --to-destination 10\.244\.0\.2:8080$/);
  assert.deepEqual(backend.explain('10.96.0.77 TCP 80', objects.wish()), []);
});

test('a start with another variant than before removes what the one before wrote, and of others nothing', async () => {
  const iptables = new FakeIptables('nft');
  const objects = two();
  const restore = (program: string) =>
    iptables.run(`${program}-restore`, ['-w', '5', '--noflush'], {
      ...{ signal, timeoutMs: 1, input: '*nat\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n' },
    });
  await restore('ip6tables-legacy');
  const former = new IptablesBackend({
    ...{ exec: iptables, log: silentLog, family: 'IPv4', variant: 'legacy' },
  });
  await sync(former, objects.wish());
  assert.ok(iptables.table('nat', 'iptables-legacy')?.has('KUBE-SERVICES'));
  const backend = backendOf(iptables);
  await sync(backend, objects.wish());
  assert.deepEqual([...(iptables.table('nat', 'iptables-legacy')?.keys() ?? [])].filter(isKube), []);
  assert.ok(iptables.table('nat', 'iptables-nft')?.has('KUBE-SERVICES'));
  const ipv6: Wish = { ...new Objects().wish(), rules: { ...rules, family: 'IPv6' } };
  await sync(backendOf(iptables, silentLog, 'IPv6'), ipv6);
  assert.deepEqual([...(iptables.table('nat', 'ip6tables-legacy')?.keys() ?? [])].filter(isKube), ['KUBE-SERVICES']);
});

test('the rules that there are, and those that a sync wrote, are counted by table', async () => {
  const iptables = new FakeIptables();
  const registry = new Registry();
  const backend = new IptablesBackend({
    ...{ exec: iptables, log: silentLog, family: 'IPv4', metrics: iptablesMetrics(registry) },
  });
  const objects = two();
  const counted = async (name: string, table: string) =>
    sampleOf(await registry.text(), `kubeproxy_sync_proxy_rules_iptables_${name}{ip_family="IPv4",table="${table}"}`);
  const areThere = (table: string) => [...(iptables.table(table)?.values() ?? [])].flat().length;
  await sync(backend, objects.wish());
  for (const table of ['nat', 'filter']) {
    assert.equal(await counted('total', table), areThere(table));
    assert.equal(await counted('last', table), areThere(table));
  }
  objects.set('web', route('web', '10.96.0.1', '10.244.0.2'));
  await sync(backend, objects.wish('web'));
  assert.equal(await counted('total', 'nat'), areThere('nat'));
  assert.deepEqual([await counted('last', 'nat'), await counted('last', 'filter')], [2, 0]);
  await sync(backend, objects.wish());
  assert.equal(await counted('last', 'nat'), 0);

  objects.set('web', route('web', '10.96.0.1', '10.244.0.3'));
  iptables.failNext('interrupted');
  await assert.rejects(sync(backend, objects.wish('web')));
  iptables.failNext('interrupted');
  await assert.rejects(sync(backend, objects.wish()));
  const failures = 'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"}';
  assert.equal(sampleOf(await registry.text(), failures), 1);
});

test('a chain that a rule of others leads to is emptied and stays, which is said once and stops nothing else', async () => {
  const iptables = new FakeIptables();
  const { log, said } = warnings();
  const objects = two();
  const backend = backendOf(iptables, log);
  await sync(backend, objects.wish());
  const chain = [...(iptables.table('nat')?.keys() ?? [])].find((name) => name.startsWith('KUBE-SVC-'));
  const edit = (...lines: readonly string[]) =>
    iptables.run('iptables-restore', ['-w', '5', '--noflush'], {
      ...{ signal, timeoutMs: 1, input: ['*nat', ...lines, 'COMMIT', ''].join('\n') },
    });
  await edit(':THEIRS - [0:0]', `-A THEIRS -d 198.51.100.7/32 -j ${chain}`);
  objects.set('web').set('more', route('more', '10.96.0.3', '10.244.0.3'));
  await assert.rejects(sync(backend, objects.wish('web', 'more')), { code: 'IptablesFailed' });
  await sync(backend, objects.wish());
  assert.deepEqual(iptables.table('nat')?.get(chain ?? ''), []);
  assert.match(iptables.dump(), /-> 10\.244\.0\.3:8080/);
  assert.doesNotMatch(iptables.dump(), /10\.244\.0\.[12]:8080/);
  const scripts = iptables.scripts.length;
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(await sync(backend, objects.wish(), 'periodic'), { isFull: true, writes: 0 });
  }
  assert.equal(iptables.scripts.length, scripts);
  assert.deepEqual(said, ['an empty chain of ours stays, because a rule that is not ours leads to it']);
  assert.deepEqual(await backend.diff(objects.wish(), signal), []);

  const remains = new IptablesRemains({ exec: iptables });
  const hint = `remove the rule that leads there: iptables-nft -t nat -D THEIRS -d 198.51.100.7/32 -j ${chain}`;
  await assert.rejects(remains.remove(signal), { code: 'ChainHeld', hint });
  assert.deepEqual(await remains.found(signal), [
    'iptables-nft table nat: chain KEELSON-CANARY',
    'iptables-nft table nat: 1 chains of Services',
  ]);
  await edit(`-D THEIRS -d 198.51.100.7/32 -j ${chain}`);
  await remains.remove(signal);
  assert.deepEqual(await remains.found(signal), []);
});

test('what remains is found and removed in both variants, and only where it is ours', async () => {
  const iptables = new FakeIptables();
  const restore = (program: string, input: string) =>
    iptables.run(`${program}-restore`, ['-w', '5', '--noflush'], { signal, timeoutMs: 1, input });
  await restore('iptables-nft', '*nat\n:KUBE-KUBELET-CANARY - [0:0]\n:OTHER - [0:0]\n-A PREROUTING -j OTHER\nCOMMIT\n');
  const foreign = iptables.dump();
  const remains = new IptablesRemains({ exec: iptables });
  assert.deepEqual(await remains.found(signal), []);
  await sync(backendOf(iptables), two().wish());
  const found = await remains.found(signal);
  assert.ok(found.includes('iptables-nft table filter: chain KEELSON-CANARY'));
  assert.ok(found.includes('iptables-nft table nat: 3 chains of Services'));
  assert.deepEqual(await remains.conflicts(signal), []);
  await remains.remove(signal);
  const withoutEmpty = (dump: string) => dump.replaceAll(/^iptables-nft (?:mangle|filter) [A-Z]+\n?/gm, '').trim();
  assert.equal(withoutEmpty(iptables.dump()), withoutEmpty(foreign));
  await remains.remove(signal);
  const theirs =
    '*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n';
  await restore('ip6tables-legacy', theirs);
  assert.deepEqual(await remains.found(signal), []);
  assert.deepEqual(await remains.conflicts(signal), ['ip6tables-legacy table nat: chain KUBE-SERVICES of kube-proxy']);
  const before = iptables.dump();
  await remains.remove(signal);
  assert.equal(iptables.dump(), before);
});
