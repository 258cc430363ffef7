import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import type { Exec } from '../src/host/exec.ts';
import { notFound } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import type { Log } from '../src/lib/log.ts';
import { silentLog } from '../src/lib/log.ts';
import { cniFileName } from '../src/network/cni-config.ts';
import { PodNetwork } from '../src/network/pod-network.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { Agent } from './proxy-lab.ts';
import { Lab, nodeIp, outsideIp, tcpPort } from './proxy-lab.ts';

const podCidr = '10.245.0.0/24';
const vip = '10.96.0.30';
const never = new AbortController().signal;
const plugins = '/usr/lib/cni';

let lab: Lab;
let dir: string;
let outside: Agent;
const pods: { agent: Agent; ip: string }[] = [];

const options = () => ({
  cniConfDir: join(dir, 'net.d'),
  bridgeName: 'keelson0',
  mtu: 1400,
  clusterCidrs: ['10.244.0.0/15'],
  ipamDataDir: join(dir, 'ipam'),
});

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'keelson-network-'));
  lab = await Lab.create();
  outside = await lab.outside();
  await lab.node('sysctl -q -w net.ipv4.ip_forward=0');
  await lab.node('sysctl -q -w net.bridge.bridge-nf-call-iptables=0');
  assert.equal(await ensureInside(), 'ours');
  for (const name of ['p1', 'p2']) {
    const ns = await lab.namespace(name);
    const ip = await addPod(name, ns);
    pods.push({ agent: await lab.agentIn(name, ns), ip });
  }
});
after(async () => {
  await lab?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

/** In a process inside the node's namespace, so that the kernel settings it makes are that namespace's. */
async function ensureInside(): Promise<string> {
  const script = join(import.meta.dirname, 'network-ensure.ts');
  return lab.node(`${process.execPath} ${script} ${JSON.stringify(options())} ${podCidr}`);
}

/** What a runtime does with a configuration list: each plugin in turn, with the result of the one before. */
async function addPod(name: string, ns: string): Promise<string> {
  const list = JSON.parse(await readFile(join(dir, 'net.d', cniFileName), 'utf8'));
  let prevResult: { ips: { address: string }[] } | undefined;
  for (const plugin of list.plugins) {
    const env = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: name,
      CNI_NETNS: `/run/netns/${ns}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: plugins,
    };
    const config = { ...plugin, cniVersion: list.cniVersion, name: list.name, prevResult };
    const child = spawn('ip', ['netns', 'exec', lab.hostNamespace, join(plugins, plugin.type)], {
      env: { ...process.env, ...env },
    });
    child.stdin.end(JSON.stringify(config));
    const output = await text(child.stdout);
    prevResult = JSON.parse(output);
    assert.ok(prevResult?.ips, output);
  }
  return prevResult?.ips[0]?.address.split('/')[0] ?? '';
}

/** A Service whose only endpoint is the second pod. */
async function serve(): Promise<void> {
  const settings = { masqueradeAll: false, clusterCidrs: [], masqueradeBit: 14, nodeName: 'node' };
  const proxier = new Proxier({ exec: lab.exec, clock: systemClock, log: silentLog, ...settings });
  const ports = [{ name: '', port: 80, protocol: 'TCP' as const }];
  proxier.onServiceChange('d/web', { metadata: { name: 'web', namespace: 'd' }, spec: { clusterIP: vip, ports } });
  proxier.onSliceChange('d/web-1', {
    metadata: { name: 'web-1', namespace: 'd', labels: { 'kubernetes.io/service-name': 'web' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: [pods[1]?.ip ?? ''], nodeName: 'node' }],
    ports: [{ name: '', port: tcpPort, protocol: 'TCP' }],
  });
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
}

test('kernel settings are made, and the configuration is one the plugins take', async () => {
  assert.equal(await lab.node('sysctl -n net.ipv4.ip_forward'), '1\n');
  assert.equal(await lab.node('sysctl -n net.bridge.bridge-nf-call-iptables'), '1\n');
  assert.match(pods[0]?.ip ?? '', /^10\.245\.0\./);
  assert.match(await lab.node('ip link show keelson0'), /mtu 1400/);
});

test('a pod has the node’s address outside, and its own inside the pod network', async () => {
  assert.equal((await pods[0]?.agent.ask('tcp', outsideIp, tcpPort))?.seen, nodeIp);
  assert.equal((await pods[0]?.agent.ask('tcp', pods[1]?.ip ?? '', tcpPort))?.seen, pods[0]?.ip);
});

test('two pods of one bridge reach each other through a virtual address, with the client’s own address', async () => {
  await serve();
  assert.deepEqual(await pods[0]?.agent.ask('tcp', vip, 80).then(({ from, seen }) => ({ from, seen })), {
    from: 'p2',
    seen: pods[0]?.ip,
  });
  assert.equal((await pods[1]?.agent.ask('tcp', vip, 80))?.from, 'p2', 'and one reaches itself');
  assert.equal((await outside.ask('tcp', vip, 80)).from, 'p2');
});

test('a second call changes nothing, a damaged table is put right', async () => {
  const list = () => lab.node('nft -a list table ip keelson-pods');
  const listed = await list();
  await ensureInside();
  assert.equal(await list(), listed, 'handles are the same: nothing was rewritten');
  await lab.node('nft flush chain ip keelson-pods postrouting');
  await ensureInside();
  assert.equal((await pods[0]?.agent.ask('tcp', outsideIp, tcpPort))?.seen, nodeIp);
});

test('without br_netfilter they reach each other too, masqueraded, and it is said once', async () => {
  await lab.node('sysctl -q -w net.bridge.bridge-nf-call-iptables=0');
  await serve();
  assert.equal((await pods[0]?.agent.ask('tcp', vip, 80, undefined, 500))?.error, 'TIMEOUT', 'this is what it mends');
  const proc = join(dir, 'proc');
  await mkdir(join(proc, 'sys/net/ipv4'), { recursive: true });
  await writeFile(join(proc, 'sys/net/ipv4/ip_forward'), '1\n');
  const said: string[] = [];
  const log: Log = { ...silentLog, warn: (_fields, message) => void said.push(message) };
  const network = new PodNetwork({ ...options(), procDir: proc, exec: withoutModules(lab.exec), log });
  await network.ensure([podCidr], never);
  await network.ensure([podCidr], never);
  assert.equal(said.length, 1);
  assert.deepEqual(await pods[0]?.agent.ask('tcp', vip, 80).then(({ from, seen }) => ({ from, seen })), {
    from: 'p2',
    seen: '10.245.0.1',
  });
  assert.equal((await pods[0]?.agent.ask('tcp', pods[1]?.ip ?? '', tcpPort))?.seen, pods[0]?.ip);
});

test('a foreign configuration that wins is left alone, and our masquerading goes', async () => {
  const confDir = join(dir, 'net.d');
  const ours = await readFile(join(confDir, cniFileName), 'utf8');
  await writeFile(join(confDir, '05-foreign.conflist'), '{}');
  assert.equal(await ensureInside(), 'foreign');
  assert.equal(await readFile(join(confDir, cniFileName), 'utf8'), ours);
  await assert.rejects(lab.node('nft list table ip keelson-pods'));
  await rm(join(confDir, cniFileName));
  assert.equal(await ensureInside(), 'foreign');
  assert.deepEqual(await readdir(confDir), ['05-foreign.conflist']);
});

function withoutModules(exec: Exec): Exec {
  return {
    run: (file, args, run) => (file === 'modprobe' ? Promise.reject(notFound(file)) : exec.run(file, args, run)),
  };
}
