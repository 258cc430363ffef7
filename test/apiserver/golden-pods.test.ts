import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { listAt } from './objects.ts';
import { StandInApiServer } from './server.ts';

// A cluster of the recordings' vendor adds a second authority to the token volume; a stock one does not.
const VENDOR_SOURCE = 'openshift-service-ca.crt';

test('pods are stored as kube-apiserver stored the same manifests', async (t) => {
  await using server = await StandInApiServer.start({ endpointSlices: false });
  server.create({ kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'golden' } });
  await Promise.resolve();
  const directory = new URL('../golden/pods/', import.meta.url);
  for (const file of readdirSync(directory)) {
    await t.test(file, () => {
      const golden = JSON.parse(readFileSync(new URL(file, directory), 'utf8'));
      const { manifest, pod: expected } = golden;
      manifest.spec.nodeName = '<node>';
      const stored = server.create(manifest);
      const spec = JSON.parse(JSON.stringify(stored.spec).replaceAll(/kube-api-access-\w+/g, 'kube-api-access-<rand>'));
      for (const volume of listAt(expected.spec, 'volumes')) {
        const projected = volume['projected'] as { sources: { configMap?: { name: string } }[] } | undefined;
        if (projected) projected.sources = projected.sources.filter((s) => s.configMap?.name !== VENDOR_SOURCE);
      }
      assert.deepEqual(spec, expected.spec);
      assert.equal(stored.status?.['qosClass'], expected.status.qosClass);
      assert.equal(stored.metadata.generation, 1);
    });
  }
});
