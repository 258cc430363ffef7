import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sampleOf } from '../src/testing/sample-of.ts';
import { Cluster, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE, HTTPD_IMAGE } from './images/images.ts';

/** What people who watch over a node read: through the API server, and at the ports of the proxy. */

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('metrics');
});
after(() => cluster[Symbol.asyncDispose]());

const scrape = (path = 'metrics') => cluster.kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy/${path}`);

/** Asks until the answer is as it should be, some hundred times at most. */
async function answer(ask: () => Promise<string>, holds: (text: string) => boolean): Promise<string> {
  let text = await ask();
  for (let i = 0; i < 300 && !holds(text); i++) text = await ask();
  return text;
}

/** Name, type and help come once, before the samples, and no sample comes twice. */
function assertWellFormed(text: string): void {
  const families = [...text.matchAll(/^# HELP (\S+) .*\n# TYPE (\S+) (counter|gauge|histogram)$/gm)];
  assert.ok(families.every(([, help, type]) => help === type));
  assert.equal(new Set(families.map(([, name]) => name)).size, families.length);
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  for (const line of samples)
    assert.match(line, /^[a-z_][a-z0-9_]*(\{([a-z_]+="([^"\\\n]|\\.)*",?)+\})? ([-+0-9.e]+|\+Inf|NaN)$/);
  assert.equal(new Set(samples.map((line) => line.slice(0, line.lastIndexOf(' ')))).size, samples.length);
}

test('numbers move when a pod starts, is probed and ends', async () => {
  const before = await scrape();
  const probe = { httpGet: { port: 8080, path: '/' }, periodSeconds: 1 };
  cluster.createPod('web', {
    initContainers: [{ name: 'first', image: BUSYBOX_IMAGE, command: ['sh', '-c', 'exit 0'] }],
    containers: [
      {
        name: 'web',
        image: HTTPD_IMAGE,
        ports: [{ containerPort: 8080 }],
        readinessProbe: probe,
        volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
      },
    ],
    volumes: [{ name: 'scratch', emptyDir: {} }],
  });
  const pod = await cluster.whenPodReady('web');
  const text = await scrape();
  assertWellFormed(text);
  const grew = (series: string) => (sampleOf(text, series) ?? 0) - (sampleOf(before, series) ?? 0);
  assert.equal(grew('kubelet_started_pods_total'), 1);
  assert.equal(grew('kubelet_started_containers_total{container_type="container"}'), 1);
  assert.equal(grew('kubelet_started_containers_total{container_type="init_container"}'), 1);
  const ended = 'kubelet_terminated_containers_total{container_type="init_container",exit_code="0",reason="Completed"}';
  assert.equal(grew(ended), 1);
  assert.equal(grew('kubelet_runtime_operations_total{operation_type="create_container"}'), 2);
  assert.equal(grew('kubelet_runtime_operations_total{operation_type="run_podsandbox"}'), 1);
  assert.equal(grew('kubelet_run_podsandbox_duration_seconds_count{runtime_handler=""}'), 1);
  for (const name of ['duration', 'sli_duration', 'total_duration'])
    assert.equal(grew(`kubelet_pod_start_${name}_seconds_count`), 1, name);
  assert.equal(grew('kubelet_pod_worker_duration_seconds_count{operation_type="create"}'), 1);
  assert.equal(grew('kubelet_pod_worker_start_duration_seconds_count'), 1);
  assert.ok(grew('kubelet_cgroup_manager_duration_seconds_count{operation_type="update"}') >= 1);
  assert.ok(grew('kubelet_pod_status_sync_duration_seconds_count') >= 1);
  assert.equal(sampleOf(text, 'kubelet_running_pods'), 1);
  assert.equal(sampleOf(text, 'kubelet_running_containers{container_state="running"}'), 1);
  assert.equal(sampleOf(text, 'kubelet_desired_pods{static=""}'), 1);
  assert.equal(sampleOf(text, 'kubelet_working_pods{lifecycle="sync",config="desired",static=""}'), 1);
  const volume = '{plugin_name="kubernetes.io/empty-dir",state="actual_state_of_world"}';
  assert.equal(sampleOf(text, `volume_manager_total_volumes${volume}`), 1);
  const host = '127.0.0.1:6443';
  assert.ok(grew(`rest_client_requests_total{code="200",method="PATCH",host="${host}"}`) >= 1);
  assert.ok((sampleOf(text, 'kubelet_pleg_last_seen_seconds') ?? 0) > Date.now() / 1000 - 60);
  assert.ok((sampleOf(text, 'kubelet_certificate_manager_client_ttl_seconds') ?? 0) > 0);
  const requests =
    'kubelet_http_requests_total{method="GET",path="metrics",server_type="readwrite",long_running="false"}';
  assert.equal(grew(requests), 1);

  const probes = await scrape('metrics/probes');
  assertWellFormed(probes);
  const { uid } = pod.metadata;
  const of = `container="web",pod="web",namespace="default"`;
  const answers = `prober_probe_total{probe_type="Readiness",result="successful",${of},pod_uid="${uid}"}`;
  assert.ok((sampleOf(probes, answers) ?? 0) >= 1);
  assert.ok((sampleOf(probes, `prober_probe_duration_seconds_count{probe_type="Readiness",${of}}`) ?? 0) >= 1);

  await cluster.kubectl('delete', 'pod', 'web', '--wait=false');
  await cluster.whenPodGone('web');
  assert.doesNotMatch(await scrape('metrics/probes'), /prober_/);
  const later = await scrape();
  assert.equal(sampleOf(later, 'kubelet_desired_pods{static=""}'), 0);
  const unmounted = 'volume_plugin="kubernetes.io/empty-dir",operation_name="volume_unmount",status="success"';
  assert.equal(sampleOf(later, `storage_operation_duration_seconds_count{${unmounted},migrated="false"}`), 1);
});

test('what cannot be done is counted as an error', async () => {
  const image = 'registry.invalid/none:1';
  cluster.createPod('broken', { containers: [{ name: 'c', image, imagePullPolicy: 'Never' }] });
  await cluster.whenPod('broken', (s) => s.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull');
  const text = await scrape();
  const failed = 'kubelet_started_containers_errors_total{container_type="container",code="ErrImageNeverPull"}';
  assert.ok((sampleOf(text, failed) ?? 0) >= 1);
  const asked = '{pull_policy="never",present_locally="false",pull_required="false"}';
  assert.ok((sampleOf(text, `kubelet_image_manager_ensure_image_requests_total${asked}`) ?? 0) >= 1);
});

test('health as a service level indicator', async () => {
  const text = await scrape('metrics/slis');
  assertWellFormed(text);
  assert.equal(sampleOf(text, 'kubernetes_healthcheck{name="syncloop",type="healthz"}'), 1);
  const total = 'kubernetes_healthchecks_total{name="syncloop",type="healthz",status="success"}';
  const again = await scrape('metrics/slis');
  assert.ok((sampleOf(again, total) ?? 0) > (sampleOf(text, total) ?? 0));
});

test("the proxy's metrics, mode and configuration", async () => {
  const get = (path: string) => cluster.host.get(`http://127.0.0.1:10249${path}`);
  cluster.api.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'counted', namespace: 'default' },
    spec: { clusterIP: '10.96.9.9', clusterIPs: ['10.96.9.9'], ports: [{ port: 80, protocol: 'TCP' }] },
  } as never);
  const changes = 'kubeproxy_sync_proxy_rules_service_changes_total';
  const text = await answer(
    () => get('/metrics'),
    (metrics) => (sampleOf(metrics, changes) ?? 0) > 0,
  );
  assertWellFormed(text);
  assert.ok((sampleOf(text, 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}') ?? 0) >= 1);
  assert.ok((sampleOf(text, 'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"}') ?? 0) >= 1);
  const last = sampleOf(text, 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}') ?? 0;
  assert.ok(Math.abs(last - Date.now() / 1000) < 300);
  const watches = 'rest_client_requests_total{code="200",method="GET",host="127.0.0.1:6443"}';
  assert.ok((sampleOf(text, watches) ?? 0) >= 2);
  assert.equal(await get('/proxyMode'), 'nftables');
  assert.equal(await get('/healthz'), 'ok');
  const config = JSON.parse(await get('/configz'));
  assert.equal(config['kubeproxy.config.k8s.io'].metricsBindAddress, '127.0.0.1:10249');
  assert.match(await get('/metrics/slis'), /^kubernetes_healthcheck\{name="ping",type="healthz"\} 1$/m);
});

test("the proxy's health says that the node takes connections, until it is to be removed", async () => {
  const ask = (path: string, ...args: readonly string[]) =>
    cluster.host.exec('curl', ['-s', '-w', ' %{http_code}', ...args, `http://127.0.0.1:10256${path}`]);
  const [healthz, livez] = [await ask('/healthz'), await ask('/livez')];
  assert.match(
    healthz,
    /^\{"lastUpdated": "[-\d]+ [\d:.]+ \+0000 UTC","currentTime": "[^"]+", "nodeEligible": true\} 200$/,
  );
  assert.match(livez, /^\{"lastUpdated": "[^"]+","currentTime": "[^"]+"\} 200$/);
  const taints = [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule', value: '1' }];
  await cluster.kubectl('patch', 'node', NODE, '--type=merge', '-p', JSON.stringify({ spec: { taints } }));
  const leaving = await answer(
    () => ask('/healthz'),
    (said) => said.endsWith(' 503'),
  );
  assert.match(leaving, /"nodeEligible": false\} 503$/);
  assert.match(await ask('/livez'), / 200$/);
  assert.match(await ask('/metrics'), / 404$/);
  assert.match(await ask('/healthz', '-X', 'POST'), / 405$/);
});
