import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile, rm } from 'node:fs/promises';
import https from 'node:https';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { NODES, PODS } from './apiserver/kinds.ts';
import { kubeconfig } from './apiserver/kubeconfig.ts';
import { Cluster, containerOf, NODE } from './host/cluster.ts';
import type { ManagedProcess } from './host/managed-process.ts';
import { BUSYBOX_IMAGE, busyboxImage } from './images/images.ts';
import { EXPIRED, Pki } from './pki/pki.ts';

/** What operators, networks and disks do wrong: each is said clearly and once, and what ran goes on running. */

const DOOR = 7443;
const doorUrl = `https://127.0.0.1:${DOOR}`;
const manifests = '/etc/kubernetes/manifests';
const rootDir = '/var/lib/kubelet';
const socket = '/run/containerd/containerd.sock';
const config = '--config=/etc/keelson/config.yaml';
const sleeper = {
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'],
};
const manifest = (name: string) => `apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: ${BUSYBOX_IMAGE}, command: [sh, -c, 'trap "exit 0" TERM; while :; do sleep 1; done']}
`;

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.create('bad', {
    images: [busyboxImage()],
    kubelet: 'fileCheckFrequency: 1s\npodCIDR: 10.244.1.0/24',
  });
  await cluster.host.exec('sh', ['-c', `mkdir -p ${rootDir} && mount -t tmpfs -o size=2m tmpfs ${rootDir}`]);
  await cluster.host.exec('sh', ['-c', 'mkdir -p /mnt/read-only && mount -t tmpfs -o ro tmpfs /mnt/read-only']);
  await openDoor();
});
after(() => cluster[Symbol.asyncDispose]());

/** A port of the host behind which a test puts whatever it likes: the stand-in API server, or something else. */
const door = { leadsTo: () => cluster.api.port, knocks: 0, knocked: () => {} };

async function openDoor(): Promise<void> {
  const listener = await cluster.host.listen(DOOR);
  listener.on('connection', (inside) => {
    door.knocks++;
    door.knocked();
    const outside = connect(door.leadsTo(), '127.0.0.1');
    inside.on('error', () => outside.destroy()).on('close', () => outside.destroy());
    outside.on('error', () => inside.destroy()).on('close', () => inside.destroy());
    inside.pipe(outside).pipe(inside);
  });
}

/** Resolves after so many more connections: tries, where none of them succeeds. */
async function moreKnocks(count: number): Promise<void> {
  const wanted = door.knocks + count;
  const { promise, resolve } = Promise.withResolvers<void>();
  door.knocked = () => door.knocks >= wanted && resolve();
  await promise;
}

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

function logOf({ lines }: ManagedProcess): LogLine[] {
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogLine);
}

/** What an operator sees without asking for more: warnings and errors that match, without what changes each time. */
function warnings(process: ManagedProcess, matches: RegExp): string[] {
  return logOf(process)
    .filter(({ level }) => level === 'warn' || level === 'error')
    .map(({ time: _, ...line }) => JSON.stringify(line))
    .filter((line) => matches.test(line));
}

function assertSaidOnce(process: ManagedProcess, matches: RegExp): void {
  const said = warnings(process, matches);
  assert.ok(said.length > 0, `nothing was said about ${matches}`);
  assert.deepEqual(said, [...new Set(said)], 'something was said more than once');
  for (const line of said) assert.ok((JSON.parse(line) as LogLine)['hint'], `no hint: ${line}`);
}

const containerId = (pod: string) => {
  const found = cluster.pod(pod);
  return found && containerOf(found, 'c')?.containerID;
};

/** The keelson of one test: a test that failed must not leave its own to the next. */
let current: ManagedProcess | undefined;
afterEach(async () => {
  await current?.kill('SIGKILL');
  current = undefined;
});

function start(...args: readonly string[]): ManagedProcess {
  const all = [config, `--hostname-override=${NODE}`, `--pod-manifest-path=${manifests}`, '--v=4', ...args];
  current = cluster.host.startKeelson(all);
  return current;
}

