import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import { PodNetwork } from './pod-network.ts';

const never = new AbortController().signal;

/**
 * A host whose bridges pass the packet filter as `sysctls` says, maybe with the CNI configuration of another; makes the
 * pod network, and returns what came of it.
 */
async function ensureOn(sysctls: Readonly<Record<string, string>>, podCidrs: readonly string[], foreign?: string) {
  const dir = await mkdtemp(join(tmpdir(), 'pod-network-'));
  try {
    const bridge = join(dir, 'proc/sys/net/bridge');
    for (const folder of [bridge, join(dir, 'proc/sys/net/ipv4'), join(dir, 'proc/sys/net/ipv6/conf/all')])
      await mkdir(folder, { recursive: true });
    await writeFile(join(dir, 'proc/sys/net/ipv4/ip_forward'), '1\n');
    await writeFile(join(dir, 'proc/sys/net/ipv6/conf/all/forwarding'), '1\n');
    for (const [name, value] of Object.entries(sysctls)) await writeFile(join(bridge, name), `${value}\n`);
    await mkdir(join(dir, 'net.d'));
    if (foreign !== undefined) await writeFile(join(dir, 'net.d/05-other.conflist'), foreign);
    const warned: object[] = [];
    const log: Log = { ...silentLog, warn: (fields: object) => void warned.push(fields) };
    const network = new PodNetwork({
      ...{ log, cniConfDir: join(dir, 'net.d'), bridgeName: 'keelson0', mtu: 1500, clusterCidrs: [] },
      ...{ procDir: join(dir, 'proc'), sysDir: join(dir, 'sys') },
      exec: { run: async () => ({ stdout: '{"nftables":[]}', stderr: '' }) },
    });
    await network.ensure(podCidrs, never);
    await network.ensure(podCidrs, never);
    const values = Object.keys(sysctls).map(async (name) => (await readFile(join(bridge, name), 'utf8')).trim());
    return { values: await Promise.all(values), warned };
  } finally {
    await rm(dir, { recursive: true });
  }
}

test('bridged packets of every family of the pods are filtered, and no others', async () => {
  const off = { 'bridge-nf-call-iptables': '0', 'bridge-nf-call-ip6tables': '0' };
  const both = await ensureOn(off, ['10.244.1.0/24', 'fd00:244::/64']);
  assert.deepEqual(both, { values: ['1', '1'], warned: [] });
  assert.deepEqual((await ensureOn(off, ['10.244.1.0/24'])).values, ['1', '0']);
});

test('a kernel that filters no bridged packets is warned of once, with the settings that it lacks', async () => {
  const { warned } = await ensureOn({ 'bridge-nf-call-iptables': '1' }, ['10.244.1.0/24', 'fd00:244::/64']);
  assert.deepEqual(warned, [
    {
      sysctls: ['net/bridge/bridge-nf-call-ip6tables'],
      hint: 'load the kernel module br_netfilter at boot, and set net.bridge.bridge-nf-call-ip6tables=1',
    },
  ]);
});

const foreignPlugins: Readonly<Record<string, { type: string; value: string; lacks: readonly string[] }>> = {
  'another’s bridge that nobody filters is warned of, and left as it is': {
    ...{ type: 'bridge', value: '0', lacks: ['net/bridge/bridge-nf-call-iptables'] },
  },
  'another’s bridge that is filtered is none to warn of': { type: 'flannel', value: '1', lacks: [] },
  'another’s network without a bridge is none to warn of': { type: 'cilium-cni', value: '0', lacks: [] },
};
for (const [sentence, { type, value, lacks }] of Object.entries(foreignPlugins)) {
  test(sentence, async () => {
    const foreign = JSON.stringify({ cniVersion: '1.0.0', name: 'other', plugins: [{ type }] });
    const { values, warned } = await ensureOn({ 'bridge-nf-call-iptables': value }, ['10.244.1.0/24'], foreign);
    assert.deepEqual(values, [value]);
    assert.deepEqual(
      warned.flatMap((fields) => (fields as { sysctls: readonly string[] }).sysctls),
      lacks,
    );
  });
}
