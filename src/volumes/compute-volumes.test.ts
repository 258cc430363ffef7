import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Pod, PodSpec, Volume } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { computeVolumes, referencedObjects, type WantedVolume } from './compute-volumes.ts';

const uid = podUid('u-1');
const roots = { pods: '/r/pods', memory: '/r/keelson/memory', allocatableMemory: undefined };
const podWith = (volume: Volume, spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { name: 'p', namespace: 'ns' },
  spec: { containers: [{ name: 'c' }], volumes: [volume], ...spec },
});
const limited = (memory: string) => ({ containers: [{ name: 'c', resources: { limits: { memory } } }] });

const cases: Record<
  string,
  { volume: Volume; spec?: Partial<PodSpec>; allocatable?: number; expected: Partial<WantedVolume> }
> = {
  'a volume without a source is an emptyDir': {
    volume: { name: 'v' },
    expected: { kind: 'emptyDir', medium: 'disk', path: '/r/pods/u-1/volumes/kubernetes.io~empty-dir/v' },
  },
  'an emptyDir in memory has its sizeLimit': {
    volume: { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
    expected: { kind: 'emptyDir', medium: 'memory', sizeBytes: 16 * 2 ** 20 },
  },
  "an emptyDir in memory is no larger than the pod's memory limit": {
    volume: { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
    spec: limited('8Mi'),
    expected: { sizeBytes: 8 * 2 ** 20 },
  },
  'an emptyDir in memory without any limit may fill what the node has for pods': {
    volume: { name: 'v', emptyDir: { medium: 'Memory' } },
    allocatable: 1000,
    expected: { sizeBytes: 1000 },
  },
  'an emptyDir of huge pages is refused by name': {
    volume: { name: 'v', emptyDir: { medium: 'HugePages-2Mi' } },
    expected: { kind: 'refused', message: 'emptyDir medium "HugePages-2Mi" is not supported by keelson' },
  },
  'a size limit that is no quantity is refused': {
    volume: { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: 'much' } },
    expected: { kind: 'refused', message: '"much" is not a quantity' },
  },
  'fsGroup is the group of an emptyDir': {
    volume: { name: 'v', emptyDir: {} },
    spec: { securityContext: { fsGroup: 2000 } },
    expected: { gid: 2000 },
  },
  'a hostPath is where it says': {
    volume: { name: 'v', hostPath: { path: '/data', type: 'Directory' } },
    expected: { kind: 'hostPath', path: '/data', type: 'Directory' },
  },
  'a hostPath with steps back is refused': {
    volume: { name: 'v', hostPath: { path: '/data/../etc' } },
    expected: { kind: 'refused', message: 'invalid HostPath "/data/../etc": must not contain \'..\'' },
  },
  'a relative hostPath is refused': {
    volume: { name: 'v', hostPath: { path: 'data' } },
    expected: { kind: 'refused', message: 'invalid HostPath "data": must be an absolute path' },
  },
  'a secret is kept in memory': {
    volume: { name: 'v', secret: { secretName: 's' } },
    expected: {
      kind: 'payload',
      path: '/r/pods/u-1/volumes/kubernetes.io~secret/v',
      memoryPath: '/r/keelson/memory/u-1/kubernetes.io~secret/v',
      defaultMode: 0o644,
    },
  },
  'a configMap is kept on disk': {
    volume: { name: 'v', configMap: { name: 'm', defaultMode: 0o600 } },
    expected: {
      kind: 'payload',
      path: '/r/pods/u-1/volumes/kubernetes.io~configmap/v',
      memoryPath: undefined,
      defaultMode: 0o600,
    },
  },
  'the user of token files is the one of all containers': {
    volume: { name: 'v', projected: { sources: [] } },
    spec: {
      securityContext: { runAsUser: 7 },
      initContainers: [{ name: 'i', securityContext: { runAsUser: 7 } }],
    },
    expected: { kind: 'payload', uid: 7 },
  },
  'containers of different users leave token files to root': {
    volume: { name: 'v', projected: { sources: [] } },
    spec: { securityContext: { runAsUser: 7 }, initContainers: [{ name: 'i', securityContext: { runAsUser: 8 } }] },
    expected: { kind: 'payload', uid: undefined },
  },
  'a source that we do not have is named': {
    volume: { name: 'v', persistentVolumeClaim: { claimName: 'x' } },
    expected: { kind: 'refused', message: 'volume source persistentVolumeClaim is not supported by keelson' },
  },
  'two sources are one too many': {
    volume: { name: 'v', emptyDir: {}, nfs: {} },
    expected: { kind: 'refused', message: 'a volume has one source, this one has emptyDir and nfs' },
  },
  'a projected source that we do not have is named': {
    volume: { name: 'v', projected: { sources: [{ clusterTrustBundle: { path: 'x' } }] } },
    expected: { kind: 'refused', message: 'projected source clusterTrustBundle is not supported by keelson' },
  },
  'a name that would lead out of the folder is refused': {
    volume: { name: '../x', emptyDir: {} },
    expected: { kind: 'refused', message: 'volume name "../x" is not a DNS label' },
  },
};

for (const [sentence, { volume, spec, allocatable, expected }] of Object.entries(cases)) {
  test(sentence, () => {
    const [wanted] = computeVolumes(podWith(volume, spec), uid, { ...roots, allocatableMemory: allocatable });
    assert.partialDeepStrictEqual(wanted, expected);
  });
}

interface Golden {
  readonly pod: Pod;
  readonly containers: Record<string, { readonly config: { readonly mounts: Mount[] } }>;
}
interface Mount {
  readonly container_path: string;
  readonly host_path: string;
  readonly readonly?: boolean;
}

const folder = new URL('../../test/golden/pods/', import.meta.url);
for (const file of readdirSync(folder)) {
  test(`every mount of ${file} has the path that the kubelet gave it`, () => {
    const { pod, containers } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Golden;
    const spec = {
      ...pod.spec,
      volumes: (pod.spec.volumes ?? []).map((v) => ({ ...v, name: v.name.replace('<rand>', 'rand') })),
    };
    const wanted = computeVolumes({ ...pod, spec }, podUid('<uid>'), { ...roots, pods: '<root>/pods' });
    for (const container of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) {
      for (const { mountPath, name } of container.volumeMounts ?? []) {
        const mounts = containers[container.name]?.config.mounts;
        if (!mounts) continue;
        const mount = mounts.find(({ container_path }) => container_path === mountPath);
        const volume = wanted.find((candidate) => candidate.name === name.replace('<rand>', 'rand'));
        assert.ok(volume && volume.kind !== 'refused', name);
        assert.equal(volume.path, mount?.host_path.replace('<rand>', 'rand'));
        if (volume.kind === 'payload') assert.equal(mount?.readonly, true);
      }
    }
  });
}

test('objects that several volumes refer to are named once', () => {
  const volumes: Volume[] = [
    { name: 'a', configMap: { name: 'm' } },
    { name: 'b', projected: { sources: [{ configMap: { name: 'm' } }, { secret: { name: 'm' } }] } },
    { name: 'c', emptyDir: {} },
  ];
  const wanted = computeVolumes({ metadata: { name: 'p' }, spec: { containers: [], volumes } }, uid, roots);
  assert.deepEqual(referencedObjects(wanted, 'ns'), [
    { kind: 'ConfigMap', namespace: 'ns', name: 'm' },
    { kind: 'Secret', namespace: 'ns', name: 'm' },
  ]);
});