/** keelson as an installation starts it, once it has shown that it works: by a pod made at the API server. */
async function startWith(pod: string): Promise<ManagedProcess> {
  const keelson = start('--kubeconfig=/etc/kubernetes/kubelet.conf');
  cluster.createPod(pod, { containers: [sleeper] });
  await cluster.whenPodReady(pod);
  return keelson;
}

test('what cannot be mended by waiting ends the start with one sentence, a hint and status 1', async (t) => {
  const { pki } = cluster.api;
  const good = await readFile(cluster.host.path('/etc/kubernetes/kubelet.conf'), 'utf8');
  const expired = pki.client(`system:node:${NODE}`, ['system:nodes'], EXPIRED);
  const use = '--kubeconfig=/etc/kubernetes/bad.conf';
  const bad = '/etc/kubernetes/bad\\.conf';
  const cases: Record<string, { text?: string; args: readonly string[]; says: RegExp; hint: RegExp }> = {
    'a kubeconfig that is not there': {
      args: ['--kubeconfig=/etc/kubernetes/none.conf'],
      says: /^keelson: \/etc\/kubernetes\/none\.conf: cannot be read: ENOENT$/,
      hint: /check --kubeconfig/,
    },
    'a folder in its place': {
      args: ['--kubeconfig=/etc/kubernetes'],
      says: /^keelson: \/etc\/kubernetes: cannot be read: EISDIR$/,
      hint: /check --kubeconfig/,
    },
    'an empty kubeconfig': {
      text: '',
      args: [use],
      says: new RegExp(`^keelson: ${bad}: is empty$`),
      hint: /write the file anew/,
    },
    'one that is not YAML': {
      text: good.replace('clusters:', 'clusters: ]'),
      args: [use],
      says: new RegExp(`^keelson: ${bad}:3:11: is not YAML`),
      hint: /write the file anew/,
    },
    'one whose context is missing': {
      text: good.replace(/current-context: .*/, 'current-context: other'),
      args: [use],
      says: new RegExp(`^keelson: ${bad}: current-context: names "other", which is not among contexts$`),
      hint: /the file has: test/,
    },
    'one whose key is damaged': {
      text: good.replace(/client-key-data: (.*)/, 'client-key-data: "!$1"'),
      args: [use],
      says: new RegExp(`^keelson: ${bad}: users\\[.*\\]\\.user\\.client-key-data: is not base64$`),
      hint: /base64 -w0/,
    },
    'one whose client certificate has expired': {
      text: kubeconfig(doorUrl, pki.ca, 'node', expired),
      args: [use],
      says: new RegExp(`^keelson: ${bad}: users\\[node\\]\\.user\\.client-certificate-data: .* expired at \\d{4}-`),
      hint: /check the clock/,
    },
    'one whose server is no URL': {
      text: good.replace(/server: .*/, 'server: 127.0.0.1:6443'),
      args: [use],
      says: new RegExp(`^keelson: ${bad}: clusters\\[test\\]\\.cluster\\.server: is "127\\.0\\.0\\.1:6443"$`),
      hint: /https:\/\//,
    },
    'an address that is not ours': {
      args: ['--node-ip=203.0.113.7'],
      says: /^keelson: --node-ip 203\.0\.113\.7 is no address of this host$/,
      hint: /it has 192\.0\.2\.2/,
    },
    'a configuration file that is not there': {
      args: ['--config=/etc/none.yaml'],
      says: /^keelson: \/etc\/none\.yaml: there is no such file/,
      hint: /keelson check --config/,
    },
    'a root directory on a read-only file system': {
      args: ['--root-dir=/mnt/read-only'],
      says: /^keelson: the root directory \/mnt\/read-only cannot be used: its file system is read-only$/,
      hint: /--root-dir/,
    },
    'a file in place of the root directory': {
      args: ['--root-dir=/etc/hostname'],
      says: /^keelson: the root directory \/etc\/hostname cannot be used: a file is in its place$/,
      hint: /--root-dir/,
    },
  };
  for (const [name, { text, args, says, hint }] of Object.entries(cases)) {
    await t.test(name, async () => {
      if (text !== undefined) await cluster.host.writeFile('/etc/kubernetes/bad.conf', text);
      const keelson = start(...args);
      assert.deepEqual(await keelson.exited, { code: 1, signal: null });
      const [sentence = '', advice = '', ...more] = keelson.lines;
      assert.match(sentence, says);
      assert.match(advice, hint);
      assert.deepEqual(more, []);
      const key = /client-key-data: (\S+)/.exec(text || good)?.[1] ?? '';
      assert.ok(!keelson.lines.join('\n').includes(key.slice(2, 40)), 'the key is in the output');
    });
  }
  assert.deepEqual(await readdir(cluster.host.path('/etc/cni/net.d')).catch(() => []), []);
  assert.equal((await cluster.host.exec('nft', ['list', 'tables'])).trim(), '');
});

