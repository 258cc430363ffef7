import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster, NODE } from './host/cluster.ts';
import { HTTPD_IMAGE, httpdImage } from './images/images.ts';

/** A local pod that serves nobody any more leaves the rules of its node, whatever the EndpointSlices still say. */

const vip = '10.96.8.8';
let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('withdraw', { images: [httpdImage()] });
});
after(() => cluster[Symbol.asyncDispose]());

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
async function whenAnswered(...names: readonly string[]): Promise<void> {
  const wanted = [...names].sort();
  let seen: string[] = [];
  for (let round = 0; round < 60; round++) {
    const answers = await cluster.host.exec('sh', [
      '-c',
      `for i in $(seq 25); do curl -sS --max-time 5 http://${vip}/; done`,
    ]);
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
  await whenAnswered('one', 'two');

  await cluster.kubectl('exec', 'one', '--', 'rm', '/www/ready');
  await whenAnswered('two');
  await cluster.kubectl('exec', 'one', '--', 'touch', '/www/ready');
  await whenAnswered('one', 'two');

  await cluster.kubectl('delete', 'pod', 'one', '--wait=false');
  await whenAnswered('two');
  assert.ok(cluster.pod('one')?.status?.containerStatuses?.[0]?.state?.running, 'it still runs');
  await cluster.kubectl('delete', 'pod', 'one', '--grace-period=1', '--wait=false');
  await cluster.whenPodGone('one');
  await whenAnswered('two');
});
