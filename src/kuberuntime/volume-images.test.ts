import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { ContainerVolume } from './generate-mounts.ts';
import type { VolumeImageRequest } from './image-puller.ts';
import { ContainerError } from './sync-error.ts';
import { pullVolumeImages } from './volume-images.ts';

const signal = AbortSignal.timeout(10_000);
const volumes: ReadonlyMap<string, ContainerVolume> = new Map([
  ['data', { hostPath: '/v/data' }],
  ['model', { hostPath: '', readOnly: true, image: { image: 'registry.test/model:1' }, pullPolicy: 'Always' as const }],
  ['unused', { hostPath: '', image: { image: 'registry.test/unused:1' } }],
]);
const mount = (name: string) => ({ name, mountPath: `/${name}` });
const pod: Pod = deepFreeze({ metadata: { name: 'p', annotations: { a: 'b' } }, spec: { containers: [] } });

/** Pulls, and what was said of the pod and of its container. */
function pull(mounts: readonly string[], answer: () => { id: string }) {
  const asked: string[] = [];
  const told: string[] = [];
  const tell = (who: string) => (type: string, reason: string, message: string) =>
    told.push(`${who} ${type} ${reason} ${message}`);
  const puller = {
    ensureVolumeImage: async ({ volume, reference, policy, event }: VolumeImageRequest) => {
      asked.push(`${volume} ${reference} ${policy}`);
      event('Normal', 'Pulling', reference);
      return answer();
    },
  };
  const request = {
    ...{ pod, volumes, sandboxConfig: {}, secrets: async () => [] },
    container: { name: 'c', volumeMounts: mounts.map(mount) },
    ...{ podEvent: tell('pod'), containerEvent: tell('container') },
  };
  return { asked, told, done: pullVolumeImages(request, puller, signal) };
}

test('the images that a container mounts are pulled once each, those of others are not', async () => {
  const { asked, told, done } = pull(['data', 'model', 'model'], () => ({ id: 'sha256:abc' }));
  assert.deepEqual((await done).get('model')?.image, {
    ...{ image: 'sha256:abc', userSpecifiedImage: 'registry.test/model:1' },
    annotations: { a: 'b' },
  });
  assert.deepEqual(asked, ['model registry.test/model:1 Always']);
  assert.deepEqual(told, ['pod Normal Pulling registry.test/model:1']);
  assert.deepEqual((await done).get('data'), volumes.get('data'));
});

test('a container whose volume has no image waits for that, and its event says so', async () => {
  const { told, done } = pull(['model'], () => {
    throw new ContainerError('ErrImagePull', 'not found');
  });
  await assert.rejects(done, { code: 'ErrImagePull', message: 'not found' });
  assert.deepEqual(told, ['pod Normal Pulling registry.test/model:1', 'container Warning Failed Error: ErrImagePull']);
});
