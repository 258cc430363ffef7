import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, EnvVar, EnvVarSource, Pod, PodSpec, Service } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { EnvObjectValues } from './env-objects.ts';
import { generateEnv } from './generate-env.ts';
import { ContainerError } from './sync-error.ts';

const basePod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: { containers: [], enableServiceLinks: true },
};
const web: Service = deepFreeze({
  metadata: { name: 'web', namespace: 'ns' },
  spec: { clusterIP: '10.96.0.9', ports: [{ port: 80, protocol: 'TCP' as const }] },
});

const base64 = (text: string) => Buffer.from(text).toString('base64');
const objects: EnvObjectValues = {
  configMaps: new Map([
    [
      'cm',
      { metadata: { name: 'cm' }, data: { color: 'blue', 'odd.key-x': 'odd', both: 'cm' }, binaryData: { bin: '' } },
    ],
  ]),
  secrets: new Map([['sec', { metadata: { name: 'sec' }, data: { password: base64('s3cret'), both: base64('sec') } }]]),
};
const files = new Map([['work/app.env', { path: '/v/work/app.env', text: "GREETING='hello $(A)'\nEMPTY=''\n" }]]);

const generate = (over: Partial<Container>, services: readonly Service[] = [web], pod = basePod) =>
  generateEnv({
    pod: deepFreeze(pod),
    container: deepFreeze({ name: 'c', ...over }),
    uid: 'u',
    services,
    objects,
    files,
    allocatable: { cpu: '4', memory: '8Gi', 'ephemeral-storage': '10Gi', 'hugepages-2Mi': '4Mi' },
    podIPs: ['10.0.0.1', 'fd00::1'],
    hostIPs: ['192.0.2.1', '2001:db8::1'],
  });

const own: Record<string, { env: EnvVar[]; expect: Record<string, string> }> = {
  'a literal': { env: [{ name: 'A', value: '1' }], expect: { A: '1' } },
  'no value is an empty one': { env: [{ name: 'A' }], expect: { A: '' } },
  'a reference to a variable before it': {
    env: [
      { name: 'A', value: '1' },
      { name: 'B', value: 'a is $(A)' },
    ],
    expect: { A: '1', B: 'a is 1' },
  },
  'a reference to one after it stays as it is written': {
    env: [
      { name: 'B', value: '$(A)' },
      { name: 'A', value: '1' },
    ],
    expect: { A: '1', B: '$(A)' },
  },
  'a reference to a Service': {
    env: [{ name: 'URL', value: 'http://$(WEB_SERVICE_HOST):$(WEB_SERVICE_PORT)' }],
    expect: { URL: 'http://10.96.0.9:80' },
  },
  'its own variable wins over that of a Service, also in references': {
    env: [
      { name: 'WEB_SERVICE_HOST', value: 'mine' },
      { name: 'A', value: '$(WEB_SERVICE_HOST)' },
    ],
    expect: { WEB_SERVICE_HOST: 'mine', A: 'mine' },
  },
  'the later of two namesakes wins, and may refer to the earlier': {
    env: [
      { name: 'P', value: '/bin' },
      { name: 'P', value: '$(P):/sbin' },
    ],
    expect: { P: '/bin:/sbin' },
  },
};

for (const [sentence, { env, expect }] of Object.entries(own)) {
  test(sentence, () => {
    const found = generate({ env });
    for (const [name, value] of Object.entries(expect)) assert.equal(found.get(name), value, name);
  });
}

test("Services' variables are there without being asked for, and are not where links are off", () => {
  assert.equal(generate({}).get('WEB_SERVICE_HOST'), '10.96.0.9');
  const unlinked = { ...basePod, spec: { ...basePod.spec, enableServiceLinks: false } };
  assert.equal(generate({}, [web], unlinked).get('WEB_SERVICE_HOST'), undefined);
});

const from = (valueFrom: EnvVarSource): EnvVar[] => [{ name: 'X', valueFrom }];
const richPod: Pod = {
  metadata: {
    ...basePod.metadata,
    labels: { app: 'web' },
    annotations: { note: 'hello', 'example.com/a': 'b' },
  },
  spec: {
    ...basePod.spec,
    nodeName: 'node-a',
    serviceAccountName: 'robot',
    containers: [
      { name: 'other', resources: { requests: { cpu: '250m', memory: '64Mi' }, limits: { memory: '1500M' } } },
    ],
    initContainers: [{ name: 'first' }],
  },
};

/** What X becomes; undefined when it is left out. */
const sources: Record<
  string,
  { source: EnvVarSource; own?: Partial<Container>; spec?: Partial<PodSpec>; expect: string | undefined }
