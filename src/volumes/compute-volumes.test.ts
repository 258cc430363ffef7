import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Pod, PodSpec, Volume } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { computeVolumes, referencedObjects, type WantedVolume } from './compute-volumes.ts';

const uid = podUid('u-1');
const roots = { pods: '/r/pods', memory: '/r/keelson/memory', allocatableMemory: undefined };
/** A pod of which the last container mounts the volume. */
const podWith = (volume: Volume, spec: Partial<PodSpec> = {}): Pod => {
  const { containers = [{ name: 'c' }], ...rest } = spec;
  const mounts = { volumeMounts: [{ name: volume.name, mountPath: '/v' }] };
  return {
    metadata: { name: 'p', namespace: 'ns' },
    spec: { ...rest, containers: containers.map((c) => ({ ...mounts, ...c })), volumes: [volume] },
  };
};
const hugePages = (...sizes: string[]) => {
  const limits = Object.fromEntries(sizes.map((size) => [`hugepages-${size}`, '1Gi']));
  return { containers: [{ name: 'c', resources: { limits } }] };
};
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
  'an emptyDir of huge pages has the page size that the pod asks for': {
    volume: { name: 'v', emptyDir: { medium: 'HugePages' } },
    spec: hugePages('2Mi'),
    expected: { kind: 'emptyDir', medium: 'hugePages', pageSize: '2Mi' },
  },
  'an emptyDir of huge pages of one size among several': {
    volume: { name: 'v', emptyDir: { medium: 'HugePages-2048Ki' } },
    spec: hugePages('1Gi', '2Mi'),
    expected: { kind: 'emptyDir', medium: 'hugePages', pageSize: '2Mi' },
  },
  'huge pages of which size is not said': {
    volume: { name: 'v', emptyDir: { medium: 'HugePages' } },
    spec: hugePages('1Gi', '2Mi'),
    expected: {
      kind: 'refused',
      message: "medium: HugePages can't be used if container requests multiple huge page sizes",
    },
  },
  'huge pages that nobody asks for': {
    volume: { name: 'v', emptyDir: { medium: 'HugePages-2Mi' } },
    spec: hugePages('1Gi'),
    expected: {
      kind: 'refused',
      message: 'medium HugePages-2Mi: hugePages storage requested, but there is no resource request for huge pages',
    },
  },
  'a medium that there is not': {
    volume: { name: 'v', emptyDir: { medium: 'Paper' } },
    expected: { kind: 'refused', message: 'unknown storage medium "Paper"' },
  },
  'an NFS export': {
    volume: { name: 'v', nfs: { server: 'fd00::1', path: '/data', readOnly: true } },
    expected: {
      kind: 'nfs',
      path: '/r/pods/u-1/volumes/kubernetes.io~nfs/v',
      source: '[fd00::1]:/data',
      options: ['ro'],
      readOnly: true,
    },
  },
  'a claim': {
    volume: { name: 'v', persistentVolumeClaim: { claimName: 'data', readOnly: true } },
    expected: {
      kind: 'claim',
      claimName: 'data',
      readOnly: true,
      isEphemeral: false,
      isMounted: true,
      isDevice: false,
    },
  },
  'a claim that is made for the pod': {
    volume: { name: 'v', ephemeral: {} },
    expected: { kind: 'claim', claimName: 'p-v', readOnly: false, isEphemeral: true },
  },
  'a claim whose name is a path': {
    volume: { name: 'v', persistentVolumeClaim: { claimName: '../x' } },
    expected: { kind: 'refused', message: 'claim name "../x" is not a name' },
  },
  'an image': {
    volume: { name: 'v', image: { reference: 'registry.test/files:1', pullPolicy: 'Always' } },
    expected: { kind: 'image', reference: 'registry.test/files:1', pullPolicy: 'Always' },
  },
  'a CSI volume is refused by its driver': {
    volume: { name: 'v', csi: { driver: 'csi.test' } },
    expected: { kind: 'refused', message: 'CSI driver "csi.test" is not supported by keelson' },
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
    volume: { name: 'v', iscsi: {} },
    expected: { kind: 'refused', message: 'volume source iscsi is not supported by keelson' },
  },
  'two sources are one too many': {
    volume: { name: 'v', emptyDir: {}, iscsi: {} },
    expected: { kind: 'refused', message: 'a volume has one source, this one has emptyDir and iscsi' },
  },
  'a projected source that we do not have is named': {
    volume: { name: 'v', projected: { sources: [{ podCertificate: {} }] } },
    expected: { kind: 'refused', message: 'projected source podCertificate is not supported by keelson' },
  },
  'a trust bundle without a name and without a signer': {
    volume: { name: 'v', projected: { sources: [{ clusterTrustBundle: { path: 'x' } }] } },
    expected: {
      kind: 'refused',
      message: 'ClusterTrustBundle projection requires either name or signerName to be set',
    },
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
    // What stands for a random part is no part of a name.
    const text = readFileSync(new URL(file, folder), 'utf8').replaceAll('<rand>', 'rand');
    const { pod, containers } = JSON.parse(text) as Golden;
    const wanted = computeVolumes(pod, podUid('<uid>'), { ...roots, pods: '<root>/pods' });
    for (const container of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) {
      for (const { mountPath, name } of container.volumeMounts ?? []) {
        const mounts = containers[container.name]?.config.mounts;
        if (!mounts) continue;
        const mount = mounts.find(({ container_path }) => container_path === mountPath);
        const volume = wanted.find((candidate) => candidate.name === name);
        assert.ok(volume && 'path' in volume, name);
        assert.equal(volume.path, mount?.host_path);
        if (volume.kind === 'payload') assert.equal(mount?.readonly, true);
      }
    }
  });
}

test('objects that several volumes refer to are named once', () => {
  const trust = { clusterTrustBundle: { signerName: 'signer.test/ca', path: 'ca' } };
  const volumes: Volume[] = [
    { name: 'a', configMap: { name: 'm' } },
    { name: 'p', persistentVolumeClaim: { claimName: 'data' } },
    { name: 't', projected: { sources: [trust] } },
    { name: 'b', projected: { sources: [{ configMap: { name: 'm' } }, { secret: { name: 'm' } }] } },
    { name: 'c', emptyDir: {} },
  ];
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }));
  const wanted = computeVolumes(
    { metadata: { name: 'p' }, spec: { containers: [{ name: 'c', volumeMounts }], volumes } },
    uid,
    roots,
  );
  assert.deepEqual(referencedObjects(wanted, 'ns'), [
    { kind: 'ConfigMap', namespace: 'ns', name: 'm' },
    { kind: 'PersistentVolumeClaim', namespace: 'ns', name: 'data' },
    { kind: 'SignerTrustBundles', namespace: '', name: 'signer.test/ca' },
    { kind: 'Secret', namespace: 'ns', name: 'm' },
  ]);
});

test('a volume that no container uses is as good as absent', () => {
  const env = [{ name: 'E', valueFrom: { fileKeyRef: { volumeName: 'file', path: 'p', key: 'k' } } }];
  const containers = [{ name: 'c', volumeDevices: [{ name: 'device', devicePath: '/dev/x' }], env }];
  const initContainers = [{ name: 'i', volumeMounts: [{ name: 'init', mountPath: '/i' }] }];
  const volumes = ['unused', 'device', 'file', 'init'].map((name) => ({ name, emptyDir: {} }));
  const pod = { metadata: { name: 'p' }, spec: { containers, initContainers, volumes } };
  assert.deepEqual(
    computeVolumes(pod, uid, roots).map(({ name }) => name),
    ['device', 'file', 'init'],
  );
});
