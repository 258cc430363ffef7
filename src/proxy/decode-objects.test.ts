import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeObjects, objectProblemText, wellShaped } from './decode-objects.ts';
import { unplannedObjects } from './unplanned-objects.ts';

const service = (name: string, rest = 'spec: {clusterIP: 10.96.0.1}') =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\n${rest}\n`;
const slice = (labels: string) =>
  `apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s, namespace: d, labels: ${labels}}\naddressType: IPv4\n`;
const json = (value: unknown) => JSON.stringify(value);
const kinds = 'Service, EndpointSlice, Node or a List of them';

interface Case {
  readonly text: string;
  /** The keys of all kinds. */
  readonly found?: readonly string[];
  readonly said?: readonly string[];
}

const cases: Record<string, Case> = {
  'several documents, and a List in one of them': {
    text: `${service('a')}---\napiVersion: v1\nkind: List\nitems:\n- ${json({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' } })}\n`,
    found: ['default/a', 'n'],
  },
  'a list of one kind, whose items do not say theirs, as JSON': {
    text: json({
      ...{ apiVersion: 'v1', kind: 'ServiceList' },
      items: [{ metadata: { name: 'a', namespace: 'x' }, spec: { clusterIP: 'None' } }],
    }),
    found: ['x/a'],
  },
  'nothing at all': { text: '---\n', said: [`f: is empty (it should hold objects of kind ${kinds})`] },
  'a document that is no YAML, beside one that is': {
    text: `a: [\n---\n${service('a')}`,
    found: ['default/a'],
    said: [
      'f:2:1: document 1: Flow sequence in block collection must be sufficiently indented and end with a ] (correct it: nothing of this document is read)',
    ],
  },
  'what is no object, in a List': {
    text: json({ apiVersion: 'v1', kind: 'List', items: [7] }),
    said: [`f: document 1, items[0]: 7 is no object (expected: ${kinds})`],
  },
  'a List of nothing': {
    text: 'kind: List\nitems: x\n',
    said: ['f:1:1: document 1: items "x" is not a list (list the objects there)'],
  },
  'a kind that is misspelt, that is none, and that has no part': {
    text: `${['Servce', '""', 'Pod', 'Endpoints'].map((kind) => `apiVersion: v1\nkind: ${kind}\n`).join('---\n')}`,
    said: [
      'f:1:1: document 1: kind "Servce" is not known (did you mean Service?)',
      `f:4:1: document 2: kind "" is not the name of one (expected: ${kinds})`,
      `note: f:7:1: document 3: kind Pod has no part in it (what counts is ${kinds})`,
      'f:10:1: document 4: kind Endpoints is not read (give its EndpointSlices)',
    ],
  },
  'an old version': {
    text: slice('{}').replace('/v1', '/v1beta1'),
    said: [
      'f:1:1: document 1: apiVersion "discovery.k8s.io/v1beta1" is not that of EndpointSlice (write discovery.k8s.io/v1)',
    ],
  },
  'objects that are not what their readers rely on': {
    text: [service('[]'), service('a', 'spec: 3'), service('a', 'spec: {clusterIPs: x}'), service('a', '')].join(
      '---\n',
    ),
    said: [
      'f:1:1: document 1: Service: metadata.name [] is not a text (correct it: nothing of this object is used)',
      'f:6:1: document 2: Service default/a: spec 3 is not an object (correct it: nothing of this object is used)',
      'f:11:1: document 3: Service default/a: spec.clusterIPs "x" is not a list (correct it: nothing of this object is used)',
      'f:16:1: document 4: Service default/a: spec null is no specification (correct it: nothing of this object is used)',
    ],
  },
  'a node whose addresses are none': {
    text: 'apiVersion: v1\nkind: Node\nmetadata: {name: node-a}\nstatus: {addresses: [{type: 1}]}\n',
    said: [
      'f:1:1: document 1: Node node-a: status.addresses[0].type 1 is not a text (correct it: nothing of this object is used)',
    ],
  },
  'two of one name': {
    text: `${service('a')}---\n${service('a')}`,
    found: ['default/a'],
    said: ['f:6:1: document 2: a second Service default/a; the first is in f:1, document 1 (give one of them)'],
  },
  'a Service that a cluster would have given an address': {
    text: [
      service('a', 'spec: {}'),
      service('b', 'spec: {clusterIP: None}'),
      service('c', 'spec: {type: ExternalName}'),
    ].join('---\n'),
    found: ['default/a', 'default/b', 'default/c'],
    said: [
      'f:1:1: document 1: Service default/a: spec.clusterIP is empty: nothing is programmed for it (write an address, or give what the cluster has: kubectl get service a -n default -o yaml)',
    ],
  },
  'a slice of no Service': {
    text: slice('{}'),
    found: ['d/s'],
    said: [
      'f:1:1: document 1: EndpointSlice d/s: metadata.labels["kubernetes.io/service-name"] is empty: it is of no Service (label it with kubernetes.io/service-name: the name of its Service)',
    ],
  },
  'a slice of a Service that is elsewhere': {
    text: slice('{kubernetes.io/service-name: a}'),
    found: ['d/s'],
    said: [
      'note: f:1:1: document 1: EndpointSlice d/s: its Service d/a is not among the objects (give the Service too)',
    ],
  },
};
for (const [sentence, { text, found = [], said = [] }] of Object.entries(cases)) {
  test(sentence, () => {
    const objects = decodeObjects([{ file: 'f', text }]);
    const { services, slices, nodes, problems } = objects;
    assert.deepEqual([...problems, ...unplannedObjects(objects)].map(objectProblemText), said);
    assert.deepEqual([...services.keys(), ...slices.keys(), ...nodes.keys()], found);
  });
}

test('what stands in a slice and is none of its parts is taken out', () => {
  const odd = {
    metadata: { name: 's' },
    addressType: 'IPv4',
    endpoints: [7, {}, { addresses: ['10.244.0.1'] }],
    ports: 'x',
  };
  const { endpoints, ports } = wellShaped(odd as unknown as Parameters<typeof wellShaped>[0]);
  assert.deepEqual([endpoints, ports], [[{ addresses: ['10.244.0.1'] }], []]);
});