test('a wrong CA is said once; static pods run meanwhile, and the right CA mends it without a restart', async () => {
  const { pki } = cluster.api;
  const identity = pki.client(`system:node:${NODE}`, ['system:nodes']);
  const byFile = kubeconfig(doorUrl, pki.ca, 'node', identity).replace(
    /certificate-authority-data: .*/,
    'certificate-authority: ca.crt',
  );
  await cluster.host.writeFile('/etc/kubernetes/by-file.conf', byFile);
  await cluster.host.writeFile('/etc/kubernetes/ca.crt', Pki.create('other').ca);
  await cluster.host.writeFile(`${manifests}/steady.yaml`, manifest('steady'));
  const keelson = start('--kubeconfig=/etc/kubernetes/by-file.conf');
  await keelson.waitForLog(/container started/);
  await moreKnocks(4);
  assertSaidOnce(keelson, /ApiCertificateUntrusted/);
  await cluster.host.writeFile('/etc/kubernetes/ca.crt', pki.ca);
  await cluster.whenNodeReady();
  const pod = await cluster.whenPodReady(`steady-${NODE}`);
  assert.equal(containerOf(pod, 'c')?.restartCount, 0);
  await keelson.kill('SIGTERM');
  assert.deepEqual(await keelson.exited, { code: 0, signal: null });
});

test('a web server in place of the API server is said once, and harms no pod', async () => {
  const before = containerId(`steady-${NODE}`);
  const page = https.createServer(cluster.api.pki.serving(['127.0.0.1']), (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html', connection: 'close' });
    response.end('<html><h1>Welcome to a web server</h1></html>');
  });
  await once(page.listen(0, '127.0.0.1'), 'listening');
  door.leadsTo = () => (page.address() as AddressInfo).port;
  const keelson = start('--kubeconfig=/etc/kubernetes/by-file.conf');
  try {
    await keelson.waitForLog(/Welcome to a web server/);
    await moreKnocks(6);
    assertSaidOnce(keelson, /NotAnApiServer/);
  } finally {
    door.leadsTo = () => cluster.api.port;
    page.close();
  }
  cluster.createPod('after-web', { containers: [sleeper] });
  await cluster.whenPodReady('after-web');
  assert.equal(containerId(`steady-${NODE}`), before);
  await keelson.kill('SIGTERM');
});

test('a token that was revoked is said once; a new one in its file mends it', async () => {
  const token = cluster.api.addToken(`system:node:${NODE}`, ['system:nodes']);
  const file = '/etc/kubernetes/token';
  await cluster.host.writeFile(file, token);
  const byToken = kubeconfig(doorUrl, cluster.api.pki.ca, 'node', { token }).replace(/token: .*/, `tokenFile: ${file}`);
  await cluster.host.writeFile('/etc/kubernetes/by-token.conf', byToken);
  const keelson = start('--kubeconfig=/etc/kubernetes/by-token.conf');
  cluster.createPod('before-revoked', { containers: [sleeper] });
  await cluster.whenPodReady('before-revoked');
  cluster.api.revokeToken(token);
  cluster.api.cutConnections();
  await keelson.waitForLog(/Api401/);
  await keelson.waitForLog(/cannot renew the node lease/, { timeoutMs: 60_000 });
  assertSaidOnce(keelson, /Api401/);
  assert.ok(!keelson.lines.join('\n').includes(token), 'the token is in the log');
  await cluster.host.writeFile(file, cluster.api.addToken(`system:node:${NODE}`, ['system:nodes']));
  cluster.createPod('after-token', { containers: [sleeper] });
  await cluster.whenPodReady('after-token', 90_000);
  await keelson.kill('SIGTERM');
});

