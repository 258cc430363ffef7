import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { Node } from '../src/api/core-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { Backend, Wish } from '../src/proxy/backend.ts';
import { FakeIptables } from '../src/proxy/iptables/fake-iptables.ts';
import { IptablesBackend } from '../src/proxy/iptables/iptables-backend.ts';
import { iptablesUnusable } from '../src/proxy/iptables/iptables-check.ts';
import type { Variant } from '../src/proxy/iptables/iptables-programs.ts';
import { IptablesPrograms } from '../src/proxy/iptables/iptables-programs.ts';
import { IptablesRemains } from '../src/proxy/iptables/iptables-remains.ts';
import { readTables } from '../src/proxy/iptables/kernel-tables.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { traceIptables } from '../src/testing/iptables-tracer.ts';
import type { PacketCase, World } from './proxy-cases.ts';
import { addresses, nodeName, worldOf, zone } from './proxy-cases.ts';
import { worldsOfSettings } from './proxy-cases-settings.ts';
import { Lab } from './proxy-lab.ts';

const run = promisify(execFile);
const signal = new AbortController().signal;
const families: readonly IpFamily[] = ['IPv4', 'IPv6'];

/** What both the fake and the real programs have to do alike. */
function contract(name: string, execOf: () => Exec, variant: Variant): void {
  describe(`the programs: ${name}`, () => {
    for (const family of families) {
      const programs = () => new IptablesPrograms(execOf(), family, variant);
      const nat = async () => readTables(await programs().save(signal)).nat;

      test(`${family}: says its variant, and asking makes no table`, async () => {
        assert.equal(await programs().variant(signal), variant);
        assert.equal((await programs().save(signal)).includes('*nat'), false);
      });

      test(`${family}: what was written is read back, listed, and not made by a test`, async () => {
        const rule = '-p tcp -m comment --comment "d/web:web" -m tcp --dport 80 -j RETURN';
        const script = `*nat\n:ONE - [0:0]\n-A ONE ${rule}\n-I PREROUTING -j ONE\nCOMMIT\n`;
        await programs().test(script, signal);
        assert.equal((await nat()).has('ONE'), false);
        await programs().restore(script, signal);
        assert.deepEqual((await nat()).get('ONE'), [rule]);
        assert.deepEqual((await nat()).get('PREROUTING'), ['-j ONE']);
        assert.match((await programs().list('nat', 'ONE', signal)) ?? '', /--dport 80 -j RETURN/);
        assert.equal(await programs().list('nat', 'NONE', signal), undefined);
      });

      test(`${family}: declaring a chain empties it, inserting puts first, deleting takes one`, async () => {
        const lines = ['-A ONE -j RETURN', '-I ONE -j ACCEPT', '-A ONE -j RETURN', '-D ONE -j RETURN'];
        await programs().restore(['*nat', ':ONE - [0:0]', ...lines, 'COMMIT', ''].join('\n'), signal);
        assert.deepEqual((await nat()).get('ONE'), ['-j ACCEPT', '-j RETURN']);
      });

      for (const refusal of ['-D ONE -j DROP', '-A NONE -j RETURN', '-A ONE -j NONE', '-X ONE', '-X NONE']) {
        test(`${family}: refused, with all of its table: ${refusal}`, async () => {
          const before = [...(await nat())];
          const script = `*nat\n:TWO - [0:0]\n${refusal}\nCOMMIT\n`;
          await assert.rejects(programs().restore(script, signal), { code: 'IptablesFailed' });
          assert.deepEqual([...(await nat())], before);
        });
      }

      test(`${family}: of two transactions the first stays when the second is refused`, async () => {
        const script = '*nat\n:TWO - [0:0]\nCOMMIT\n*nat\n:THREE - [0:0]\n-X NONE\nCOMMIT\n';
        await assert.rejects(programs().restore(script, signal), { code: 'IptablesFailed' });
        const chains = await nat();
        assert.deepEqual([chains.has('TWO'), chains.has('THREE')], [true, false]);
      });
    }
  });
}

