import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cluster } from './host/cluster.ts';
import { HTTPD_IMAGE, httpdImage } from './images/images.ts';

/** The daemon in one proxy mode after the other on the same host, what each leaves, and `keelson cleanup`. */

const vip = '10.96.7.7';
const vip6 = 'fd00:96::7';
const nodePort = 30_707;
const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('modes', { images: [httpdImage()] });
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      type: 'NodePort',
      ...{ clusterIP: vip, clusterIPs: [vip, vip6], ipFamilies: ['IPv4', 'IPv6'], selector: { app: 'web' } },
      ports: [{ name: 'http', port: 80, targetPort: 8080, nodePort, protocol: 'TCP' }],
    },
  });
  const web = { name: 'web', image: HTTPD_IMAGE, ports: [{ containerPort: 8080 }] };
  cluster.createPod('web', { containers: [web] }, { labels: { app: 'web' } });
  await cluster.whenPodReady('web');
  for (const program of ['iptables', 'ip6tables']) {
    await cluster.host.exec(program, ['-t', 'nat', '-N', 'SOMEBODY']);
    await cluster.host.exec(program, ['-t', 'nat', '-A', 'PREROUTING', '-p', 'tcp', '--dport', '9', '-j', 'SOMEBODY']);
  }
  for (const family of ['ip', 'ip6', 'inet']) await cluster.host.exec('nft', ['add', 'table', family, 'somebody']);
});
after(() => cluster[Symbol.asyncDispose]());

const cli = (...args: readonly string[]) => cluster.host.exec(process.execPath, [main, ...args]);

/** Whose rules are in the kernel: what a cleanup would take away, by the part that made it. */
async function owners(): Promise<readonly string[]> {
  const lines = (await cli('cleanup', '--plan')).split('\n').filter((line) => line.startsWith('to remove: '));
  return [...new Set(lines.map((line) => /\(([^()]*)\)$/.exec(line)?.[1] ?? line))].sort();
}

async function assertForeignIsThere(): Promise<void> {
  for (const program of ['iptables-save', 'ip6tables-save']) {
    const saved = await cluster.host.exec(program, ['-t', 'nat']);
    assert.match(saved, /^-A PREROUTING -p tcp -m tcp --dport 9 -j SOMEBODY$/m);
  }
  const tables = await cluster.host.exec('nft', ['list', 'tables']);
  for (const family of ['ip', 'ip6', 'inet']) assert.match(tables, new RegExp(`^table ${family} somebody$`, 'm'));
}

/** Stops the daemon, and starts it again in a mode. */
async function restartIn(mode: string, ...args: readonly string[]): Promise<void> {
  await cluster.keelson.kill('SIGTERM');
  await cluster.startKeelson([`--proxy-mode=${mode}`, ...args]);
}

async function assertServed(): Promise<void> {
  const { host } = cluster;
  for (const place of [vip, `${host.nodeIp}:${nodePort}`, `127.0.0.1:${nodePort}`])
    assert.equal((await host.get(`http://${place}/`)).trim(), 'web', place);
}

for (const [before, mode] of [
  ['nftables', 'iptables'],
  ['iptables', 'userspace'],
  ['userspace', 'nftables'],
  ['nftables', 'userspace'],
  ['userspace', 'iptables'],
  ['iptables', 'nftables'],
] as const) {
  test(`from ${before} to ${mode}: Services answer, and only the rules of the mode before are gone`, async () => {
    await restartIn(mode);
    await cluster.keelson.waitForLog(/"mode":"(\w+)".*the proxy mode is chosen/);
    assert.equal(await cluster.host.get('http://127.0.0.1:10249/proxyMode'), mode);
    const line = await cluster.keelson.waitForLog(/removed what another proxy mode of keelson had left/);
    assert.equal(JSON.parse(line).mode, before);
    await assertServed();
    assert.deepEqual(await owners(), [`mode ${mode}`, 'pod network']);
    await assertForeignIsThere();
  });
}

test('a mode that may not be used falls back to the next, with one error that says what to do', async () => {
  await cluster.host.exec('mount', ['--bind', '/dev/null', '/usr/sbin/nft']);
  try {
    await restartIn('nftables');
    const line = JSON.parse(await cluster.keelson.waitForLog(/the proxy mode cannot work here/));
    assert.deepEqual([line.level, line.mode], ['error', 'nftables']);
    assert.equal(line.instead, 'iptables');
    assert.equal(await cluster.host.get('http://127.0.0.1:10249/proxyMode'), 'iptables');
    await assertServed();
  } finally {
    await cluster.host.exec('umount', ['/usr/sbin/nft']);
  }
  await restartIn('nftables');
  await cluster.keelson.waitForLog(/removed what another proxy mode of keelson had left/);
});

