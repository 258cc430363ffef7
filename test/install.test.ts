import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TestHost } from './host/test-host.ts';
import { Pki } from './pki/pki.ts';

const PROJECT = fileURLToPath(new URL('..', import.meta.url));
const INSTALL = join(PROJECT, 'install.sh');
const VIP = 'http://10.96.0.80';

interface Run {
  readonly status: number;
  readonly output: string;
}

function run(command: string, args: readonly string[]): Promise<Run> {
  return new Promise((resolve) => {
    execFile(command, args, (error, stdout, stderr) =>
      resolve({ status: typeof error?.code === 'number' ? error.code : error ? -1 : 0, output: stdout + stderr }),
    );
  });
}

describe('install.sh', () => {
  const refusals: Record<string, { args: string[]; says: RegExp }> = {
    'an option it does not know': { args: ['--frob'], says: /unknown argument --frob/ },
    'an option without its value': { args: ['--server'], says: /--server needs a value/ },
    'half of what joining takes': { args: ['--server', 'https://a'], says: /go together: give all three/ },
    'a cluster named twice': {
      args: ['--kubeconfig', 'a', '--server', 'b', '--token', 'c', '--ca-cert-hash', 'd'],
      says: /either --kubeconfig or --server/,
    },
    'a demo in a cluster': {
      args: ['--demo', '--kubeconfig', INSTALL],
      says: /--demo is for a host without a cluster/,
    },
    'a kubeconfig that is not there': { args: ['--kubeconfig', '/nonexistent'], says: /\/nonexistent cannot be read/ },
  };
  for (const [sentence, { args, says }] of Object.entries(refusals)) {
    it(`refuses ${sentence} in one sentence`, async () => {
      const { status, output } = await run(INSTALL, args);
      assert.equal(status, 1);
      assert.match(output.trim().split('\n').at(-1) ?? '', says);
    });
  }

  it('refuses to run as anybody but root', async () => {
    const script = readFileSync(INSTALL, 'utf8');
    // The project may lie where others cannot read.
    const { status, output } = await run('setpriv', [
      ...['--reuid=65534', '--regid=65534', '--clear-groups', '--'],
      ...['bash', '-c', script, 'install.sh', '--demo'],
    ]);
    assert.equal(status, 1);
    assert.match(output, /run it as root/);
  });
});

