import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AdminServiceDiff, AdminServiceTrace } from '../src/admin/admin-api.ts';
import { Cluster, NODE } from './host/cluster.ts';
import { HTTPD_IMAGE, httpdImage } from './images/images.ts';

/** `keelson svc` against the daemon and the real kernel: plan, diff, and the ways of packets. */

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const vip = '10.96.9.9';
const silent = '10.96.9.10';
const nodePort = 30_909;

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('svc', { images: [httpdImage()] });
});
after(() => cluster[Symbol.asyncDispose]());

const svc = (...args: readonly string[]) => cluster.host.exec(process.execPath, [main, 'svc', ...args]);
const nft = (...args: readonly string[]) => cluster.host.exec('nft', args);
/** With the counters and handles of the moment left out, as an operator compares. */
const ruleset = () => nft('-s', 'list', 'ruleset');

const service = (name: string, clusterIP: string, spec: object) => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' } },
  spec: {
    ...{ clusterIP, clusterIPs: [clusterIP], selector: { app: name } },
    ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }],
    ...spec,
  },
});

async function trace(client: string, target: string): Promise<AdminServiceTrace['items'][number]> {
  const { items }: AdminServiceTrace = JSON.parse(await svc('trace', client, target, '-o', 'json'));
  const [first, ...others] = items;
  assert.ok(first && others.length === 0, `one trace of ${target}`);
  return first;
}

