import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster, NODE } from './host/cluster.ts';
import type { ManagedProcess } from './host/managed-process.ts';
import { TestHost } from './host/test-host.ts';
import { HTTPD_IMAGE, httpdImage } from './images/images.ts';

/** A local pod that serves nobody any more leaves the rules of its node, whatever the EndpointSlices still say. */

const vip = '10.96.8.8';
/** Where the last endpoint of a Service with a health check leaves. */
const healthPort = 31_999;
let cluster: Cluster;
let keelson: ManagedProcess;
before(async () => {
  cluster = await Cluster.create('withdraw', { images: [httpdImage()] });
  const paths = ['--config=/etc/keelson/config.yaml', '--kubeconfig=/etc/kubernetes/kubelet.conf'];
  keelson = await startWithNft(cluster.host, [...paths, `--hostname-override=${NODE}`, '--v=4']);
  await cluster.whenNodeReady();
});
after(() => cluster[Symbol.asyncDispose]());

/** In front of nft, so that tests can make it slow or useless by a file of this name. */
const tardy = '/etc/keelson/nft-is-tardy';
const broken = '/etc/keelson/nft-is-broken';

async function startWithNft(host: TestHost, args: readonly string[]): Promise<ManagedProcess> {
  const bin = '/etc/keelson/bin';
  const real = (await host.exec('sh', ['-c', 'command -v nft'])).trim();
  await host.writeFile(
    `${bin}/nft`,
    `#!/bin/sh
if [ -e ${broken} ]; then echo "Error: Operation not permitted" >&2; exit 1; fi
if [ -e ${tardy} ]; then sleep 0.5; fi
exec ${real} "$@"
`,
  );
  await host.exec('chmod', ['0755', `${bin}/nft`]);
  const keelson = host.startKeelson(args, { PATH: `${bin}:${process.env['PATH']}` });
  await keelson.waitForLog(/keelson runs/);
  return keelson;
}

/** It serves its name, and its log says when it was asked to end, which it then takes its time for. */
const serve =
  'trap "echo asked to end; sleep 25; exit 0" TERM; hostname > /www/index.html; touch /www/ready; httpd -p 8080 -h /www; while :; do sleep 1; done';
const pod = () => ({
  terminationGracePeriodSeconds: 30,
  containers: [
    {
      ...{ name: 'web', image: HTTPD_IMAGE, command: ['sh', '-c', serve] },
      readinessProbe: { exec: { command: ['test', '-e', '/www/ready'] }, periodSeconds: 1, failureThreshold: 1 },
    },
  ],
});

/** Asks until the same names, and no others, have answered a number of times in a row. */
async function whenAnswered(
  address: string,
  names: readonly string[],
  host: Pick<TestHost, 'exec'> = cluster.host,
): Promise<void> {
  const wanted = [...names].sort();
  let seen: string[] = [];
  for (let round = 0; round < 60; round++) {
    // One that does not answer yet is not there yet.
    const script = `for i in $(seq 25); do curl -sS --max-time 5 http://${address}/ || true; done`;
    const answers = await host.exec('sh', ['-c', script]);
    seen = [...new Set(answers.trim().split('\n'))].sort();
    if (seen.join() === wanted.join()) return;
  }
  assert.deepEqual(seen, wanted);
}