test('an API server that fails every request stops nobody, keelson itself included', async () => {
  const keelson = await startWith('before-500');
  using fault = cluster.api.faults.add({ action: '500' });
  cluster.api.cutConnections();
  await keelson.waitForLog(/cannot renew the node lease/, { timeoutMs: 60_000 });
  const from = keelson.lines.length;
  await cluster.host.writeFile(`${manifests}/meanwhile.yaml`, manifest('meanwhile'));
  await keelson.waitForLog(/container started/, { from });
  const said = warnings(keelson, /Api500/);
  assert.deepEqual(said, [...new Set(said)]);
  assert.ok(fault.hits > said.length);
  await keelson.kill('SIGTERM');
  assert.deepEqual(await keelson.exited, { code: 0, signal: null });
  await rm(cluster.host.path(`${manifests}/meanwhile.yaml`));
});

const readyMessage = () => {
  const node = cluster.api.store.get(NODES, undefined, NODE) as unknown as
    | { status: { conditions: { type: string; status: string; message: string }[] } }
    | undefined;
  const ready = node?.status.conditions.find((c) => c.type === 'Ready');
  return `${ready?.status} ${ready?.message}`;
};

const whenNodeSays = (words: RegExp) =>
  cluster.api.until(NODES, undefined, NODE, () => words.test(readyMessage()), AbortSignal.timeout(90_000));

test('containerd that is missing at the start is a reason in the node, and nobody restarts keelson when it comes', async () => {
  const before = containerId(`steady-${NODE}`);
  await cluster.host.stopContainerd();
  await rm(cluster.host.path(socket), { force: true });
  const keelson = start('--kubeconfig=/etc/kubernetes/kubelet.conf');
  await whenNodeSays(/^False container runtime is down: cannot connect to .*containerd\.sock: no such socket$/);
  cluster.createPod('late', { containers: [sleeper] });
  await keelson.waitForLog(/still does not answer/);
  assertSaidOnce(keelson, /does not answer/);
  await cluster.host.startContainerd();
  await cluster.whenPodReady('late');
  await cluster.whenNodeReady();
  assert.equal(containerId(`steady-${NODE}`), before);
});

