import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type { Service } from '../../api/core-v1.ts';
import type { Exec } from '../../host/exec.ts';
import { notFound } from '../../host/exec.ts';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import { Proxier } from '../proxier.ts';
import { FakeIpvs } from './fake-ipvs.ts';
import { IpvsBackend } from './ipvs-backend.ts';
import { IpvsRemains } from './ipvs-remains.ts';

const never = new AbortController().signal;
const settings = {
  ...{ scheduler: 'rr', excludeCIDRs: [], strictARP: false },
  ...{ tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 0 },
};
const service: Service = {
  metadata: { name: 's', namespace: 'd' },
  spec: { clusterIP: '10.96.0.7', ports: [{ name: 'web', port: 80, nodePort: 30_080 }] },
};

let kernel: FakeIpvs;
/** Commands that were run. */
let commands: string[];
const exec: Pick<Exec, 'run'> = {
  run: (file, args, options) => {
    commands.push([file, ...args].join(' '));
    return kernel.run(file, args, options);
  },
};
const remains = new IpvsRemains({ exec });

beforeEach(() => {
  kernel = new FakeIpvs();
  commands = [];
});

async function serve(): Promise<void> {
  const common = { exec, clock: new FakeClock(), log: silentLog };
  const backend = new IpvsBackend({ ...common, family: 'IPv4', settings });
  const options = { nodeName: 'here', masqueradeAll: false, masqueradeBit: 14, clusterCidrs: [] };
  const proxier = new Proxier({ ...common, ...options, backend });
  proxier.onServiceChange('d/s', service);
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
}

describe('what the IPVS mode has left', () => {
  test('is found and removed, and nothing else', async () => {
    kernel.servers.set('-t 192.0.2.1:8443', { options: '-s wlc', endpoints: new Map() });
    kernel.sets.set('blocked', { type: 'hash:ip', elements: new Map([['10.9.9.9', '']]) });
    const signal = {
      signal: never,
      timeoutMs: 1,
      input: '*nat\n:KUBE-SERVICES - [0:0]\n-I PREROUTING 1 -j KUBE-SERVICES\nCOMMIT\n',
    };
    await kernel.run('iptables-restore', ['-w', '5', '--noflush'], signal);
    const isRule = (line: string) => /^(6 )?[*:-]/.test(line);
    const before = kernel.dump().filter((line) => !/^(\*|:|COMMIT)/.test(line) && !line.startsWith('net.'));
    await serve();
    const found = await remains.found(never);
    assert.equal(found[0], 'IPVS: 2 virtual servers of IPv4');
    assert.ok(found.includes('iptables chain mangle KEELSON-IPVS-CANARY'));
    assert.ok(found.includes('ipset KUBE-NODE-PORT-TCP'));
    assert.equal(found.at(-1), 'dummy device kube-ipvs0');
    await remains.remove(never);
    assert.deepEqual(await remains.found(never), []);
    const after = kernel.dump().filter((line) => !/^(\*|:|COMMIT)/.test(line) && !line.startsWith('net.'));
    assert.deepEqual(after.filter(isRule).sort(), before.filter(isRule).sort());
    assert.deepEqual(after.sort(), before.sort());
  });

  test('is not looked for in ways that load kernel modules where there is nothing', async () => {
    assert.deepEqual(await remains.found(never), []);
    await remains.remove(never);
    assert.deepEqual(
      commands.filter((command) => /^(ipvsadm|ipset)/.test(command)),
      [],
    );
    assert.deepEqual(kernel.written, []);
  });

  for (const after of [0, 1, 2, 3]) {
    test(`is found again when its removal fails after ${after} of its runs`, async () => {
      await serve();
      kernel.failNext('interrupted', after % 2 === 0, after);
      await assert.rejects(remains.remove(never));
      assert.notDeepEqual(await remains.found(never), []);
      await remains.remove(never);
      assert.deepEqual(await remains.found(never), []);
      assert.equal(kernel.servers.size, 0);
      assert.equal(kernel.sets.size, 0);
    });
  }

  test('is a device too that never got its name, beside the one that serves', async () => {
    await serve();
    kernel.links.set('keelson-ipvs0', { alias: 'keelson', addresses: new Set() });
    await remains.remove(never);
    assert.deepEqual([...kernel.links.keys()], ['lo', 'eth0']);
  });

  test('is nothing where the programs are missing', async () => {
    const bare = { run: (file: string) => Promise.reject(notFound(file)) };
    assert.deepEqual(await new IpvsRemains({ exec: bare }).found(never), []);
  });
});

test('kube-proxy’s device is a conflict, and neither ours nor touched', async () => {
  kernel.links.set('kube-ipvs0', { alias: undefined, addresses: new Set(['10.96.0.1']) });
  kernel.servers.set('-t 10.96.0.1:443', { options: '-s rr', endpoints: new Map() });
  assert.deepEqual(await remains.conflicts(never), ['dummy device kube-ipvs0']);
  assert.deepEqual(await remains.found(never), []);
  await remains.remove(never);
  assert.equal(kernel.servers.size, 1);
});

test('our own device is no conflict', async () => {
  await serve();
  assert.deepEqual(await remains.conflicts(never), []);
});
