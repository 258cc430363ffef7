import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exec } from '../../host/exec.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import type { Wish } from '../backend.ts';
import { FakeIptables } from '../iptables/fake-iptables.ts';
import type { Route } from '../route-services.ts';
import { RouteTable } from '../route-table.ts';
import type { Sockets } from './relay.ts';
import { UserspaceBackend } from './userspace-backend.ts';

const signal = new AbortController().signal;

const route: Route = {
  frontend: { ip: '10.96.0.1', protocol: 'TCP', port: 80 },
  origin: { namespace: 'd', name: 'web', portName: '', kind: 'clusterIP' },
  ...{ verdict: 'forward', targets: [{ ip: '10.244.0.1', port: 8080, mayBeLocal: false }] },
  ...{ masquerade: 'outsiders', outside: undefined, affinitySeconds: undefined, sources: undefined },
};

const sockets: Sockets = {
  open: async () => ({ port: 40_000, serve: () => {}, close: () => {} }),
  endAll: () => {},
};

function wish(served: readonly Route[] = [route]): Wish {
  const routes = new RouteTable();
  routes.update('d/web', '', served);
  const rules = { family: 'IPv4', masqueradeAll: false, masqueradeBit: 14, local: undefined } as const;
  return {
    ...{ routes, rules: { ...rules, nodePortAddresses: [], localhostNodePorts: true } },
    ...{ changed: { frontends: new Set(), services: new Set() }, changedTargets: new Set() },
  };
}

/** A host on which `iptables` is of a variant; other programs do nothing. */
function backendOn(iptables: FakeIptables, variant: 'nft' | 'legacy'): UserspaceBackend {
  const named = (file: string) => file.replace(/^(ip6?tables)(?=$|-save|-restore)/, `$1-${variant}`);
  const exec: Pick<Exec, 'run'> = {
    run: async (file, args, options) =>
      file.includes('tables') ? iptables.run(named(file), args, options) : { stdout: '', stderr: '' },
  };
  return new UserspaceBackend({ exec, log: silentLog, clock: new FakeClock(), family: 'IPv4', sockets });
}

test('a start with another variant of iptables than before removes what the one before wrote', async () => {
  const iptables = new FakeIptables();
  const portals = (program: string) =>
    [...(iptables.table('nat', program)?.keys() ?? [])].filter((chain) => chain.includes('KUBE-'));
  const context = { cause: 'change', signal } as const;
  await backendOn(iptables, 'legacy').sync(wish(), context);
  assert.ok(portals('iptables-legacy').includes('KUBE-PORTALS-HOST'));
  const backend = backendOn(iptables, 'nft');
  await backend.sync(wish(), context);
  assert.deepEqual(portals('iptables-legacy'), []);
  assert.ok(portals('iptables-nft').includes('KUBE-PORTALS-HOST'));
  const written = iptables.scripts.length;
  await backend.sync(wish(), { cause: 'periodic', signal });
  assert.equal(iptables.scripts.length, written);
});

test('a UDP flow that half-written rules have led to a relay ends with that relay', async () => {
  const iptables = new FakeIptables();
  const udp: Route = { ...route, frontend: { ip: '10.96.0.1', protocol: 'UDP', port: 53 } };
  const flow = `udp 17 9 src=1.2.3.4 dst=10.96.0.1 sport=9 dport=53 src=169.254.75.75 dst=1.2.3.4 sport=40000 dport=9\n`;
  let hasFlow = false;
  const end = new AbortController();
  const exec: Pick<Exec, 'run'> = {
    run: async (file, args, options) => {
      if (file.includes('tables')) return iptables.run(file, args, options);
      if (file === 'conntrack' && args[0] === '-D') end.abort();
      return { stdout: file === 'conntrack' && hasFlow ? flow : '', stderr: '' };
    },
  };
  const backend = new UserspaceBackend({ exec, log: silentLog, clock: new FakeClock(), family: 'IPv4', sockets });
  const running = backend.run(end.signal);
  const context = { cause: 'change', signal } as const;
  await backend.sync(wish([]), context);
  iptables.failNext('interrupted', 1);
  await assert.rejects(backend.sync(wish([udp]), context));
  hasFlow = true;
  await backend.sync(wish([]), context);
  await running;
});