const keyHash = (ca: string) =>
  createHash('sha256')
    .update(new X509Certificate(ca).publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');

const clusterInfo = (ca: string) => ({
  data: { kubeconfig: `clusters: [{cluster: {certificate-authority-data: ${Buffer.from(ca).toString('base64')}}}]` },
});

/** A machine on which nothing is installed yet and no systemd runs. */
async function freshMachine(name: string): Promise<TestHost> {
  const host = await TestHost.create(name);
  await host.exec('mount', ['-t', 'tmpfs', 'tmpfs', '/usr/local/bin']);
  await host.exec('rm', ['-f', '/etc/containerd/config.toml']);
  return host;
}

const install = (host: TestHost, ...args: string[]) => host.exec(INSTALL, args, { timeoutMs: 240_000 });

/** What an installation may leave behind, as `path` lines. */
const traces = (host: TestHost) =>
  host.exec('sh', [
    '-c',
    `find /etc /opt /run /usr/local/bin /var/lib/kubelet /var/lib/cni /var/log -xdev -newer /proc/1/comm \\
       ! -type d ! -path '/run/containerd/*' ! -path '/etc/mtab' 2>/dev/null
     ls -d /opt/keelson /etc/keelson /run/keelson 2>/dev/null
     nft list tables
     ip -o link show type bridge
     find /sys/fs/cgroup -type d -name 'kubepods*'
     true`,
  ]);

describe('a machine without systemd', () => {
  before(async () => {
    if (existsSync(join(PROJECT, 'dist/keelson.js'))) return;
    const { status, output } = await run(process.execPath, [join(PROJECT, 'build.mjs')]);
    assert.equal(status, 0, output);
  });

  it('runs the demo in the background, goes on when keelson stops, and is clean after --uninstall', async () => {
    await using host = await freshMachine('install-demo');
    const clean = await traces(host);

    const output = await install(host, '--demo');
    assert.match(output, new RegExp(`curl ${VIP}\n`));
    assert.match(output, /To stop it \(its pods go on\): kill \$\(cat \/run\/keelson\/keelson\.pid\)/);
    assert.match(await host.get(VIP), /^Hello from keelson-demo-web-[12]-install-demo$/m);

    const pid = await host.exec('cat', ['/run/keelson/keelson.pid']);
    assert.match(await install(host, '--demo'), /it runs already/);
    assert.equal(await host.exec('cat', ['/run/keelson/keelson.pid']), pid);

    await host.exec('sh', ['-c', 'kill $(cat /run/keelson/keelson.pid)']);
    assert.match(await host.get(VIP), /^Hello from/);

    assert.match(await install(host, '--uninstall'), /keelson is gone/);
    assert.equal(await traces(host), clean);
  });

  it('leaves the configuration of an operator alone, and still needs no registry', async () => {
    await using host = await freshMachine('install-operator');
    const incomplete =
      'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "registry.k8s.io/pause:3.9"\n  restrict_oom_score_adj = true\n';
    await host.writeFile('/etc/containerd/config.toml', incomplete);
    await assert.rejects(install(host, '--demo'), /looks for CNI plugins in \/opt\/cni\/bin.*: set bin_dir/);

    const theirs = `${incomplete}[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/usr/lib/cni"\n`;
    await host.writeFile('/etc/containerd/config.toml', theirs);
    const output = await install(host, '--demo');
    assert.match(output, /config\.toml is yours and stays as it is/);
    assert.match(output, /Image registry\.k8s\.io\/pause:3\.9: made from/);
    assert.equal(await host.exec('cat', ['/etc/containerd/config.toml']), theirs);
    await install(host, '--uninstall');
    assert.equal(await host.exec('cat', ['/etc/containerd/config.toml']), theirs);
  });

  it('joins a cluster by token and hash, with the credentials in a file for root alone', async () => {
    await using host = await freshMachine('install-join');
    const pki = Pki.create('cluster');
    const seen: string[] = [];
    const api = createServer(pki.serving(['127.0.0.1']), (request, response) => {
      seen.push(request.headers.authorization ?? 'anonymous');
      response.end(JSON.stringify(request.url === '/version' ? {} : clusterInfo(pki.ca)));
    });
    const socket = await host.listen(0);
    api.listen(socket);
    const { port } = socket.address() as AddressInfo;
    const join = [`--server=https://127.0.0.1:${port}`, '--token=abc.def', `--ca-cert-hash=sha256:${keyHash(pki.ca)}`];
    const output = await install(host, ...join.flatMap((option) => option.split('=', 2)));
    assert.match(output, /wrote \/etc\/keelson\/kubeconfig/);
    assert.deepEqual(seen.slice(0, 2), ['anonymous', 'Bearer abc.def']);
    assert.equal((await host.exec('stat', ['-c', '%a', '/etc/keelson/kubeconfig'])).trim(), '600');
    assert.match(await host.exec('cat', ['/etc/default/keelson']), /--kubeconfig=\/etc\/keelson\/kubeconfig/);
    const ca = /clientCAFile: (\S+)/.exec(await host.exec('cat', ['/etc/keelson/config.yaml']))?.[1] ?? 'none';
    assert.equal((await host.exec('cat', [ca])).trim(), pki.ca.trim());

    // An update without options stays in the cluster.
    await install(host);
    assert.match(await host.exec('cat', ['/etc/default/keelson']), /--kubeconfig=\/etc\/keelson\/kubeconfig/);
    api.close();
  });
});