test('a pod leaves the rules when its probe fails and when it is deleted, before its slice says so', async () => {
  for (const name of ['one', 'two']) cluster.createPod(name, pod());
  const ips: string[] = [];
  for (const name of ['one', 'two']) ips.push((await cluster.whenPodReady(name)).status?.podIP ?? '');
  const metadata = { name: 'web', namespace: 'default' };
  cluster.api.create({
    ...{ apiVersion: 'v1', kind: 'Service', metadata },
    spec: { clusterIP: vip, clusterIPs: [vip], ports: [{ port: 80, protocol: 'TCP' }] },
  });
  // Nobody keeps this slice: it says for ever that both are ready.
  cluster.api.create({
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
    metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
    endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: NODE, conditions: { ready: true } })),
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  });
  await whenAnswered(vip, ['one', 'two']);

  await cluster.kubectl('exec', 'one', '--', 'rm', '/www/ready');
  await whenAnswered(vip, ['two']);
  await cluster.kubectl('exec', 'one', '--', 'touch', '/www/ready');
  await whenAnswered(vip, ['one', 'two']);

  await cluster.kubectl('delete', 'pod', 'one', '--wait=false');
  await whenAnswered(vip, ['two']);
  assert.ok(cluster.pod('one')?.status?.containerStatuses?.[0]?.state?.running, 'it still runs');
  await cluster.kubectl('delete', 'pod', 'one', '--grace-period=1', '--wait=false');
  await cluster.whenPodGone('one');
  await whenAnswered(vip, ['two']);
});

const service = (name: string, clusterIP: string, spec: object = {}) => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' } },
  spec: { clusterIP, clusterIPs: [clusterIP], ports: [{ port: 80, targetPort: 8080, protocol: 'TCP' }], ...spec },
});
/** Nobody keeps it: it says for ever that all are ready. */
const slice = (name: string, ips: readonly string[], more: { targetRef?: object; port?: number } = {}) => {
  const { port = 8080, ...pod } = more;
  return {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
    metadata: { name: `${name}-${port}`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
    endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: NODE, conditions: { ready: true }, ...pod })),
    ports: [{ name: '', port, protocol: 'TCP' }],
  };
};

/** Serves its name until it is told to end; then it runs `atEnd` first, with what that prints in the file of its name. */
const reporter = (atEnd: string, { name = '$(hostname)', port = 8080 } = {}) => ({
  terminationGracePeriodSeconds: 30,
  containers: [
    {
      ...{ name: 'web', image: HTTPD_IMAGE },
      command: [
        'sh',
        '-c',
        `report() { { ${atEnd}; } > /report/${name} 2>&1; exit 0; }
trap report TERM; echo ${name} > /www/index.html; httpd -p ${port} -h /www; sleep 2147483647 & wait $!`,
      ],
      volumeMounts: [{ name: 'report', mountPath: '/report' }],
    },
  ],
  volumes: [{ name: 'report', hostPath: { path: '/etc/keelson/report', type: 'DirectoryOrCreate' } }],
});
const ask = (address: string, times = 20) => `for i in $(seq ${times}); do wget -q -O - http://${address}/; done`;

async function startPods(pods: Readonly<Record<string, object>>): Promise<Record<string, string>> {
  for (const [name, spec] of Object.entries(pods)) cluster.createPod(name, spec);
  const ips: Record<string, string> = {};
  for (const name of Object.keys(pods)) ips[name] = (await cluster.whenPodReady(name)).status?.podIP ?? '';
  return ips;
}

test('a container is told to end when nobody is led to it any more and the health check fails, however long that takes', async () => {
  const [both, alone] = ['10.96.8.9', '10.96.8.10'];
  const { host } = cluster;
  const health = `wget -q -O - http://${host.nodeIp}:${healthPort}/`;
  const ips = await startPods({ first: reporter(`${ask(both)}; ${health}`), second: reporter('true') });
  cluster.api.create(service('both', both));
  cluster.api.create(slice('both', Object.values(ips)));
  const policy = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: healthPort };
  cluster.api.create(service('alone', alone, policy));
  cluster.api.create(slice('alone', [ips['first'] ?? '']));
  await whenAnswered(both, ['first', 'second']);
  assert.match(await host.get(`http://${host.nodeIp}:${healthPort}/`), /"localEndpoints": 1/);

  await host.writeFile(tardy, '');
  await cluster.kubectl('delete', 'pod', 'first', '--wait=false');
  await cluster.whenPodGone('first');
  await host.exec('rm', [tardy]);
  const report = (await host.exec('cat', ['/etc/keelson/report/first'])).trim().split('\n');
  assert.deepEqual(report, [
    ...Array(20).fill('second'),
    'wget: server returned error: HTTP/1.1 503 Service Unavailable',
  ]);
});

