import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Exec } from '../src/host/exec.ts';
import { notFound } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import type { Log } from '../src/lib/log.ts';
import { silentLog } from '../src/lib/log.ts';
import type { Wish } from '../src/proxy/backend.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import type { Route } from '../src/proxy/route-services.ts';
import { RouteTable } from '../src/proxy/route-table.ts';
import type { Sockets } from '../src/proxy/userspace/relay.ts';
import { UserspaceBackend } from '../src/proxy/userspace/userspace-backend.ts';
import { userspaceUnusable } from '../src/proxy/userspace/userspace-check.ts';
import { UserspaceRemains } from '../src/proxy/userspace/userspace-remains.ts';
import { Lab } from './proxy-lab.ts';

/** The userspace mode's rules in real tables; its sockets are but numbers here. */

const never = new AbortController().signal;
const context = (cause: 'change' | 'periodic' = 'change') => ({ cause, signal: never });

class NumberedSockets implements Sockets {
  #next: number;
  readonly closed: number[] = [];
  readonly failing = new Set<string>();

  constructor(first = 40_000) {
    this.#next = first;
  }

  async open(protocol: 'TCP' | 'UDP') {
    if (this.failing.has(protocol)) throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    const port = this.#next++;
    return { port, serve: () => {}, close: () => this.closed.push(port) };
  }

  endAll(): void {}
}

const virtual = { IPv4: '10.96.0.', IPv6: 'fd00:96::' } as const;

function routeOf(family: IpFamily, number: number, more: Partial<Route> = {}): Route {
  return {
    verdict: 'forward',
    targets: [{ ip: family === 'IPv4' ? '10.244.0.9' : 'fd00:10:244::9', port: 8080, mayBeLocal: false }],
    frontend: { ip: virtual[family] + number, protocol: 'TCP', port: 80 },
    origin: { namespace: 'd', name: `s${number}`, portName: 'web', kind: 'clusterIP' },
    ...{ masquerade: 'outsiders', outside: undefined, affinitySeconds: undefined, sources: undefined },
    ...more,
  };
}

function wishOf(family: IpFamily, routes: readonly Route[]): Wish {
  const table = new RouteTable();
  routes.forEach((route, at) => {
    table.update(`d/s${at}`, '', [route]);
  });
  const none: ReadonlySet<string> = new Set();
  return {
    routes: table,
    rules: {
      ...{ family, masqueradeAll: false, masqueradeBit: 14, local: undefined },
      ...{ nodePortAddresses: ['192.0.2.0/24', 'fd00:c::/64'].slice(family === 'IPv4' ? 0 : 1).slice(0, 1) },
      localhostNodePorts: family === 'IPv4',
    },
    changed: { frontends: none, services: none },
    changedTargets: none,
  };
}

/** Of every kind one. */
const someRoutes = (family: IpFamily): readonly Route[] => {
  const range = family === 'IPv4' ? '192.0.2.9/24' : 'fd00:c::9/64';
  const drop = { verdict: 'drop', targets: [] } as const;
  const nodePort = { frontend: { ip: '*', protocol: 'UDP', port: 30_053 } } as const;
  return [
    routeOf(family, 1),
    routeOf(family, 2, { verdict: 'reject', targets: [] }),
    routeOf(family, 3, { ...drop, sources: [range] }),
    routeOf(family, 4, { outside: drop, sources: [range] }),
    routeOf(family, 5, nodePort),
    routeOf(family, 6, { frontend: { ip: '*', protocol: 'TCP', port: 30_054 }, verdict: 'reject', targets: [] }),
  ];
};

let lab: Lab;
beforeEach(async () => {
  lab = await Lab.create();
});
afterEach(() => lab?.[Symbol.asyncDispose]());

/** By one of the two programs that call themselves iptables. */
const execOf = (variant: string): Exec => ({
  run: (file, args, options) => lab.exec.run(file.replace(/^(ip6?tables)/, `$1-${variant}`), args, options),
});

