import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { boundVolume, computePersistentVolume, type PersistentSource } from './compute-persistent-volume.ts';
import type { ClaimVolume } from './compute-volumes.ts';

type ClaimSpec = PersistentVolumeClaim['spec'];
type VolumeSpec = NonNullable<PersistentVolume['spec']>;
const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid: 'u-1' }, spec: { containers: [] } };
const mounted: ClaimVolume = {
  kind: 'claim',
  name: 'v',
  claimName: 'data',
  readOnly: false,
  isEphemeral: false,
  isMounted: true,
  isDevice: false,
};
const claim = (change: Partial<PersistentVolumeClaim> = {}, spec: ClaimSpec = {}): PersistentVolumeClaim => ({
  metadata: { name: 'data', namespace: 'ns', uid: 'c-1' },
  spec: { volumeName: 'pv', ...spec },
  status: { phase: 'Bound' },
  ...change,
});
const lists = 'unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]';
const unprocessed = `Unable to attach or mount volumes: ${lists}: `;
const broken = `${unprocessed}error processing PVC ns/data: `;
const metadata = { name: 'data', namespace: 'ns', uid: 'c-1' };
const ownedBy = (uid: string) => ({
  metadata: { ...metadata, ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'p', uid, controller: true }] },
});

const deleted = claim({ metadata: { ...metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } });
const claims: Record<string, [PersistentVolumeClaim | undefined, string, Partial<ClaimVolume>?]> = {
  'a claim that is bound': [claim(), 'pv'],
  'a claim that is not there': [
    undefined,
    `${broken}failed to fetch PVC from API server: persistentvolumeclaims "data" not found`,
  ],
  'a claim that waits for a volume': [claim({ status: { phase: 'Pending' } }), `${broken}PVC is not bound`],
  'a claim that is new': [claim({ status: {} }), `${broken}PVC is not bound`],
  'a claim that is being deleted': [deleted, `${broken}PVC is being deleted`],
  'a bound claim without a volume': [claim({}, { volumeName: '' }), `${broken}PVC has empty pvc.Spec.VolumeName`],
  'the claim that was made for the pod': [claim(ownedBy('u-1')), 'pv', { isEphemeral: true }],
  'the claim of an earlier pod of the name': [
    claim(ownedBy('u-0')),
    `${unprocessed}PVC ns/data was not created for pod ns/p (pod is not owner)`,
    { isEphemeral: true },
  ],
};
for (const [sentence, [object, expected, change]] of Object.entries(claims)) {
  test(sentence, () => {
    const read = () => boundVolume(pod, { ...mounted, ...change }, object, () => false);
    if (expected === 'pv') assert.equal(read(), expected);
    else assert.throws(read, { message: expected });
  });
}

test('a claim that is being deleted stays with the pod that has it mounted', () => {
  assert.equal(
    boundVolume(pod, mounted, deleted, (name) => name === 'pv'),
    'pv',
  );
});

const volume = (spec: Partial<VolumeSpec>): PersistentVolume => ({
  metadata: { name: 'pv' },
  spec: { claimRef: { uid: 'c-1' }, ...spec },
});
const local = { local: { path: '/disks/a' } };
const onNode = (name: string) => ({
  nodeAffinity: {
    required: {
      nodeSelectorTerms: [
        { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In' as const, values: [name] }] },
      ],
    },
  },
});
const node: Node = { metadata: { name: 'n1', labels: { 'kubernetes.io/hostname': 'n1' } } };

const volumes: Record<
  string,
  [PersistentVolume | undefined, Partial<PersistentSource> | string, Partial<ClaimVolume>?]
> = {
  'a local volume': [
    volume({ ...local, mountOptions: ['noatime'], ...onNode('n1') }),
    {
      kind: 'local',
      source: '/disks/a',
      path: '/r/pods/u-1/volumes/kubernetes.io~local-volume/pv',
      globalPath: '/r/global/pv',
      fsType: 'ext4',
      mountOptions: ['noatime'],
      isDevice: false,
    },
  ],
  'a local block device': [
    volume({ ...local, volumeMode: 'Block' }),
    { kind: 'local', source: '/disks/a', isDevice: true },
    { isMounted: false, isDevice: true },
  ],
  'a host path': [
    volume({ hostPath: { path: '/data', type: 'Directory' } }),
    { kind: 'hostPath', path: '/data', type: 'Directory', readOnly: true },
    { readOnly: true },
  ],
  'an NFS export': [
    volume({ nfs: { server: 's', path: '/x' }, mountOptions: ['vers=4.2'] }),
    { kind: 'nfs', name: 'pv', source: 's:/x', options: ['ro', 'vers=4.2'] },
    { readOnly: true },
  ],
  'a volume that is not there': [
    undefined,
    `${broken}failed to fetch PV pv from API server: persistentvolumes "pv" not found`,
  ],
  'a volume that does not know of the claim': [
    { metadata: { name: 'pv' }, spec: local },
    `${broken}found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`,
  ],
  'a volume that belongs to another claim': [
    volume({ ...local, claimRef: { uid: 'c-0' } }),
    `${broken}found PV object pv but its pv.Spec.ClaimRef.UID c-0 does not point to claim.UID c-1`,
  ],
  'a block device that is to be mounted': [
    volume({ ...local, volumeMode: 'Block' }),
    `${unprocessed}volume v has volumeMode Block, but is specified in volumeMounts`,
  ],
  'a file system that is to be a device': [
    volume(local),
    `${unprocessed}volume v has volumeMode Filesystem, but is specified in volumeDevices`,
    { isMounted: false, isDevice: true },
  ],
  'a volume of another node': [
    volume({ ...local, ...onNode('n2') }),
    'MountVolume.NodeAffinity check failed for volume "pv" : no matching NodeSelectorTerms',
  ],
  'a local volume with steps back': [
    volume({ local: { path: '/a/../etc' } }),
    `${broken}PV pv: invalid path: /a/../etc`,
  ],
  'a volume of a CSI driver': [
    volume({ csi: { driver: 'csi.test' } }),
    `${broken}PV pv: CSI driver "csi.test" is not supported by keelson`,
  ],
  'a volume that we do not know': [
    volume({ capacity: { storage: '1Gi' }, iscsi: {} }),
    `${broken}PV pv: volume source iscsi is not supported by keelson`,
  ],
};
for (const [sentence, [object, expected, change]] of Object.entries(volumes)) {
  test(sentence, () => {
    const compute = () =>
      computePersistentVolume({
        pod,
        uid: podUid('u-1'),
        wanted: { ...mounted, ...change },
        claim: claim(),
        volume: object,
        node,
        roots: { pods: '/r/pods', memory: '/r/memory', allocatableMemory: undefined },
        globalDir: '/r/global',
      });
    if (typeof expected === 'string') assert.throws(compute, { message: expected });
    else assert.partialDeepStrictEqual(compute(), expected);
  });
}
