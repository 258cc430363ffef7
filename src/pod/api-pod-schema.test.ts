import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readObject } from '../kubeapi/read-object.ts';
import { pods } from '../kubeapi/resources.ts';
import { apiPodSchema } from './api-pod-schema.ts';

const container = { name: 'c', image: 'i' };
const pod = { metadata: { name: 'a', namespace: 'd', uid: 'u' }, spec: { containers: [container] } };
const withSpec = (spec: object) => ({ ...pod, spec: { ...pod.spec, ...spec } });
const withStatus = (status: unknown) => ({ ...pod, status });

const table: Record<string, { readonly value: unknown; readonly faults: readonly string[] }> = {
  'a pod': { value: pod, faults: [] },
  'a key and a word that a later version may know': {
    value: withSpec({ dnsPolicy: 'Later', later: 1, containers: [{ ...container, imagePullPolicy: 'Later' }] }),
    faults: [],
  },
  'null is absent': { value: { ...withSpec({ volumes: null, hostname: null }), status: null }, faults: [] },
  'no specification': { value: { ...pod, spec: null }, faults: ['spec.containers is missing'] },
  'a specification of another type': {
    value: { ...pod, spec: 'x' },
    faults: ['spec.containers is missing', 'spec "x" is not a map'],
  },
  'no UID': {
    value: { ...pod, metadata: { name: 'a', namespace: 'd' } },
    faults: ['metadata.uid is missing'],
  },
  'a number for a text': {
    value: withSpec({ containers: [{ ...container, image: 5 }] }),
    faults: ['spec.containers[0].image 5 is not a string'],
  },
  'null in a list': {
    value: withSpec({ initContainers: [null] }),
    faults: ['spec.initContainers[0] null is not a map'],
  },
  'a quantity that is none would keep others from being admitted': {
    value: withSpec({ containers: [{ ...container, resources: { requests: { cpu: 'x' } } }] }),
    faults: ['spec.containers[0].resources.requests.cpu "x" is not a quantity such as 500m or 1Gi'],
  },
  'names that lead out of folders': {
    value: withSpec({ volumes: [{ name: '../v' }], ephemeralContainers: [{ name: '..', image: 'i' }] }),
    faults: [
      'spec.ephemeralContainers[0].name ".." is not a name of lower-case letters, digits and dashes',
      'spec.volumes[0].name "../v" is not a name of lower-case letters, digits and dashes',
    ],
  },
  'a status that is none': { value: withStatus(5), faults: ['status 5 is not a map'] },
  'null in a status': { value: withStatus({ conditions: null, podIP: null }), faults: [] },
  'statuses of containers that are none': {
    value: withStatus({ containerStatuses: [null, { name: 5 }] }),
    faults: ['status.containerStatuses[0] null is not a map', 'status.containerStatuses[1].name 5 is not a string'],
  },
};

for (const [sentence, { value, faults }] of Object.entries(table)) {
  test(sentence, () => {
    const said = readObject(pods, value, apiPodSchema).faults;
    assert.deepEqual([...said].sort(), [...faults].sort());
  });
}