for (const variant of ['nft', 'legacy']) {
  for (const family of ['IPv4', 'IPv6'] as const) {
    const program = family === 'IPv4' ? 'iptables' : 'ip6tables';
    describe(`${program}-${variant}`, () => {
      const common = () => ({ exec: execOf(variant), clock: systemClock, log: silentLog, family });
      const begin = (sockets = new NumberedSockets()) => new UserspaceBackend({ ...common(), sockets });
      const node = (command: string) => lab.node(`${program}-${variant}${command}`);

      test('what was written is what is there, and is written once', async () => {
        const backend = begin();
        const wish = wishOf(family, someRoutes(family));
        const { isFull, writes } = await backend.sync(wish, context());
        assert.ok(isFull && writes > 10);
        assert.deepEqual(await backend.diff(wish, never), []);
        assert.deepEqual(await backend.sync(wish, context()), { isFull: false, writes: 0 });
        assert.deepEqual(await backend.sync(wish, context('periodic')), { isFull: true, writes: 0 });
        const fewer = wishOf(family, someRoutes(family).slice(1));
        assert.ok((await backend.sync(fewer, context())).writes > 0);
        assert.deepEqual(await backend.diff(fewer, never), []);
        assert.match((await backend.diff(wish, never)).join('\n'), /^\+ nat KUBE-PORTALS-HOST -d \S+[.:]1\/\d+ /m);
      });

      test('a start makes the rules of another life its own', async () => {
        const wish = wishOf(family, someRoutes(family));
        await begin().sync(wishOf(family, [...someRoutes(family), routeOf(family, 9)]), context());
        await node(' -t nat -A PREROUTING -j KUBE-PORTALS-CONTAINER');
        const sockets = new NumberedSockets(50_000);
        const backend = begin(sockets);
        assert.ok((await backend.sync(wish, context())).writes > 0);
        assert.deepEqual(await backend.diff(wish, never), []);
        const saved = await node('-save -t nat');
        assert.doesNotMatch(saved, /:4\d{4}$/m, 'no port of the relays that were');
        assert.equal(saved.match(/^-A PREROUTING .*-j KUBE-PORTALS-CONTAINER$/gm)?.length, 1);
      });

      test('what another program flushes is back with the next look', async () => {
        const backend = begin();
        const wish = wishOf(family, someRoutes(family));
        await backend.sync(wish, context());
        for (const command of [' -t nat -F', ' -F KEELSON-PORTALS-HOST', ' -F OUTPUT']) {
          await node(command);
          assert.notDeepEqual(await backend.diff(wish, never), []);
          assert.ok((await backend.sync(wish, context('periodic'))).writes > 0, command);
          assert.deepEqual(await backend.diff(wish, never), []);
        }
      });

      test('the plan is what the program takes', async () => {
        const backend = begin();
        const wish = wishOf(family, someRoutes(family));
        const plan = backend.plan(wish);
        await lab.exec.run(`${program}-${variant}-restore`, [], { signal: never, timeoutMs: 10_000, input: plan });
        assert.deepEqual(
          (await backend.diff(wish, never)).map((line) => line.replace(/ \S+ on lo$/, '')),
          ['+ address'],
        );
      });

      test('all that is ours is found and removed, and nothing else', async () => {
        const remains = new UserspaceRemains({ exec: lab.exec });
        assert.deepEqual(await remains.found(never), []);
        await node(' -t nat -N THEIRS');
        await node(' -t nat -A PREROUTING -j THEIRS');
        const before = [await node('-save -t nat'), await node('-save -t filter')].map(withoutNoise);
        await begin().sync(wishOf(family, someRoutes(family)), context());
        const found = await remains.found(never);
        assert.equal(found.length, 10);
        assert.ok(found.includes(`${program}-${variant} chain nat KUBE-PORTALS-HOST`));
        assert.ok(found.some((line) => /^address \S+ on lo$/.test(line)));
        assert.deepEqual(await remains.conflicts(never), []);
        await remains.remove(never);
        assert.deepEqual(await remains.found(never), []);
        assert.deepEqual([await node('-save -t nat'), await node('-save -t filter')].map(withoutNoise), before);
        await remains.remove(never);
      });

      test('what tells of the iptables mode stays', async () => {
        await begin().sync(wishOf(family, someRoutes(family)), context());
        await node(' -t nat -N KEELSON-CANARY');
        const remains = new UserspaceRemains({ exec: lab.exec });
        await remains.remove(never);
        const saved = await node('-save -t nat');
        assert.match(saved, /^:KEELSON-CANARY /m);
        assert.doesNotMatch(saved, /PORTALS/);
        assert.deepEqual(await remains.found(never), []);
      });

      test('chains of kube-proxy are said to be in the way, and left', async () => {
        await node(' -t nat -N KUBE-PORTALS-HOST');
        const remains = new UserspaceRemains({ exec: lab.exec });
        assert.deepEqual(await remains.found(never), []);
        assert.deepEqual(await remains.conflicts(never), [`${program}-${variant} chain nat KUBE-PORTALS-HOST`]);
        await remains.remove(never);
        assert.match(await node('-save -t nat'), /KUBE-PORTALS-HOST/);
      });
    });
  }
}

