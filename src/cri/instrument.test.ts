import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NamespaceMode } from '../api/cri.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { Registry } from '../lib/metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { FakeCri } from './fake-cri.ts';
import { instrumentCri, operationName, runtimeMetrics } from './instrument.ts';
import { CriError } from './services.ts';

const { signal } = new AbortController();

function setUp() {
  const registry = new Registry();
  const clock = new FakeClock();
  const cri = new FakeCri({ clock });
  const client = { runtime: cri.runtime, images: cri.images, close: () => {} };
  return { registry, cri, clock, ...instrumentCri(client, runtimeMetrics(registry), clock) };
}

const sandbox = { metadata: { name: 'web', namespace: 'default', uid: 'u', attempt: 0 } };

test('operations are called as upstream calls them', () => {
  const table: Record<string, string> = {
    runPodSandbox: 'run_podsandbox',
    podSandboxStatus: 'podsandbox_status',
    listPodSandbox: 'list_podsandbox',
    createContainer: 'create_container',
    updateContainerResources: 'update_container',
    reopenContainerLog: 'reopen_container_log',
    execSync: 'exec_sync',
    portForward: 'port_forward',
    imageFsInfo: 'image_fs_info',
    version: 'version',
  };
  for (const [method, operation] of Object.entries(table)) assert.equal(operationName(method), operation);
});

test('calls are counted and timed, failures too, and errors arrive as they were', async () => {
  const { registry, cri, clock, runtime, images } = setUp();
  await runtime.version(signal);
  await runtime.version(signal);
  const failure = new CriError('PullImage', 'UNKNOWN', 'no');
  cri.injectError('PullImage', failure);
  const block = cri.block('PullImage');
  const pulling = images.pullImage({ image: 'busybox' }, undefined, sandbox, signal);
  await clock.advance(2_000);
  block();
  await assert.rejects(pulling, failure);
  const text = await registry.text();
  assert.equal(sampleOf(text, 'kubelet_runtime_operations_total{operation_type="version"}'), 2);
  assert.equal(sampleOf(text, 'kubelet_runtime_operations_errors_total{operation_type="version"}'), undefined);
  assert.equal(sampleOf(text, 'kubelet_runtime_operations_total{operation_type="pull_image"}'), 1);
  assert.equal(sampleOf(text, 'kubelet_runtime_operations_errors_total{operation_type="pull_image"}'), 1);
  assert.equal(sampleOf(text, 'kubelet_runtime_operations_duration_seconds_sum{operation_type="pull_image"}'), 2);
});

test('sandboxes are pods that start', async () => {
  const { registry, cri, runtime } = setUp();
  await runtime.runPodSandbox(sandbox, '', signal);
  cri.injectError('RunPodSandbox', new CriError('RunPodSandbox', 'UNKNOWN', 'no network'));
  const ids = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
  const usernsOptions = { mode: NamespaceMode.POD, uids: ids, gids: ids };
  const linux = { securityContext: { namespaceOptions: { usernsOptions } } };
  await assert.rejects(runtime.runPodSandbox({ ...sandbox, linux }, 'kata', signal), /no network/);
  const text = await registry.text();
  assert.equal(sampleOf(text, 'kubelet_started_pods_total'), 2);
  assert.equal(sampleOf(text, 'kubelet_started_pods_errors_total'), 1);
  assert.equal(sampleOf(text, 'kubelet_started_user_namespaced_pods_total'), 1);
  assert.equal(sampleOf(text, 'kubelet_started_user_namespaced_pods_errors_total'), 1);
  assert.equal(sampleOf(text, 'kubelet_run_podsandbox_duration_seconds_count{runtime_handler=""}'), 1);
  assert.equal(sampleOf(text, 'kubelet_run_podsandbox_errors_total{runtime_handler="kata"}'), 1);
  assert.equal(sampleOf(text, 'kubelet_runtime_operations_total{operation_type="run_podsandbox"}'), 2);
});

test('streams pass through', async () => {
  const { registry, runtime } = setUp();
  await assert.rejects(runtime.getContainerEvents(AbortSignal.abort())[Symbol.asyncIterator]().next());
  assert.doesNotMatch(await registry.text(), /get_container_events/);
});
