import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from '../lib/metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { type CountedPods, podMetrics } from './pod-metrics.ts';

const desired = (uid: string, source: 'api' | 'file' = 'api', spec: object = {}) => ({ uid, source, pod: { spec } });

test('pods and containers are counted where they are known', async () => {
  const wanted = [
    desired('new'),
    desired('runs', 'api', { ephemeralContainers: [{ name: 'debug' }] }),
    desired('static', 'file'),
    desired('over'),
  ];
  const workers = new Map([
    ['runs', { state: { phase: 'syncing' }, desired: wanted[1] }],
    ['static', { state: { phase: 'terminating' }, desired: wanted[2] }],
    ['over', { state: { phase: 'finished' }, desired: wanted[3] }],
    ['gone', { state: { phase: 'terminating' }, desired: desired('gone') }],
    ['found', { state: { phase: 'terminating' }, desired: undefined }],
  ]);
  const observed = new Map([
    ['runs', { sandboxes: [{ state: 'ready' }], containers: [{ state: 'running' }, { state: 'exited' }] }],
    ['over', { sandboxes: [{ state: 'notready' }], containers: [{ state: 'exited' }] }],
  ]);
  const registry = new Registry();
  podMetrics(registry, {
    manager: { all: () => wanted, get: (uid: string) => wanted.find((w) => w.uid === uid) },
    cache: { uids: () => [...observed.keys()], get: (uid: string) => observed.get(uid) },
    workers: { uids: () => workers.keys(), view: (uid: string) => workers.get(uid) },
    notes: { get: (uid: string) => (uid === 'runs' ? { resizing: {} } : {}) },
  } as unknown as CountedPods);
  const text = await registry.text();
  const expected: Record<string, number | undefined> = {
    'desired_pods{static=""}': 3,
    'desired_pods{static="true"}': 1,
    'active_pods{static=""}': 1,
    'active_pods{static="true"}': 1,
    mirror_pods: 1,
    managed_ephemeral_containers: 1,
    pod_in_progress_resizes: 1,
    'working_pods{lifecycle="sync",config="desired",static=""}': 1,
    'working_pods{lifecycle="terminating",config="desired",static="true"}': 1,
    'working_pods{lifecycle="terminated",config="desired",static=""}': 1,
    'working_pods{lifecycle="terminating",config="orphan",static=""}': 1,
    'working_pods{lifecycle="terminating",config="runtime_only",static="unknown"}': 1,
    'working_pods{lifecycle="sync",config="orphan",static=""}': 0,
    running_pods: 1,
    'running_containers{container_state="running"}': 1,
    'running_containers{container_state="exited"}': 2,
    'running_containers{container_state="created"}': undefined,
  };
  for (const [series, value] of Object.entries(expected))
    assert.equal(sampleOf(text, `kubelet_${series}`), value, series);
});