test('of two pods one is deleted, and no connection is refused or lost', async () => {
  const address = '10.96.8.11';
  const ips = await startPods({ left: reporter('sleep 1'), right: reporter('sleep 1') });
  cluster.api.create(service('pair', address));
  cluster.api.create(slice('pair', Object.values(ips)));
  await whenAnswered(address, ['left', 'right']);
  const script = `until [ -e /etc/keelson/enough ]; do curl -sS --max-time 5 -o /dev/null http://${address}/ || echo lost; done; echo done`;
  const loop = cluster.host.spawn('load', ['sh', '-c', script]);
  await cluster.kubectl('delete', 'pod', 'left', '--wait=false');
  await cluster.whenPodGone('left');
  await cluster.host.writeFile('/etc/keelson/enough', '');
  await loop.waitForLog(/^done$/);
  assert.deepEqual(loop.lines, ['done']);
});

test('a pod that is deleted and serves alone still does, until it has ended: then it is refused', async () => {
  const address = '10.96.8.12';
  const ips = await startPods({ last: reporter(ask(address)) });
  cluster.api.create(service('last', address));
  cluster.api.create(slice('last', Object.values(ips)));
  await whenAnswered(address, ['last']);
  await cluster.kubectl('delete', 'pod', 'last', '--wait=false');
  await cluster.whenPodGone('last');
  const report = (await cluster.host.exec('cat', ['/etc/keelson/report/last'])).trim().split('\n');
  assert.deepEqual(report, Array(20).fill('last'));
  await assert.rejects(cluster.host.exec('curl', ['-sS', '--max-time', '20', `http://${address}/`]), /curl: \(7\)/);
});

test('a pod whose container dies leaves at once', async () => {
  const address = '10.96.8.13';
  const stays = { ...reporter('true'), restartPolicy: 'Never' };
  const ips = await startPods({ mortal: stays, other: stays });
  cluster.api.create(service('mortal', address));
  cluster.api.create(slice('mortal', Object.values(ips)));
  await whenAnswered(address, ['mortal', 'other']);
  await cluster.kubectl('exec', 'mortal', '--', 'kill', '1');
  await cluster.whenPod('mortal', (status) => status.phase === 'Succeeded');
  await whenAnswered(address, ['other']);
});