/** What a Proxier wants of its backend for a world of Services; sticky ones, SCTP and single addresses among them. */
async function wishOf(world: World, settings: object): Promise<Wish> {
  let wish: Wish | undefined;
  const backend = {
    mode: 'iptables',
    sync: async (wanted: Wish) => {
      wish = wanted;
      return { isFull: true, writes: 0 };
    },
  } as Partial<Backend> as Backend;
  const exec = { run: async () => ({ stdout: '', stderr: '' }) };
  const defaults = { exec, clock: systemClock, log: silentLog, nodeName, masqueradeBit: 14 };
  const proxier = new Proxier({
    ...defaults,
    backend,
    family: world.family,
    ...world.settings,
    ...settings,
  });
  const node: Node = { metadata: { name: nodeName, labels: { 'topology.kubernetes.io/zone': zone } } };
  proxier.onNodeChange(node);
  for (const service of world.services) {
    const isSticky = service.metadata.name.startsWith('all');
    const spec = isSticky ? { ...service.spec, sessionAffinity: 'ClientIP' as const } : service.spec;
    const sctp = { name: 'sctp', port: 9, protocol: 'SCTP', nodePort: spec.ports?.[0]?.nodePort } as const;
    const ports = isSticky ? [...(spec.ports ?? []), { ...sctp, nodePort: 31_999 }] : spec.ports;
    proxier.onServiceChange(`d/${service.metadata.name}`, { ...service, spec: { ...spec, ...(ports && { ports }) } });
  }
  for (const slice of world.slices) {
    const ports = [...(slice.ports ?? []), { name: 'sctp', protocol: 'SCTP', port: 9 } as const];
    proxier.onSliceChange(`d/${slice.metadata.name}`, { ...slice, ports });
  }
  proxier.sourcesSynced();
  await proxier.syncOnce('change', signal);
  assert.ok(wish);
  return wish;
}

const settings: Record<string, object> = {
  'the usual ones': { traffic: { localhostNodePorts: true } },
  'several ranges of pods, node ports on some addresses, another mark': {
    ...{ clusterCidrs: ['10.244.3.7/17', '10.244.128.0/17', 'fd00:10::1/33', 'fd00:11::/32'], masqueradeBit: 31 },
    traffic: { nodePortAddresses: ['192.0.2.7/24', '127.0.0.0/8', 'fd00:c::7/64', '::1/128'] },
  },
  'node ports nowhere yet': { traffic: { nodePortAddresses: ['0.0.0.0/32', '::/128'] } },
  'pods known by their interfaces': {
    traffic: { detectLocalMode: 'InterfaceNamePrefix', interfaceNamePrefix: 'veth' },
  },
  'everything masqueraded, pods everywhere': { masqueradeAll: true, clusterCidrs: ['0.0.0.0/0', '::/0'] },
};