test('without a mode to fall back to, the one that was asked for is tried until it works', async () => {
  const config = '/etc/keelson/no-fallback.yaml';
  const keys = 'services: {fallbackModes: []}';
  await cluster.host.writeFile(config, `apiVersion: keelson.io/v1alpha1\nkind: KeelsonConfiguration\n${keys}\n`);
  await cluster.keelson.kill('SIGTERM');
  await cluster.host.exec('nft', ['delete', 'table', 'ip', 'keelson']);
  await cluster.host.exec('mount', ['--bind', '/dev/null', '/usr/sbin/nft']);
  try {
    await cluster.startKeelson(['--proxy-mode=nftables', `--config=${config}`]);
    await cluster.keelson.waitForLog(/there is no other to fall back to/);
    await cluster.keelson.waitForLog(/Services are not in step with the kernel; trying again/);
    assert.equal(await cluster.host.get('http://127.0.0.1:10249/proxyMode'), 'nftables');
  } finally {
    await cluster.host.exec('umount', ['/usr/sbin/nft']);
  }
  await cluster.keelson.waitForLog(/Services are programmed again/);
  await assertServed();
});

test('a read-only /proc/sys keeps no Service away, and each setting is said once with its remedy', async () => {
  const remount = (options: string) => cluster.host.exec('mount', ['-o', `remount,bind,${options}`, '/proc/sys']);
  const lower = ['net.ipv4.conf.all.route_localnet=0', 'net.netfilter.nf_conntrack_tcp_timeout_close_wait=60'];
  await cluster.host.exec('sysctl', ['-q', '-w', ...lower]);
  await cluster.host.exec('mount', ['--bind', '/proc/sys', '/proc/sys']);
  await remount('ro');
  try {
    await restartIn('nftables');
    const conntrack = JSON.parse(await cluster.keelson.waitForLog(/settings of connection tracking cannot be set/));
    assert.match(conntrack.hint, /sysctl -w net\.netfilter\.nf_conntrack_tcp_timeout_close_wait=3600/);
    const loopback = JSON.parse(await cluster.keelson.waitForLog(/node ports do not answer on 127\.0\.0\.1/));
    assert.match(loopback.hint, /sysctl -w net\.ipv4\.conf\.all\.route_localnet=1/);
    for (const place of [vip, `${cluster.host.nodeIp}:${nodePort}`])
      assert.equal((await cluster.host.get(`http://${place}/`)).trim(), 'web', place);
    const said = (what: RegExp) => cluster.keelson.lines.filter((line) => what.test(line)).length;
    assert.deepEqual([said(/connection tracking cannot be set/), said(/do not answer on 127/)], [1, 1]);
  } finally {
    await remount('rw');
    await cluster.host.exec('umount', ['/proc/sys']);
  }
});

test('rules of kube-proxy are warned of, and left alone', async () => {
  await cluster.host.exec('nft', ['add', 'table', 'ip', 'kube-proxy']);
  await cluster.host.exec('iptables', ['-t', 'nat', '-N', 'KUBE-SERVICES']);
  await restartIn('nftables');
  const line = JSON.parse(await cluster.keelson.waitForLog(/rules of kube-proxy are in place/));
  assert.equal(line.count, 2);
  assert.match(line.found.join('; '), /^nftables table ip kube-proxy; iptables.* table nat: chain KUBE-SERVICES/);
  assert.match(line.hint, /kube-proxy --cleanup/);
  await assertServed();
});

test('cleanup is refused while the daemon runs, and leaves nothing of keelson when it does not', async () => {
  await assert.rejects(cli('cleanup'), /keelson runs, and would put back what is removed[\s\S]*systemctl stop keelson/);
  await assertServed();
  await cluster.keelson.kill('SIGTERM');
  const plan = (await cli('cleanup', '--plan')).trim().split('\n');
  assert.ok(plan.includes('to remove: nftables table ip keelson (mode nftables)'), plan.join('\n'));
  const done = (await cli('cleanup')).trim().split('\n');
  assert.deepEqual(
    done,
    plan.map((line) => line.replace(/^to remove: /, 'removed: ')),
  );
  assert.equal((await cli('cleanup', '--plan')).trim(), 'nothing of keelson is in the kernel');
  assert.doesNotMatch(await cluster.host.exec('nft', ['list', 'ruleset']), /keelson/i);
  await assertForeignIsThere();
  assert.match(await cluster.host.exec('nft', ['list', 'tables']), /^table ip kube-proxy$/m);
  assert.match(await cluster.host.exec('iptables-save', ['-t', 'nat']), /^:KUBE-SERVICES /m);
});
