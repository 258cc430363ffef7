import assert from 'node:assert/strict';
import { createServer as createWebServer, type ServerResponse } from 'node:http';
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Container, Pod, Probe } from '../src/api/core-v1.ts';
import { PODS } from './apiserver/kinds.ts';
import { Cluster, containerOf, isReady } from './host/cluster.ts';
import { BUSYBOX_IMAGE, HTTPD_IMAGE } from './images/images.ts';

/** Probes of real containers, from the pod's words to what the API server shows. */

const sleeper: Container = {
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 1; done'],
};
const httpd: Container = { name: 'c', image: HTTPD_IMAGE, ports: [{ name: 'web', containerPort: 8080 }] };
const often: Probe = { periodSeconds: 1, failureThreshold: 1 };
const exec = (script: string): Probe => ({ ...often, exec: { command: ['sh', '-c', script] }, timeoutSeconds: 5 });
const signal = AbortSignal.timeout(600_000);

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('probes');
});
after(() => cluster[Symbol.asyncDispose]());

/** Runs a script in the pod's container c as it is now. */
async function inside(pod: string, script: string): Promise<string> {
  const id = containerOf(cluster.pod(pod) as Pod, 'c')?.containerID?.split('//')[1] ?? '';
  const { stdout, exitCode } = await cluster.host.cri().runtime.execSync(id, ['sh', '-c', script], 20, signal);
  assert.ok(!exitCode, `${script} ended with ${exitCode}`);
  return Buffer.from(stdout ?? new Uint8Array())
    .toString()
    .trim();
}

const runs = (name: string) => cluster.whenPod(name, (_, pod) => containerOf(pod, 'c')?.state?.running !== undefined);

test('a pod is Ready while its readiness probe says so', async () => {
  cluster.createPod('ready', { containers: [{ ...sleeper, readinessProbe: exec('cat /tmp/ready') }] });
  const before = await runs('ready');
  assert.equal(isReady(before.status ?? {}), false);
  const failed = await cluster.whenEvent('ready', /^Unhealthy: Readiness probe failed: cat: can't open '\/tmp\/ready'/);
  assert.equal(failed.type, 'Warning');
  assert.equal(failed.involvedObject.fieldPath, 'spec.containers{c}');
  await inside('ready', 'touch /tmp/ready');
  const ready = await cluster.whenPodReady('ready');
  assert.equal(containerOf(ready, 'c')?.started, true);
  await inside('ready', 'rm /tmp/ready');
  const unready = await cluster.whenPod('ready', (status) => !isReady(status));
  assert.equal(containerOf(unready, 'c')?.ready, false);
  assert.equal(containerOf(unready, 'c')?.restartCount, 0);
});

test('a container that fails its liveness probe is restarted', async () => {
  const livenessProbe = { ...often, httpGet: { path: '/alive', port: 'web' } };
  const command = ['sh', '-c', 'touch /www/alive; httpd -f -p 8080 -h /www & trap "exit 0" TERM; wait $!'];
  cluster.createPod('live', { containers: [{ ...httpd, command, livenessProbe, readinessProbe: livenessProbe }] });
  const first = await cluster.whenPodReady('live');
  await inside('live', 'rm /www/alive');
  const again = await cluster.whenPod('live', (s, pod) => containerOf(pod, 'c')?.restartCount === 1 && isReady(s));
  assert.notEqual(containerOf(again, 'c')?.containerID, containerOf(first, 'c')?.containerID);
  await cluster.whenEvent('live', /^Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 404$/);
  await cluster.whenEvent('live', /^Killing: Container c failed liveness probe, will be restarted$/);
});

test('liveness and readiness wait for startup', async () => {
  const asked = (name: string) => exec(`test -f /tmp/up && echo ${name} >> /tmp/asked || echo early >> /tmp/asked`);
  const startupProbe = { ...exec('test -f /tmp/up'), failureThreshold: 1000 };
  const probes = { startupProbe, livenessProbe: asked('liveness'), readinessProbe: asked('readiness') };
  cluster.createPod('slow', { containers: [{ ...sleeper, ...probes }] });
  await runs('slow');
  await cluster.whenEvent('slow', /^Unhealthy: Startup probe failed: $/);
  assert.equal(containerOf(cluster.pod('slow') as Pod, 'c')?.started, false);
  await inside('slow', 'touch /tmp/up');
  const ready = await cluster.whenPodReady('slow');
  assert.equal(containerOf(ready, 'c')?.started, true);
  await inside('slow', 'until grep -q liveness /tmp/asked; do sleep 0.1; done');
  assert.equal(await inside('slow', 'grep -c early /tmp/asked || true'), '0');
  assert.equal(containerOf(cluster.pod('slow') as Pod, 'c')?.restartCount, 0);
});

test('a container that never starts up is restarted', async () => {
  cluster.createPod('stuck', { containers: [{ ...sleeper, startupProbe: exec('exit 3') }] });
  await cluster.whenPod('stuck', (_, pod) => (containerOf(pod, 'c')?.restartCount ?? 0) > 0);
  await cluster.whenEvent('stuck', /^Killing: Container c failed startup probe, will be restarted$/);
});

test('a TCP port that opens makes a pod Ready', async () => {
  const command = ['sh', '-c', 'until [ -f /tmp/open ]; do sleep 0.1; done; exec httpd -f -p 9000'];
  cluster.createPod('tcp', {
    containers: [{ ...sleeper, command, readinessProbe: { ...often, tcpSocket: { port: 9000 } } }],
  });
  await runs('tcp');
  await cluster.whenEvent('tcp', /^Unhealthy: Readiness probe failed: dial tcp \S+:9000: connect: connection refused$/);
  await inside('tcp', 'touch /tmp/open');
  await cluster.whenPodReady('tcp');
});

test('a gRPC server that serves makes a pod Ready', async () => {
  let status = 2;
  const grpc: Http2Server = createServer();
  grpc.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': 0 }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, status]));
  });
  const listener = await cluster.host.listen(9100, cluster.host.nodeIp);
  listener.on('connection', (socket) => grpc.emit('connection', socket));
  const readinessProbe = { ...often, grpc: { port: 9100, service: 'db' } };
  cluster.createPod('grpc', { hostNetwork: true, containers: [{ ...sleeper, readinessProbe }] });
  await cluster.whenEvent(
    'grpc',
    /^Unhealthy: Readiness probe failed: service unhealthy \(responded with "NOT_SERVING"\)$/,
  );
  assert.equal(isReady(cluster.pod('grpc')?.status ?? {}), false);
  status = 1;
  await cluster.whenPodReady('grpc');
});

