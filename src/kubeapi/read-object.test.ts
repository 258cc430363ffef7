import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../api/meta-v1.ts';
import { readObject } from './read-object.ts';
import { configMaps, nodes, persistentVolumes, type Resource, runtimeClasses, secrets, services } from './resources.ts';

interface Case {
  readonly resource: Resource<KubeObject>;
  readonly value: unknown;
  readonly about: string;
  readonly key?: string;
  readonly faults: readonly string[];
}

const web = { name: 'web', namespace: 'd' };
const service = (metadata: unknown): Pick<Case, 'resource' | 'value'> => ({
  resource: services,
  value: { metadata, spec: {} },
});
const wrong = (field: string, value: unknown, fault: string): Case => ({
  ...service({ ...web, [field]: value }),
  about: 'Service d/web',
  key: 'd/web',
  faults: [`metadata.${field} ${fault}`],
});
const secret = (more: object, fault: string): Case => ({
  ...{ resource: secrets, value: { metadata: web, ...more }, about: 'Secret d/web', key: 'd/web', faults: [fault] },
});

const table: Record<string, Case> = {
  'a good one': { ...service({ ...web, uid: 'u' }), about: 'Service d/web', key: 'd/web', faults: [] },
  null: { resource: services, value: null, about: 'Service', faults: ['the object null is not an object'] },
  'a text': { resource: services, value: 'x', about: 'Service', faults: ['the object "x" is not an object'] },
  none: {
    resource: services,
    value: undefined,
    about: 'Service',
    faults: ['the object is absent and is not an object'],
  },
  'no metadata': { ...service(undefined), about: 'Service', faults: ['metadata is absent and is not an object'] },
  'metadata of another type': { ...service('x'), about: 'Service', faults: ['metadata "x" is not an object'] },
  'no name': {
    ...service({ namespace: 'd', uid: 'u' }),
    about: 'Service "d" "u"',
    faults: ['metadata.name is absent and is no name'],
  },
  'a name that is a path': {
    ...service({ name: '../x', namespace: 'd' }),
    about: 'Service "d" "../x"',
    faults: ['metadata.name "../x" is no name'],
  },
  'a name too long': {
    ...service({ name: 'x'.repeat(254), namespace: 'd' }),
    about: `Service "d" "${'x'.repeat(56)}...`,
    faults: [`metadata.name "${'x'.repeat(56)}... is no name`],
  },
  'no namespace where there has to be one': {
    ...service({ name: 'web' }),
    about: 'Service "web"',
    faults: ['metadata.namespace is absent and is no namespace'],
  },
  'a namespace with a slash': {
    ...service({ name: 'web', namespace: 'a/b' }),
    about: 'Service "a/b" "web"',
    faults: ['metadata.namespace "a/b" is no namespace'],
  },
  'a UID that is a path': wrong('uid', '../../etc', '"../../etc" is no UID'),
  'a UID that is a number': wrong('uid', 5, '5 is no UID'),
  'a version that is a number': wrong('resourceVersion', 5, '5 is not a text'),
  'a generation that is a text': wrong('generation', '5', '"5" is not a whole number'),
  'a time of deletion that is none': wrong('deletionTimestamp', 'soon', '"soon" is not a time'),
  'a grace period that is a text': wrong('deletionGracePeriodSeconds', '5', '"5" is not a whole number'),
  'labels that are a list': wrong('labels', ['a'], '["a"] is not a map'),
  'owners that are none': wrong('ownerReferences', [null], '[null] is not a list of references'),
  'finalizers that are none': wrong('finalizers', 'x', '"x" is not a list of texts'),
  'a label that is a number': {
    ...service({ ...web, labels: { a: 1 } }),
    ...{ about: 'Service d/web', key: 'd/web', faults: ['metadata.labels.a 1 is not a text'] },
  },
  'annotations repeat objects, and are not shown': {
    ...service({ ...web, annotations: { a: { password: 'x' } } }),
    ...{ about: 'Service d/web', key: 'd/web', faults: ['metadata.annotations.a (object) is not a text'] },
  },
  'null is absent': {
    ...service({ ...web, labels: null, annotations: null, creationTimestamp: null, deletionTimestamp: null }),
    ...{ about: 'Service d/web', key: 'd/web', faults: [] },
  },
  'nothing of a Secret is shown: its data': secret({ data: 'x' }, 'data is not as the API defines it'),
  'a value of it': secret({ data: { a: 1 } }, 'data.a is not as the API defines it'),
  'and its metadata': secret({ metadata: { ...web, labels: 'x' } }, 'metadata.labels (string) is not a map'),
  'data of a ConfigMap': {
    ...{ resource: configMaps, value: { metadata: web, data: { a: ['x'] } }, about: 'ConfigMap d/web', key: 'd/web' },
    faults: ['data.a is not as the API defines it'],
  },
  'a Node is in no namespace': {
    ...{ resource: nodes, value: { metadata: { name: 'n', namespace: 5 } }, about: 'Node n', key: 'n', faults: [] },
  },
  'labels and capacity of a Node': {
    ...{ resource: nodes, about: 'Node n', key: 'n' },
    value: { metadata: { name: 'n' }, status: { allocatable: { cpu: 'x' }, later: 5, conditions: null } },
    faults: ['status.allocatable.cpu "x" is not a quantity such as 500m or 1Gi'],
  },
  'a handler that is none': {
    ...{ resource: runtimeClasses, value: { metadata: { name: 'r' }, handler: {} }, about: 'RuntimeClass r', key: 'r' },
    faults: ['handler {} is not a string'],
  },
  'a volume that is none': {
    ...{ resource: persistentVolumes, about: 'PersistentVolume v', key: 'v' },
    value: { metadata: { name: 'v' }, spec: { nfs: 'x', mountOptions: [1] } },
    faults: ['spec.nfs "x" is not a map', 'spec.mountOptions[0] 1 is not a string'],
  },
};

for (const [sentence, { resource, value, about, key, faults }] of Object.entries(table)) {
  test(sentence, () => {
    const read = readObject(resource, value);
    assert.deepEqual({ about: read.about, key: read.key, faults: read.faults }, { about, key, faults });
  });
}

test('null members are left out, but not of lists and of the status', () => {
  const value = {
    metadata: { ...web, labels: null },
    spec: { a: null, b: { c: null }, d: [null, { e: null }] },
    status: { f: null },
  };
  const { object } = readObject(services, value);
  assert.deepEqual(object, { metadata: web, spec: { b: {}, d: [null, {}] }, status: { f: null } });
});
