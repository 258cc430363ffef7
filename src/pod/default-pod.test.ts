import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Container, Pod, PodSpec } from '../api/core-v1.ts';
import { defaultPod } from './default-pod.ts';

const golden = new URL('../../test/golden/pods/', import.meta.url);
const recordings = readdirSync(golden).map((name) => ({
  name,
  ...JSON.parse(readFileSync(new URL(name, golden), 'utf8')),
}));

/** What admission and the scheduler added to the recorded pods, and defaulting does not. */
const added = ['nodeName', 'preemptionPolicy', 'priority', 'serviceAccount', 'serviceAccountName'];

function withoutAdded(spec: PodSpec): object {
  const isToken = (v: { name: string }) => v.name.startsWith('kube-api-access-');
  const container = (c: Container) => {
    const mounts = (c.volumeMounts ?? []).filter((mount) => !isToken(mount));
    const { volumeMounts: _all, ...rest } = c;
    return mounts.length > 0 ? { ...rest, volumeMounts: mounts } : rest;
  };
  const volumes = (spec.volumes ?? []).filter((volume) => !isToken(volume));
  const { volumes: _all, ...rest } = spec;
  const kept = Object.fromEntries(Object.entries(rest).filter(([key]) => !added.includes(key)));
  return { ...kept, containers: spec.containers.map(container), ...(volumes.length > 0 ? { volumes } : {}) };
}

test('recorded manifests come out as the API server stored them', () => {
  assert.equal(recordings.length, 15);
  for (const { name, manifest, pod } of recordings) {
    assert.deepEqual(withoutAdded(defaultPod(manifest).spec), withoutAdded(pod.spec), name);
  }
});

test('defaults that the recordings do not show', () => {
  const pod = (spec: object): Pod => ({ metadata: { name: 'p' }, spec: { containers: [], ...spec } });
  const first = (spec: object) => defaultPod(pod(spec)).spec;
  const images: Record<string, string> = {
    busybox: 'Always',
    'busybox:latest': 'Always',
    'busybox:1.35': 'IfNotPresent',
    'registry:5000/busybox': 'Always',
    'registry:5000/busybox:1': 'IfNotPresent',
    'busybox@sha256:abc': 'IfNotPresent',
  };
  for (const [image, policy] of Object.entries(images)) {
    assert.equal(first({ containers: [{ name: 'a', image }] }).containers[0]?.imagePullPolicy, policy, image);
  }
  assert.deepEqual(first({ volumes: [{ name: 'v' }, { name: 'h', hostPath: { path: '/x' } }] }).volumes, [
    { name: 'v', emptyDir: {} },
    { name: 'h', hostPath: { path: '/x', type: '' } },
  ]);
  const probe = first({ containers: [{ name: 'a', livenessProbe: { httpGet: { port: 80 } } }] }).containers[0];
  assert.deepEqual(probe?.livenessProbe, {
    httpGet: { path: '/', scheme: 'HTTP', port: 80 },
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
  });
  assert.deepEqual(
    first({
      containers: [{ name: 'a', resources: { requests: { cpu: '1' } } }],
      resources: { limits: { cpu: '4', memory: '1Gi' } },
    }).resources,
    { limits: { cpu: '4', memory: '1Gi' }, requests: { cpu: '1', memory: '1Gi' } },
  );
  assert.equal(first({ serviceAccountName: 'x' }).serviceAccount, 'x');
});