test('a command that takes too long has failed', async () => {
  const readinessProbe = { ...exec('sleep 60'), timeoutSeconds: 1 };
  cluster.createPod('hangs', { containers: [{ ...sleeper, readinessProbe }] });
  await cluster.whenEvent(
    'hangs',
    /^Unhealthy: Readiness probe failed: command timed out: "sh -c sleep 60" timed out after 1s$/,
  );
});

test('a probe that keelson slept through does not cost a container its life', async () => {
  const requests: ServerResponse[] = [];
  const server = createWebServer((_, response) => {
    requests.push(response);
    if (requests.length === 1) cluster.keelson.pause();
    else response.end('alive');
    arrived();
  });
  let arrived = () => {};
  const requested = (count: number) =>
    new Promise<void>((resolve) => {
      arrived = () => requests.length >= count && resolve();
      arrived();
    });
  const listener = await cluster.host.listen(9200, cluster.host.nodeIp);
  listener.on('connection', (socket) => server.emit('connection', socket));
  const livenessProbe = { ...often, httpGet: { port: 9200 }, timeoutSeconds: 2 };
  cluster.createPod('slept', { hostNetwork: true, containers: [{ ...sleeper, livenessProbe }] });
  await requested(1);
  await delay(2500); // Longer than the probe's timeout: nobody is there to see it pass.
  cluster.keelson.resume();
  const told = await cluster.whenEvent('slept', /^ProbeWarning: Liveness probe warning: not counted as failed/);
  assert.match(
    told.message ?? '',
    /because keelson could not run for 2\.\d+s of 2s: Get "http:\/\/\S+:9200\/": context deadline/,
  );
  await requested(3);
  assert.equal(containerOf(cluster.pod('slept') as Pod, 'c')?.restartCount, 0);
});

for (const how of ['SIGTERM', 'SIGKILL'] as const) {
  test(`keelson restarted by ${how}: the pod stays Ready, and is asked again`, async () => {
    const name = `stays-${how.toLowerCase()}`;
    const probes = {
      startupProbe: exec('echo startup >> /tmp/asked'),
      readinessProbe: exec('echo readiness >> /tmp/asked'),
    };
    cluster.createPod(name, { containers: [{ ...sleeper, ...probes }] });
    await cluster.whenPodReady(name);
    const readiness: boolean[] = [];
    using _ = cluster.api.store.subscribe(() => readiness.push(isReady(cluster.pod(name)?.status ?? {})));
    await cluster.keelson.kill(how);
    const begun = Number(await inside(name, 'grep -c readiness /tmp/asked'));
    await cluster.startKeelson();
    await inside(name, `until [ $(grep -c readiness /tmp/asked) -gt ${begun + 2} ]; do sleep 0.1; done`);
    assert.equal(await inside(name, 'grep -c startup /tmp/asked'), '1');
    assert.ok(readiness.length > 0);
    assert.deepEqual(
      readiness.filter((ready) => !ready),
      [],
    );
    assert.equal(cluster.api.store.get(PODS, 'default', name)?.metadata.deletionTimestamp, undefined);
  });
}