> = {
  'the name of the pod': { source: { fieldRef: { fieldPath: 'metadata.name' } }, expect: 'p' },
  'its namespace': { source: { fieldRef: { fieldPath: 'metadata.namespace' } }, expect: 'ns' },
  'its UID': { source: { fieldRef: { fieldPath: 'metadata.uid' } }, expect: 'u' },
  'one of its labels': { source: { fieldRef: { fieldPath: "metadata.labels['app']" } }, expect: 'web' },
  'one of its annotations': {
    source: { fieldRef: { apiVersion: 'v1', fieldPath: "metadata.annotations['example.com/a']" } },
    expect: 'b',
  },
  'a label that it has not': { source: { fieldRef: { fieldPath: "metadata.labels['nope']" } }, expect: '' },
  'all its labels': { source: { fieldRef: { fieldPath: 'metadata.labels' } }, expect: 'app="web"' },
  'the name of its node': { source: { fieldRef: { fieldPath: 'spec.nodeName' } }, expect: 'node-a' },
  'the name of its node, as clients of long ago spelled it': {
    source: { fieldRef: { fieldPath: 'spec.host' } },
    expect: 'node-a',
  },
  'its service account': { source: { fieldRef: { fieldPath: 'spec.serviceAccountName' } }, expect: 'robot' },
  'its address': { source: { fieldRef: { fieldPath: 'status.podIP' } }, expect: '10.0.0.1' },
  'all its addresses': { source: { fieldRef: { fieldPath: 'status.podIPs' } }, expect: '10.0.0.1,fd00::1' },
  "the node's address": { source: { fieldRef: { fieldPath: 'status.hostIP' } }, expect: '192.0.2.1' },
  "all the node's addresses": {
    source: { fieldRef: { fieldPath: 'status.hostIPs' } },
    expect: '192.0.2.1,2001:db8::1',
  },
  'its own limit': {
    source: { resourceFieldRef: { resource: 'limits.cpu' } },
    own: { resources: { limits: { cpu: '1500m' } } },
    expect: '2',
  },
  'its own limit in units': {
    source: { resourceFieldRef: { resource: 'limits.cpu', divisor: '1m' } },
    own: { resources: { limits: { cpu: '1500m' } } },
    expect: '1500',
  },
  'a limit that it has not is what the node has': {
    source: { resourceFieldRef: { resource: 'limits.cpu' } },
    expect: '4',
  },
  'or what the pod as a whole is limited to': {
    source: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Gi' } },
    spec: { resources: { limits: { memory: '2Gi' } } },
    expect: '2',
  },
  'huge pages without a limit are none': {
    source: { resourceFieldRef: { resource: 'limits.hugepages-2Mi' } },
    expect: '0',
  },
  'a request that it has not is none': { source: { resourceFieldRef: { resource: 'requests.memory' } }, expect: '0' },
  "another container's request": {
    source: { resourceFieldRef: { containerName: 'other', resource: 'requests.cpu', divisor: '1m' } },
    expect: '250',
  },
  "another container's limit, rounded up": {
    source: { resourceFieldRef: { containerName: 'other', resource: 'limits.memory', divisor: '1Gi' } },
    expect: '2',
  },
  'the missing limit of an init container by name stays missing': {
    source: { resourceFieldRef: { containerName: 'first', resource: 'limits.cpu' } },
    expect: '0',
  },
  'a key of a ConfigMap': { source: { configMapKeyRef: { name: 'cm', key: 'color' } }, expect: 'blue' },
  'a key that may be missing': {
    source: { configMapKeyRef: { name: 'cm', key: 'nope', optional: true } },
    expect: undefined,
  },
  'binary data is not for variables': {
    source: { configMapKeyRef: { name: 'cm', key: 'bin', optional: true } },
    expect: undefined,
  },
  'a ConfigMap that may be missing': {
    source: { configMapKeyRef: { name: 'no', key: 'k', optional: true } },
    expect: undefined,
  },
  'a key of a Secret': { source: { secretKeyRef: { name: 'sec', key: 'password' } }, expect: 's3cret' },
  'a Secret that may be missing': {
    source: { secretKeyRef: { name: 'no', key: 'k', optional: true } },
    expect: undefined,
  },
  'a key of a Secret that may be missing': {
    source: { secretKeyRef: { name: 'sec', key: 'no', optional: true } },
    expect: undefined,
  },
  'a key of an env file, as it stands there': {
    source: { fileKeyRef: { volumeName: 'work', path: 'app.env', key: 'GREETING' } },
    expect: 'hello $(A)',
  },
  'a key of an env file that may be missing': {
    source: { fileKeyRef: { volumeName: 'work', path: 'app.env', key: 'NOPE', optional: true } },
    expect: undefined,
  },
  'an empty value in an env file is a missing one': {
    source: { fileKeyRef: { volumeName: 'work', path: 'app.env', key: 'EMPTY', optional: true } },
    expect: undefined,
  },
};

for (const [sentence, { source, own, spec, expect }] of Object.entries(sources)) {
  test(`from elsewhere: ${sentence}`, () => {
    const pod = { ...richPod, spec: { ...richPod.spec, ...spec } };
    assert.equal(generate({ ...own, env: from(source) }, [], pod).get('X'), expect);
  });
}