test('where rules of nft hide a table, what is there is not written again', async () => {
  const backend = new UserspaceBackend({
    ...{ exec: execOf('nft'), clock: systemClock, log: silentLog, family: 'IPv4', sockets: new NumberedSockets() },
  });
  const wish = wishOf('IPv4', someRoutes('IPv4'));
  await backend.sync(wish, context());
  await lab.node('nft add chain ip nat THEIRS');
  await lab.node('nft add rule ip nat THEIRS ct state new accept');
  const before = await lab.node('nft list table ip nat');
  assert.equal((await backend.sync(wish, context('periodic'))).writes, 0);
  assert.equal(await lab.node('nft list table ip nat'), before);
});

const withoutNoise = (saved: string): string =>
  saved
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .replace(/\[\d+:\d+\]/g, '');

test('relays that no rule leads to any more are closed', async () => {
  const sockets = new NumberedSockets();
  const backend = new UserspaceBackend({
    ...{ exec: lab.exec, clock: systemClock, log: silentLog, family: 'IPv4', sockets },
  });
  await backend.sync(wishOf('IPv4', [routeOf('IPv4', 1), routeOf('IPv4', 2)]), context());
  await backend.sync(wishOf('IPv4', [routeOf('IPv4', 2)]), context());
  assert.deepEqual(sockets.closed, [40_000]);
});

test('a relay that cannot listen costs its own clients alone, and is tried again', async () => {
  const sockets = new NumberedSockets();
  const backend = new UserspaceBackend({
    ...{ exec: lab.exec, clock: systemClock, log: silentLog, family: 'IPv4', sockets },
  });
  sockets.failing.add('UDP');
  const wish = wishOf('IPv4', someRoutes('IPv4'));
  await assert.rejects(backend.sync(wish, context()), { code: 'RelayNotOpen', hint: /LimitNOFILE/ });
  assert.match(await lab.node('iptables-save -t nat'), /--dport 80 -j DNAT/);
  assert.match(await lab.node('iptables-save -t filter'), /--dport 30053 -j REJECT/);
  sockets.failing.clear();
  await backend.sync(wish, context());
  assert.deepEqual(await backend.diff(wish, never), []);
  assert.match(await lab.node('iptables-save -t nat'), /--dport 30053 -j DNAT/);
});

test('Services that cannot be relayed are said once', async () => {
  const said: object[] = [];
  const log: Log = { ...silentLog, warn: (fields) => said.push(fields) };
  const backend = new UserspaceBackend({
    ...{ exec: lab.exec, clock: systemClock, log, family: 'IPv4', sockets: new NumberedSockets() },
  });
  const wish = wishOf('IPv4', [routeOf('IPv4', 1, { frontend: { ip: '10.96.0.1', protocol: 'SCTP', port: 80 } })]);
  await backend.sync(wish, context());
  await backend.sync(wish, context());
  assert.deepEqual(said, [{ services: 1, details: 'd/s1: SCTP cannot be relayed' }]);
});

test('without ip6tables there is nothing to do until there is a Service of IPv6', async () => {
  const exec: Exec = {
    run: (file, args, options) =>
      file.startsWith('ip6') ? Promise.reject(notFound(file)) : lab.exec.run(file, args, options),
  };
  const backend = new UserspaceBackend({
    ...{ exec, clock: systemClock, log: silentLog, family: 'IPv6', sockets: new NumberedSockets() },
  });
  assert.deepEqual(await backend.sync(wishOf('IPv6', []), context()), { isFull: true, writes: 0 });
  const wish = wishOf('IPv6', [routeOf('IPv6', 1)]);
  await assert.rejects(backend.sync(wish, context()), {
    code: 'IptablesMissing',
    hint: 'install it: apt-get install iptables',
  });
});

test('the mode can be used here, and asking leaves nothing', async () => {
  assert.equal(await userspaceUnusable(lab.exec)(never), undefined);
  assert.doesNotMatch(await lab.node('iptables-save'), /KEELSON/);
});

test('a missing program, or one that may not, is named with its remedy', async () => {
  const missing: Exec = { run: (file) => Promise.reject(notFound(file)) };
  const unusable = await userspaceUnusable(missing)(never);
  assert.match(unusable?.hint ?? '', /apt-get install iproute2/);
  const powerless: Exec = {
    run: (file, args, options) =>
      lab.exec.run('setpriv', ['--bounding-set=-all', '--inh-caps=-all', '--reuid=65534', file, ...args], options),
  };
  assert.match((await userspaceUnusable(powerless)(never))?.hint ?? '', /run as root/);
});
