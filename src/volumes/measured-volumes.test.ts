import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, Volume } from '../api/core-v1.ts';
import { computeMeasuredVolumes } from './measured-volumes.ts';
import type { MountableVolume } from './mountable-volume.ts';

const podDir = '/var/lib/kubelet/pods/u';
const inPod = `${podDir}/volumes/p/v`;

interface Row {
  readonly volume: Omit<Volume, 'name'>;
  readonly at?: string;
  readonly device?: string;
  /** 'by', whether it counts as the node's disk, and the claim. */
  readonly expected: readonly [string, boolean, string | undefined] | undefined;
}

const table: Record<string, Row> = {
  'an emptyDir on disk': { volume: { emptyDir: {} }, expected: ['files', true, undefined] },
  'an emptyDir in memory': { volume: { emptyDir: { medium: 'Memory' } }, expected: ['whole', false, undefined] },
  'a ConfigMap': { volume: { configMap: { name: 'c' } }, expected: ['files', true, undefined] },
  'a Secret is not on disk': { volume: { secret: { secretName: 's' } }, expected: ['files', false, undefined] },
  'a claim': { volume: { persistentVolumeClaim: { claimName: 'data' } }, expected: ['whole', false, 'ns/data'] },
  'a claim made for the pod': { volume: { ephemeral: {} }, expected: ['whole', false, 'ns/p-v'] },
  'a claim bound to a folder of the host': {
    volume: { persistentVolumeClaim: { claimName: 'data' } },
    at: '/srv/data',
    expected: undefined,
  },
  'a claim used as a device': {
    volume: { persistentVolumeClaim: { claimName: 'data' } },
    device: '/dev/vdb',
    expected: undefined,
  },
  'a folder of the host': { volume: { hostPath: { path: '/srv' } }, at: '/srv', expected: undefined },
  'an image': { volume: { image: { reference: 'i' } }, at: '', expected: undefined },
};

for (const [sentence, { volume, at = inPod, device, expected }] of Object.entries(table)) {
  test(sentence, () => {
    const pod: Pod = {
      metadata: { name: 'p', namespace: 'ns', uid: 'u' },
      spec: { containers: [], volumes: [{ name: 'v', ...volume }] },
    };
    const place: MountableVolume = { hostPath: at, readOnly: false, ...(device === undefined ? {} : { device }) };
    const [found] = computeMeasuredVolumes(pod, new Map([['v', place]]), podDir);
    const claim = found?.claim && `${found.claim.namespace}/${found.claim.name}`;
    assert.deepEqual(found && [found.by, found.isLocal, claim], expected);
  });
}

test('a volume that is not set up yet is not measured', () => {
  const pod: Pod = { metadata: { name: 'p' }, spec: { containers: [], volumes: [{ name: 'v', emptyDir: {} }] } };
  assert.deepEqual(computeMeasuredVolumes(pod, new Map(), podDir), []);
});