test('another service behind the socket is named as what it is', async () => {
  const keelson = await startWith('before-socket');
  const before = containerId('before-socket');
  const path = cluster.host.path(socket);
  using servers = new DisposableStack();
  await cluster.host.killContainerd();
  await rm(path, { force: true });
  const web = createServer((s) => {
    s.on('error', () => {});
    s.once('data', () => s.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  });
  servers.defer(() => web.close());
  await once(web.listen(path), 'listening');
  await keelson.waitForLog((l) => /Status: .*does not speak gRPC/.test(l) && l.includes('"warn"'));
  await rm(path, { force: true });

  const other = new grpc.Server();
  servers.defer(() => other.forceShutdown());
  await new Promise<void>((resolve, reject) => {
    other.bindAsync(`unix://${path}`, grpc.ServerCredentials.createInsecure(), (e) => (e ? reject(e) : resolve()));
  });
  await keelson.waitForLog((l) => /Status: .*is not a CRI v1 runtime/.test(l) && l.includes('"warn"'));
  assertSaidOnce(keelson, /container runtime does not answer/);
  servers.dispose();
  await rm(path, { force: true });

  await cluster.host.startContainerd();
  cluster.createPod('after-socket', { containers: [sleeper] });
  await cluster.whenPodReady('after-socket');
  await cluster.whenNodeReady();
  assert.equal(containerId('before-socket'), before);
});

test('manifests with mistakes are named with file and line, and the others run', async () => {
  const { host } = cluster;
  const keelson = await startWith('before-manifests');
  const files: Record<string, string> = {
    'a.yaml': manifest('twice'),
    'b.yaml': manifest('twice'),
    'big.yaml': `${manifest('big')}${'# filler\n'.repeat(1_200_000)}`,
    'tab.yaml': 'apiVersion: v1\n\tkind: Pod\n',
    'two.yaml': `${manifest('first')}---\n${manifest('second')}`,
  };
  for (const [name, text] of Object.entries(files)) await host.writeFile(`${manifests}/${name}`, text);
  for (const name of ['twice', 'first', 'second']) await cluster.whenPodReady(`${name}-${NODE}`);
  const said: Record<string, RegExp> = {
    'b.yaml': /"line":1,.*Pod default\/twice-node-a is in \/etc\/kubernetes\/manifests\/a\.yaml already/,
    'big.yaml': /is \d{8} bytes long/,
    'tab.yaml': /"line":2,.*a tab is used for indentation/,
  };
  for (const [name, words] of Object.entries(said)) {
    const line = await keelson.waitForLog((l) => l.includes(`${manifests}/${name}`) && words.test(l));
    assert.equal(
      keelson.lines.filter((l) => l.includes('manifest refused') && l.includes(`/${name}"`)).length,
      1,
      line,
    );
  }
  assert.equal(cluster.pod(`big-${NODE}`), undefined);
  for (const name of Object.keys(files)) await rm(host.path(`${manifests}/${name}`));
  for (const name of ['twice', 'first', 'second']) {
    await keelson.waitForLog((l) => l.includes('pod purged') && l.includes(`default/${name}-${NODE}`));
  }
});

test('on a full disk new pods say so and wait, running ones stay, and space is all it takes', async () => {
  const { host } = cluster;
  const keelson = await startWith('before-full');
  const before = containerId('before-full');
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'cm', namespace: 'default' },
    data: { color: 'blue' },
  });
  const free = () => host.exec('rm', ['-f', `${rootDir}/filler`]);
  await using filled = new AsyncDisposableStack();
  filled.defer(async () => void (await free()));
  await assert.rejects(host.exec('dd', ['if=/dev/zero', `of=${rootDir}/filler`, 'bs=4k']), /No space left/);
  cluster.createPod('plain', { containers: [sleeper] });
  cluster.createPod('mounts', {
    containers: [{ ...sleeper, volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
    volumes: [{ name: 'v', configMap: { name: 'cm' } }],
  });
  assert.match((await cluster.whenEvent('plain', 'FailedSync')).message, /no space left on its file system.*df -h/);
  assert.match((await cluster.whenEvent('mounts', 'FailedMount')).message, /no space left on its file system.*df -h/);
  for (const pod of ['plain', 'mounts']) {
    await keelson.waitForLog((l) => l.includes('pod sync failed again') && l.includes(`default/${pod}`));
    assertSaidOnce(keelson, new RegExp(`"pod":"default/${pod}".*no space left`));
  }
  await keelson.kill('SIGTERM');
  const again = start('--kubeconfig=/etc/kubernetes/kubelet.conf');
  await again.waitForLog(/no space left/);
  assert.equal(containerId('before-full'), before);

  await free();
  for (const pod of ['plain', 'mounts']) await cluster.whenPodReady(pod);
  assert.equal(containerId('before-full'), before);
});

test('in the end everything can be taken away, and nothing is left behind', async () => {
  const keelson = await startWith('last');
  const pods = cluster.api.store.list(PODS).map(({ metadata }) => metadata);
  await cluster.kubectl('delete', 'pods', '--all', '--wait=false');
  await rm(cluster.host.path(`${manifests}/steady.yaml`), { force: true });
  for (const { name, uid, annotations } of pods) {
    const mirrored = annotations?.['kubernetes.io/config.mirror'];
    if (!mirrored) await cluster.whenPodGone(name);
    await keelson.waitForLog((l) => l.includes('pod purged') && l.includes(mirrored ?? uid));
  }
  assert.deepEqual(await readdir(cluster.host.path(`${rootDir}/pods`)), []);
  assert.deepEqual(await cluster.host.cri().runtime.listPodSandbox({}, AbortSignal.timeout(10_000)), []);
});
