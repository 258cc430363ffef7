import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster, NODE } from './host/cluster.ts';
import { TestHost } from './host/test-host.ts';
import { HTTPD_IMAGE, httpdImage } from './images/images.ts';

/** Services reached with real packets: from the host, from a pod, with and without an API server. */

const web = (name: string) => ({ name, image: HTTPD_IMAGE, ports: [{ containerPort: 8080, name: 'http' }] });
const service = (name: string, clusterIP: string, selector = 'web') => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name, namespace: 'default' },
  spec: {
    clusterIP,
    clusterIPs: [clusterIP],
    selector: { app: selector },
    ports: [{ name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' }],
  },
});
const vip = '10.96.7.7';

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('services', { images: [httpdImage()] });
});
after(() => cluster[Symbol.asyncDispose]());

/** Asks until both names have answered; the body is the pod's host name. */
async function answers(host: TestHost, url: string, wanted: number): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let i = 0; i < 100 && seen.size < wanted; i++) seen.add((await host.get(url)).trim());
  return seen;
}

test('two pods and a Service: the VIP answers from both, for the host and for a pod', async () => {
  cluster.api.create(service('web', vip));
  for (const name of ['web-1', 'web-2'])
    cluster.createPod(name, { containers: [web('web')] }, { labels: { app: 'web' } });
  for (const name of ['web-1', 'web-2']) await cluster.whenPodReady(name);
  assert.deepEqual(await answers(cluster.host, `http://${vip}/`, 2), new Set(['web-1', 'web-2']));

  const script = `for i in $(seq 60); do wget -q -O - http://${vip}/; done | sort -u > /dev/termination-log`;
  cluster.createPod('client', {
    restartPolicy: 'Never',
    containers: [{ name: 'c', image: HTTPD_IMAGE, command: ['sh', '-c', script] }],
  });
  const client = await cluster.whenPod('client', (s) => s.phase === 'Succeeded' || s.phase === 'Failed');
  assert.equal(client.status?.containerStatuses?.[0]?.state?.terminated?.message, 'web-1\nweb-2\n');
});

test('a pod reaches itself through the VIP', async () => {
  const script = `trap "exit 0" TERM; hostname > /www/index.html; httpd -p 8080 -h /www; for i in $(seq 20); do wget -q -O - http://10.96.7.8/; done | sort -u > /dev/termination-log; sleep 1`;
  cluster.api.create(service('self', '10.96.7.8', 'self'));
  cluster.createPod(
    'self',
    {
      restartPolicy: 'Never',
      containers: [
        {
          ...web('c'),
          command: [
            'sh',
            '-c',
            `until wget -q -O /dev/null http://10.96.7.8/ 2>/dev/null; do sleep 0.2; done & ${script}`,
          ],
        },
      ],
    },
    { labels: { app: 'self' } },
  );
  const pod = await cluster.whenPod('self', (s) => s.phase === 'Succeeded' || s.phase === 'Failed');
  assert.match(pod.status?.containerStatuses?.[0]?.state?.terminated?.message ?? '', /self/);
});

test('a deleted pod gets no new connection, and no endpoint at all is refused at once', async () => {
  await cluster.kubectl('delete', 'pod', 'web-1', '--wait=false');
  await cluster.whenPodGone('web-1');
  for (let i = 0; i < 20; i++) assert.equal((await cluster.host.get(`http://${vip}/`)).trim(), 'web-2');
  await cluster.kubectl('delete', 'pod', 'web-2', '--wait=false');
  await cluster.whenPodGone('web-2');
  await assert.rejects(
    cluster.host.exec('curl', ['-sS', '--max-time', '20', `http://${vip}/`]),
    /curl: \(7\)/,
    'refused, not timed out',
  );
});

test('a restart of keelson loses no packet', async () => {
  cluster.createPod('web-3', { containers: [web('web')] }, { labels: { app: 'web' } });
  await cluster.whenPodReady('web-3');
  await cluster.host.get(`http://${vip}/`);
  const loop = cluster.host.spawn('load', [
    'sh',
    '-c',
    `i=0; while [ $i -lt 400 ]; do curl -sS --max-time 2 -o /dev/null http://${vip}/ || echo lost; i=$((i+1)); done; echo done`,
  ]);
  await cluster.keelson.kill('SIGTERM');
  await cluster.startKeelson();
  await cluster.keelson.kill('SIGKILL');
  await cluster.startKeelson();
  await loop.waitForLog(/^done$/, { timeoutMs: 120_000 });
  assert.deepEqual(
    loop.lines.filter((l) => l !== 'done'),
    [],
  );
});

test('without the right to read EndpointSlices the pods half goes on, and the remedy mends it', async () => {
  await cluster.keelson.kill('SIGTERM');
  const config = '/etc/keelson/no-proxy-identity.yaml';
  await cluster.host.writeFile(
    config,
    'apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupRoot: /\n',
  );
  const keelson = cluster.host.startKeelson([
    `--config=${config}`,
    '--kubeconfig=/etc/kubernetes/kubelet.conf',
    `--hostname-override=${NODE}`,
  ]);
  const line = await keelson.waitForLog(/create clusterrolebinding/);
  const remedy = /kubectl (create clusterrolebinding [^"]*)/.exec(line)?.[1] ?? '';
  cluster.createPod('meanwhile', { containers: [web('web')] });
  await cluster.whenPodReady('meanwhile');
  await cluster.kubectl(...remedy.split(' '));
  await keelson.waitForLog(/following the API server again/, { timeoutMs: 90_000 });
  await keelson.kill('SIGTERM');
});

test('standalone: pods, a Service, a ConfigMap and a Secret from the manifest directory alone', async () => {
  await using host = await TestHost.boot('alone', { images: [httpdImage()] });
  await host.writeFile(
    '/etc/keelson/config.yaml',
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: /etc/kubernetes/manifests
podCIDR: ${host.podCidr}
cgroupRoot: /
`,
  );
  const pod = (name: string) => `---
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: web}}
spec:
  containers:
  - name: web
    image: ${HTTPD_IMAGE}
    command: [sh, -c, 'cat /cm/greeting /sec/word > /www/extra; hostname > /www/index.html; trap "exit 0" TERM; httpd -f -p 8080 -h /www & wait $!']
    ports: [{name: http, containerPort: 8080}]
    volumeMounts: [{name: cm, mountPath: /cm}, {name: sec, mountPath: /sec}]
  volumes: [{name: cm, configMap: {name: cm}}, {name: sec, secret: {secretName: sec}}]
`;
  const objects = `apiVersion: v1
kind: ConfigMap
metadata: {name: cm}
data: {greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: sec}
stringData: {word: " there"}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: ${vip}, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
`;
  await host.writeFile('/etc/kubernetes/manifests/web.yaml', objects + pod('one') + pod('two'));
  const keelson = host.startKeelson(['--config=/etc/keelson/config.yaml', '--hostname-override=alone']);
  await keelson.waitForLog(/keelson runs/);
  // The first answers tell that one is up; both are there soon after.
  await host.get(`http://${vip}/`, 60_000);
  assert.deepEqual(await answers(host, `http://${vip}/`, 2), new Set(['one-alone', 'two-alone']));
  assert.equal((await host.get(`http://${vip}/extra`)).trim(), 'hello there');
});