for (const variant of ['nft', 'legacy'] as const) {
  let lab: Lab;
  /** The programs of the node, whose lock is its own, as if they were the ones that the host calls iptables. */
  const lock = `/run/keelson-test-${process.pid}-${variant}.lock`;
  const exec: Exec = {
    run: (file, args, options) => {
      const name = file.replace(/^(ip6?tables)(?=$|-restore|-save)/, `$1-${variant}`);
      return lab.exec.run(name, args, { ...options, env: { XTABLES_LOCKFILE: lock, ...options.env } });
    },
  };
  describe(`iptables-${variant}`, () => {
    before(async () => {
      lab = await Lab.create();
    });
    after(async () => {
      await lab?.[Symbol.asyncDispose]();
      await run('rm', ['-f', lock]);
    });
    const backendOf = (family: IpFamily) => new IptablesBackend({ exec, family, log: silentLog });
    const sync = (backend: Backend, wish: Wish, cause: 'change' | 'periodic' = 'change') =>
      backend.sync(wish, { cause, signal });

    contract(`iptables-${variant}`, () => exec, variant);

    for (const family of families) {
      for (const [sentence, more] of Object.entries(settings)) {
        test(`${family}: a start with nothing to change writes nothing: ${sentence}`, async () => {
          const wish = await wishOf(worldOf(family), more);
          assert.ok((await sync(backendOf(family), wish)).writes > 0);
          const again = backendOf(family);
          assert.deepEqual(await again.diff(wish, signal), []);
          assert.deepEqual(await sync(again, wish), { isFull: true, writes: 0 });
        });
      }

      test(`${family}: a flush is repaired at the next look`, async () => {
        const wish = await wishOf(worldOf(family), {});
        const backend = backendOf(family);
        await sync(backend, wish);
        const program = `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}`;
        for (const table of ['nat', 'filter']) {
          await exec.run(program, ['-w', '5', '-t', table, '-F'], { signal, timeoutMs: 10_000 });
          assert.ok((await sync(backend, wish, 'periodic')).writes > 0);
          assert.deepEqual(await backend.diff(wish, signal), []);
        }
      });
    }

    test('the mode can be used, and all of it can be found and removed', async () => {
      assert.equal(await iptablesUnusable(exec)(signal), undefined);
      const plain = (file: string, args: readonly string[], input = '') =>
        exec.run(file, args, { signal, timeoutMs: 10_000, input });
      await plain('iptables-restore', ['--noflush'], '*nat\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n');
      const remains = new IptablesRemains({ exec });
      const found = await remains.found(signal);
      assert.ok(found.includes(`iptables-${variant} table nat: chain KEELSON-CANARY`));
      assert.ok(found.some((line) => line.startsWith(`ip6tables-${variant} table filter: rule -A FORWARD`)));
      assert.deepEqual(await remains.conflicts(signal), []);
      await remains.remove(signal);
      assert.deepEqual(await remains.found(signal), []);
      const { stdout } = await plain('iptables-save', []);
      assert.doesNotMatch(stdout, /KUBE-S|KUBE-EXT|KEELSON/);
      assert.match(stdout, /KUBE-KUBELET-CANARY/);
      await plain('ip6tables-restore', ['--noflush'], '*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n');
      assert.deepEqual(await remains.conflicts(signal), [
        `ip6tables-${variant} table nat: chain KUBE-SERVICES of kube-proxy`,
      ]);
      await remains.remove(signal);
      assert.match((await plain('ip6tables-save', [])).stdout, /KUBE-SERVICES/);
    });

    test('a chain that a rule of others leads to stays, empty, and the rest goes on', async () => {
      const edit = async (...args: readonly string[]) =>
        void (await exec.run('iptables', ['-w', '5', '-t', 'nat', ...args], { signal, timeoutMs: 10_000 }));
      const backend = backendOf('IPv4');
      await sync(backend, await wishOf(worldOf('IPv4'), {}));
      const { stdout: before } = await exec.run('iptables-save', [], { signal, timeoutMs: 10_000 });
      const [held = ''] = before.match(/KUBE-SVC-\w{16}/) ?? [];
      await edit('-N', 'THEIRS');
      await edit('-A', 'THEIRS', '-d', '198.51.100.7', '-m', 'comment', '--comment', 'not "ours', '-j', held);
      const none = await wishOf({ ...worldOf('IPv4'), services: [] }, {});
      const again = backendOf('IPv4');
      assert.ok((await sync(again, none)).writes > 0);
      assert.deepEqual(await sync(again, none, 'periodic'), { isFull: true, writes: 0 });
      const { stdout: after } = await exec.run('iptables-save', [], { signal, timeoutMs: 10_000 });
      assert.deepEqual(after.match(/^:KUBE-(?:SVC|SEP|EXT)-\w+|^-A KUBE-(?:SVC|SEP|EXT)-.*/gm), [`:${held}`]);
      const remains = new IptablesRemains({ exec });
      await assert.rejects(remains.remove(signal), { code: 'ChainHeld' });
      await edit('-F', 'THEIRS');
      await edit('-X', 'THEIRS');
      await remains.remove(signal);
      assert.deepEqual(await remains.found(signal), []);
    });

    for (const match of ['comment', 'conntrack', 'recent', 'statistic']) {
      test(`without the match ${match} the mode cannot be used, which is said with a hint`, async () => {
        const lacking: Exec = {
          run: (file, args, { input = '', ...options }) =>
            exec.run(file, args, { ...options, input: input.replaceAll(`-m ${match} `, '-m nosuch ') }),
        };
        const error = await iptablesUnusable(lacking)(signal);
        assert.equal(error?.code, 'IptablesUnsupported');
        assert.match(error.hint ?? '', new RegExp(`xt_${match}`));
      });
    }

    test('a rule of others that only speaks of our chains is theirs', async () => {
      const edit = async (...args: readonly string[]) =>
        void (await exec.run('iptables', ['-w', '5', ...args], { signal, timeoutMs: 10_000 }));
      const rule = ['INPUT', '-m', 'comment', '--comment', 'goes before -j KUBE-SERVICES', '-j', 'ACCEPT'];
      await edit('-I', ...rule);
      const wish = await wishOf(worldOf('IPv4'), {});
      await sync(backendOf('IPv4'), wish);
      assert.deepEqual(await sync(backendOf('IPv4'), wish), { isFull: true, writes: 0 });
      await new IptablesRemains({ exec }).remove(signal);
      await edit('-D', ...rule);
    });

    if (variant === 'nft') {
      test('where rules of nft hide a table, what is there is not written again, and changes go on', async () => {
        const said: unknown[] = [];
        const log = { ...silentLog, warn: (fields: object) => said.push((fields as { code?: string }).code) };
        const backend = new IptablesBackend({ exec, family: 'IPv4', log });
        const wish = await wishOf(worldOf('IPv4'), {});
        await sync(backend, wish);
        const natRules = async () => (await lab.node('nft list table ip nat')).match(/ jump KUBE-\S+/g)?.length;
        const before = await natRules();
        await lab.node('nft add chain ip nat THEIRS');
        await lab.node('nft add rule ip nat THEIRS ct state new accept');
        for (let i = 0; i < 2; i++) {
          assert.deepEqual(await sync(backend, wish, 'periodic'), { isFull: false, writes: 0 });
        }
        assert.equal(await natRules(), before);
        assert.deepEqual(said, ['TableUnreadable']);
        const [service = ''] = wish.routes.servicesWithRoutes();
        const none = await wishOf({ ...worldOf('IPv4'), services: [] }, {});
        const gone = { ...none, changed: { ...none.changed, services: new Set([service]) } };
        assert.ok((await sync(backend, gone)).writes > 0);
        const remains = new IptablesRemains({ exec });
        const refused = [
          () => sync(backendOf('IPv4'), wish),
          () => remains.found(signal),
          () => remains.remove(signal),
        ];
        for (const doing of refused) {
          await assert.rejects(doing, { code: 'TableUnreadable', hint: /nft list table ip nat/ });
        }
        await lab.node('nft flush chain ip nat THEIRS');
        await lab.node('nft delete chain ip nat THEIRS');
        await remains.remove(signal);
        assert.deepEqual(await remains.found(signal), []);
        await lab.node('nft add chain ip nat THEIRS');
        await lab.node('nft add rule ip nat THEIRS ct state new accept');
        assert.deepEqual(await remains.found(signal), []);
        await lab.node('nft delete table ip nat');
      });
    }

    if (variant === 'legacy') {
      test('another program that keeps the lock is named as the cause', async () => {
        const holder = spawn('flock', [lock, 'sh', '-c', 'echo; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
        const ended = once(holder, 'exit');
        await once(holder.stdout, 'data');
        const wish = await wishOf(worldOf('IPv4'), {});
        const backend = backendOf('IPv4');
        try {
          assert.equal(await iptablesUnusable(exec)(signal), undefined);
          await assert.rejects(sync(backend, wish), { code: 'XtablesLocked', retryable: true });
        } finally {
          holder.stdin.end();
          await ended;
        }
        assert.ok((await sync(backend, wish)).writes > 0);
      });
    }
  });
}

const fake = new FakeIptables();
contract('the fake', () => fake, 'nft');

/** Where packets of a case come from, and what of it is the node. */
function tracerOf(world: World, iptables: FakeIptables) {
  const { bridge, outside } = addresses[world.family];
  const program = world.family === 'IPv4' ? 'iptables' : 'ip6tables';
  return ({ from, to, port, protocol }: PacketCase) => {
    const source = from === 'host' ? (to.startsWith('127.') ? to : world.node) : (world.pods[from] ?? outside);
    const ends = {
      from: from === 'host' ? 'host' : 'network',
      source,
      destination: to,
      proto: protocol,
      port,
    } as const;
    const way = from === 'host' ? {} : { interface: from === 'outside' ? 'up0' : 'br0' };
    const fate = traceIptables((name) => iptables.table(name, program), {
      ...ends,
      nodeAddresses: [world.node, bridge],
      ...way,
    });
    return { source, fate };
  };
}

async function programmed(worlds: readonly World[], world: World): Promise<FakeIptables> {
  const iptables = new FakeIptables();
  const exec = { run: async () => ({ stdout: '', stderr: '' }) };
  const options = { exec, family: world.family, log: silentLog, clock: systemClock, nodeName, masqueradeBit: 14 };
  const backend = new IptablesBackend({ ...options, exec: iptables });
  const proxier = new Proxier({ ...options, backend, ...world.settings });
  proxier.onNodeChange({
    metadata: { name: nodeName, labels: { 'topology.kubernetes.io/zone': zone } },
    status: { addresses: worlds.map(({ node }) => ({ type: 'InternalIP', address: node })) },
  });
  for (const { services, slices } of worlds) {
    for (const service of services) proxier.onServiceChange(`d/${service.metadata.name}`, service);
    for (const slice of slices) proxier.onSliceChange(`d/${slice.metadata.name}`, slice);
  }
  proxier.sourcesSynced();
  await proxier.syncOnce('change', signal);
  return iptables;
}

const all = { usual: [worldOf('IPv4'), worldOf('IPv6')], ...worldsOfSettings() };
for (const [title, worlds] of Object.entries(all)) {
  describe(`the tracer over the rules of the same cases: ${title}`, async () => {
    for (const world of worlds) {
      const trace = tracerOf(world, await programmed(worlds, world));
      const names = new Map(Object.entries({ ...world.pods, node: world.node }).map(([name, ip]) => [ip, name]));
      for (const [sentence, one] of Object.entries(world.cases)) {
        test(sentence, () => {
          const { source, fate } = trace(one);
          const { expect, seen } = one;
          // What is no Service's gets to nobody, and the network says how.
          if (fate.verdict === 'untouched') return assert.ok(expect === 'REJECT' || expect === 'DROP');
          if (fate.verdict !== 'forward') return assert.equal(fate.verdict, String(expect).toLowerCase());
          const answering = fate.endpoints.map((end) => names.get(end.split(' ')[0] ?? ''));
          assert.deepEqual(answering.sort(), [...expect].sort());
          const masqueraded = fate.endpoints.map((end) => end.endsWith(' masqueraded'));
          if (seen !== undefined && one.from !== 'host') {
            assert.deepEqual([...new Set(masqueraded)], [seen !== source]);
          }
        });
      }
    }
  });
}