test('a pod, a Service without endpoints and a node port, each with what decides', async () => {
  const ports = [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP', nodePort }];
  cluster.api.create(service('web', vip, { type: 'NodePort', ports }));
  cluster.api.create(service('silent', silent, {}));
  const container = { name: 'web', image: HTTPD_IMAGE, ports: [{ containerPort: 8080, name: 'http' }] };
  for (const name of ['web-1', 'web-2'])
    cluster.createPod(name, { containers: [container] }, { labels: { app: 'web' } });
  cluster.createPod('client', { containers: [container] });
  const ips = [];
  for (const name of ['web-1', 'web-2']) ips.push((await cluster.whenPodReady(name)).status?.podIP ?? '');
  const client = (await cluster.whenPodReady('client')).status?.podIP ?? '';
  const answered = new Set<string>();
  for (let i = 0; i < 100 && answered.size < 2; i++) answered.add(await cluster.host.get(`http://${vip}/`));
  assert.equal(answered.size, 2, 'both pods are in the rules');

  const fromPod = await trace('default/client', 'web:80');
  const endpoints = ips.map((ip, i) => ({
    ...{ ip, port: 8080, target: `Pod default/web-${i + 1}`, node: NODE, isLocal: true, masqueraded: false },
  }));
  const byIp = (a: { ip: string }, b: { ip: string }) => a.ip.localeCompare(b.ip);
  assert.deepEqual([fromPod.verdict, fromPod.client], ['forward', `pod default/client (${client})`]);
  assert.deepEqual([...fromPod.endpoints].sort(byIp), endpoints.sort(byIp));
  assert.ok(fromPod.rules.some((rule) => rule.includes(`${vip} . tcp . 80`)));
  assert.deepEqual(fromPod.alsoAt, [`every address of the node, port ${nodePort}/TCP`]);
  for (const rule of fromPod.rules.filter((one) => !one.startsWith('chain '))) {
    const element = /^(\S+) \{ (.*?)(?: : .*)? \}$/.exec(rule);
    assert.ok(element, rule);
    await nft('get', 'element', 'ip', 'keelson', element[1] ?? '', `{ ${element[2]} }`);
  }

  const unserved = await trace('host', `${silent}:80`);
  assert.equal(unserved.verdict, 'reject');
  assert.match(
    unserved.steps.map((step) => step.sentence).join('\n'),
    /its EndpointSlices are empty: no pod matches its selector/,
  );
  await assert.rejects(cluster.host.exec('curl', ['-sS', '--max-time', '20', `http://${silent}/`]), /curl: \(7\)/);

  const outside = await trace('outside', `${cluster.host.nodeIp}:${nodePort}`);
  assert.deepEqual([outside.verdict, outside.service?.kind], ['forward', 'nodePort']);
  assert.ok(outside.endpoints.every((endpoint) => endpoint.masqueraded));

  const text = await svc('trace', 'client', 'web:http');
  assert.match(text, new RegExp(`^pod default/client \\(${client}\\) → ${vip}:80/TCP: forwarded to one of 2\n`));
  assert.match(text, /\n {2}frontend +.* is its cluster IP, port "http" \(Service default\/web, spec.clusterIPs\)\n/);
});

test('what cannot be traced is said in one sentence, with what to write instead', async () => {
  await assert.rejects(svc('trace', 'nobody', 'web:80'), /there is no pod default\/nobody on this node\n.*a client is/);
  await assert.rejects(svc('trace', 'host', vip), /is an address without a port\n.*a target is/);
  const { verdict, steps } = await trace('host', 'web:81');
  assert.equal(verdict, 'untouched');
  assert.equal(steps.at(-1)?.sentence, 'it has no port 81/TCP, but 80/TCP "http"');
});

test('the plan is a ruleset that nft takes, and making it touches nothing', async () => {
  const before = await ruleset();
  const plan = await svc('plan');
  assert.match(plan, new RegExp(`^# nftables, IPv4\n(.*\n)*.*${vip} \\. tcp \\. 80`));
  assert.equal(await ruleset(), before);
  assert.doesNotMatch(await svc('plan', '--family=ipv6'), /IPv4/);

  // Loaded into an empty kernel it is what the daemon has programmed.
  const load = 'nft -f - && nft -s list table ip keelson';
  const listed = await cluster.host.exec('unshare', ['-n', 'sh', '-c', load], { input: plan });
  const own = await nft('-s', 'list', 'table', 'ip', 'keelson');
  assert.deepEqual(rulesOf(listed), rulesOf(own));
  assert.ok(rulesOf(own).some((line) => line.includes(`${vip} . tcp . 80 : goto`)));
});

/** Which slot holds which endpoint is nobody's business, nor in which order chains were made. */
const rulesOf = (listing: string): readonly string[] =>
  listing
    .split('\n')
    .flatMap((line) => line.replace(/^\s*elements = \{/, '').split(', '))
    .map((line) => line.replace(/[},]+\s*$/, '').trim())
    .filter((line) => line !== '' && !/ \. \d+ \. \d+ : |^\d+ \. \d+ : /.test(line))
    .sort();

test('the kernel is in step, and then exactly what somebody took away is missing', async () => {
  assert.match(await svc('diff'), /^nftables, IPv4: in step$/m);
  // A daemon that does not put it back before we look.
  await cluster.keelson.kill('SIGTERM');
  const file = '/etc/keelson/patient.yaml';
  const config = await cluster.host.exec('cat', ['/etc/keelson/config.yaml']);
  await cluster.host.writeFile(file, `${config}\nnftables: {minSyncPeriod: 10m, syncPeriod: 1h}\n`);
  const patient = cluster.host.startKeelson([
    ...[`--config=${file}`, '--kubeconfig=/etc/kubernetes/kubelet.conf', `--hostname-override=${NODE}`, '--v=4'],
  ]);
  await patient.waitForLog(/Services are in step/);
  await cluster.host.get('http://127.0.0.1:10256/healthz');
  assert.match(await svc('diff'), /^nftables, IPv4: in step$/m);

  await nft('delete', 'element', 'ip', 'keelson', 'frontends', `{ ${vip} . tcp . 80 }`);
  const asked = ['-sS', '--unix-socket', '/run/keelson/admin.sock', 'http://localhost/v1/services/diff'];
  const { items }: AdminServiceDiff = JSON.parse(await cluster.host.exec('curl', asked));
  const lines = items.flatMap((item) => item.lines);
  assert.equal(lines.length, 1, lines.join('\n'));
  assert.match(lines[0] ?? '', new RegExp(`^\\+ element ip keelson frontends .*${vip} \\. tcp \\. 80 : goto `));
  await assert.rejects(svc('diff'), /nftables, IPv4: 1 line\n/, 'a difference is an exit status of 1');
  await patient.kill('SIGTERM');
});

test('without a daemon it is said that there is none', async () => {
  await assert.rejects(svc('plan'), /keelson is not running here: no answer at \/run\/keelson\/admin.sock/);
});