const whole: Record<string, { over: Partial<Container>; expect: Record<string, string> }> = {
  'every key of a ConfigMap, whatever characters it has': {
    over: { envFrom: [{ configMapRef: { name: 'cm' } }] },
    expect: { color: 'blue', 'odd.key-x': 'odd', both: 'cm' },
  },
  'with a prefix': {
    over: { envFrom: [{ prefix: 'P_', secretRef: { name: 'sec' } }] },
    expect: { P_password: 's3cret', P_both: 'sec' },
  },
  'the later of two wins': {
    over: { envFrom: [{ configMapRef: { name: 'cm' } }, { secretRef: { name: 'sec' } }] },
    expect: { color: 'blue', 'odd.key-x': 'odd', both: 'sec', password: 's3cret' },
  },
  "the container's own variables win, and may refer to them": {
    over: {
      envFrom: [{ configMapRef: { name: 'cm' } }],
      env: [{ name: 'both', value: '$(color) $$(color)' }],
    },
    expect: { color: 'blue', 'odd.key-x': 'odd', both: 'blue $(color)' },
  },
  'an optional variable that is missing leaves the one from the object': {
    over: {
      envFrom: [{ configMapRef: { name: 'cm' } }],
      env: [{ name: 'both', valueFrom: { secretKeyRef: { name: 'no', key: 'k', optional: true } } }],
    },
    expect: { color: 'blue', 'odd.key-x': 'odd', both: 'cm' },
  },
  'optional objects that are missing': {
    over: {
      envFrom: [{ configMapRef: { name: 'no', optional: true } }, { secretRef: { name: 'no', optional: true } }],
    },
    expect: {},
  },
};

for (const [sentence, { over, expect }] of Object.entries(whole)) {
  test(`whole objects: ${sentence}`, () => assert.deepEqual(Object.fromEntries(generate(over, [])), expect));
}

test("an object's variable wins over a Service's", () => {
  const service = { ...web, metadata: { ...web.metadata, name: 'p' } };
  const env = generate(
    { env: [{ name: 'P_SERVICE_HOST', valueFrom: { configMapKeyRef: { name: 'cm', key: 'color' } } }] },
    [service],
  );
  assert.deepEqual([env.get('P_SERVICE_HOST'), env.get('P_SERVICE_PORT')], ['blue', '80']);
});

const refused: Record<string, { over: Partial<Container>; message: string }> = {
  'a ConfigMap that is missing': {
    over: { env: from({ configMapKeyRef: { name: 'no', key: 'k' } }) },
    message: 'configmap "no" not found',
  },
  'a Secret that is missing': {
    over: { env: from({ secretKeyRef: { name: 'no', key: 'k' } }) },
    message: 'secret "no" not found',
  },
  'a whole ConfigMap that is missing': {
    over: { envFrom: [{ configMapRef: { name: 'no' } }] },
    message: 'configmap "no" not found',
  },
  'a whole Secret that is missing': {
    over: { envFrom: [{ secretRef: { name: 'no' } }] },
    message: 'secret "no" not found',
  },
  'a key that is missing': {
    over: { env: from({ configMapKeyRef: { name: 'cm', key: 'k' } }) },
    message: "couldn't find key k in ConfigMap ns/cm",
  },
  'a key of a Secret that is missing': {
    over: { env: from({ secretKeyRef: { name: 'sec', key: 'k' } }) },
    message: "couldn't find key k in Secret ns/sec",
  },
  'a key of an env file that is missing': {
    over: { env: from({ fileKeyRef: { volumeName: 'work', path: 'app.env', key: 'NOPE' } }) },
    message: 'environment variable key "NOPE" not found in file "/v/work/app.env"',
  },
  'an env file that was not read': {
    over: { env: from({ fileKeyRef: { volumeName: 'work', path: 'no.env', key: 'A' } }) },
    message: "couldn't parse env file",
  },
  'a field that there is not': {
    over: { env: from({ fieldRef: { fieldPath: 'spec.nope' } }) },
    message: 'field label not supported: spec.nope',
  },
  'a field that is nothing for a variable': {
    over: { env: from({ fieldRef: { fieldPath: 'spec.restartPolicy' } }) },
    message: 'unsupported fieldPath: spec.restartPolicy',
  },
  'a key of a field that has none': {
    over: { env: from({ fieldRef: { fieldPath: "metadata.name['a']" } }) },
    message: "field label does not support subscript: metadata.name['a']",
  },
  'a field of another version': {
    over: { env: from({ fieldRef: { apiVersion: 'v2', fieldPath: 'metadata.name' } }) },
    message: 'unsupported pod version: v2',
  },
  'a resource that there is not': {
    over: { env: from({ resourceFieldRef: { resource: 'limits.gpu' } }) },
    message: 'unsupported container resource : limits.gpu',
  },
  'a container that there is not': {
    over: { env: from({ resourceFieldRef: { containerName: 'no', resource: 'limits.cpu' } }) },
    message: 'container no not found',
  },
};

for (const [sentence, { over, message }] of Object.entries(refused)) {
  test(`${sentence} keeps the container from starting`, () => {
    assert.throws(
      () => generate(over),
      (error: unknown) => {
        assert.ok(error instanceof ContainerError);
        assert.deepEqual([error.code, error.message], ['CreateContainerConfigError', message]);
        return true;
      },
    );
  });
}