test("pods on the host's network leave like others, each alone, though all have the node's address", async () => {
  const [all, alone] = ['10.96.8.15', '10.96.8.16'];
  const { host } = cluster;
  const health = `wget -q -O - http://${host.nodeIp}:${healthPort + 1}/`;
  const onHost = (port: number) => {
    const { containers, ...spec } = reporter(`${ask(all)}; ${health}`, { name: `on-${port}`, port });
    const readinessProbe = {
      exec: { command: ['test', '!', '-e', '/www/away'] },
      periodSeconds: 1,
      failureThreshold: 1,
    };
    const [container] = containers;
    return { ...spec, hostNetwork: true, restartPolicy: 'Never', containers: [{ ...container, readinessProbe }] };
  };
  const ports = [8081, 8082, 8083];
  const ips = await startPods(Object.fromEntries(ports.map((port) => [`on-${port}`, onHost(port)])));
  assert.deepEqual(new Set(Object.values(ips)), new Set([host.nodeIp]));
  const told = (service: string, port: number) => {
    const { namespace, name, uid } = cluster.pod(`on-${port}`)?.metadata ?? {};
    return slice(service, [host.nodeIp], { targetRef: { kind: 'Pod', namespace, name, uid }, port });
  };
  cluster.api.create(service('on-host', all));
  for (const port of ports) cluster.api.create(told('on-host', port));
  const policy = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: healthPort + 1 };
  cluster.api.create(service('on-host-alone', alone, policy));
  cluster.api.create(told('on-host-alone', 8081));
  await whenAnswered(all, ['on-8081', 'on-8082', 'on-8083']);

  await cluster.kubectl('exec', 'on-8082', '--', 'touch', '/www/away');
  await whenAnswered(all, ['on-8081', 'on-8083']);
  await cluster.kubectl('exec', 'on-8082', '--', 'rm', '/www/away');
  await whenAnswered(all, ['on-8081', 'on-8082', 'on-8083']);

  await cluster.kubectl('exec', 'on-8083', '--', 'kill', '1');
  await cluster.whenPod('on-8083', (status) => status.phase === 'Succeeded');
  await whenAnswered(all, ['on-8081', 'on-8082']);

  assert.match(await host.get(`http://${host.nodeIp}:${healthPort + 1}/`), /"localEndpoints": 1/);
  await host.writeFile(tardy, '');
  await cluster.kubectl('delete', 'pod', 'on-8081', '--wait=false');
  await cluster.whenPodGone('on-8081');
  await host.exec('rm', [tardy]);
  const report = (await host.exec('cat', ['/etc/keelson/report/on-8081'])).trim().split('\n');
  const failing = 'wget: server returned error: HTTP/1.1 503 Service Unavailable';
  assert.deepEqual(report, [...Array(20).fill('on-8082'), failing]);
  await whenAnswered(all, ['on-8082']);
});

test('a kernel that takes no rules holds up no deletion, which is said once', async () => {
  const address = '10.96.8.14';
  const ips = await startPods({ a: reporter('true'), b: reporter('true'), c: reporter('true') });
  cluster.api.create(service('abc', address));
  cluster.api.create(slice('abc', Object.values(ips)));
  await whenAnswered(address, ['a', 'b', 'c']);
  const from = keelson.lines.length;
  await cluster.host.writeFile(broken, '');
  for (const name of ['a', 'b']) {
    await cluster.kubectl('delete', 'pod', name, '--wait=false');
    await cluster.whenPodGone(name);
  }
  await cluster.host.exec('rm', [broken]);
  await keelson.waitForLog(/Services are programmed again/, { from, timeoutMs: 60_000 });
  const said = (message: RegExp) => keelson.lines.slice(from).filter((line) => message.test(line)).length;
  assert.equal(said(/a pod ends before the rules lead elsewhere/), 1);
  await whenAnswered(address, ['c']);
});

test('standalone: a pod whose manifest is taken away leaves before its container is told to end', async () => {
  await using host = await TestHost.boot('leave-alone', { images: [httpdImage()] });
  const manifests = '/etc/kubernetes/manifests';
  await host.writeFile(
    '/etc/keelson/config.yaml',
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: ${manifests}
podCIDR: ${host.podCidr}
cgroupRoot: /
`,
  );
  const labels = { app: 'web' };
  const pod = (name: string) =>
    JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels }, spec: reporter(ask(vip)) });
  const web = service('web', vip, { selector: labels });
  await host.writeFile(`${manifests}/web.json`, JSON.stringify(web));
  for (const name of ['one', 'two']) await host.writeFile(`${manifests}/${name}.json`, pod(name));
  const daemon = await startWithNft(host, ['--config=/etc/keelson/config.yaml', '--hostname-override=alone', '--v=4']);
  await host.get(`http://${vip}/`, 60_000);
  await whenAnswered(vip, ['one-alone', 'two-alone'], host);

  await host.writeFile(tardy, '');
  await host.exec('rm', [`${manifests}/one.json`]);
  await daemon.waitForLog(/pod purged/, { timeoutMs: 60_000 });
  const report = (await host.exec('cat', ['/etc/keelson/report/one-alone'])).trim().split('\n');
  assert.deepEqual(report, Array(20).fill('two-alone'));
});
