import assert from 'node:assert/strict';
import { test } from 'node:test';
import type {
  ClusterTrustBundle,
  ClusterTrustBundleProjection,
  ConfigMap,
  Pod,
  ProjectedSource,
  Secret,
  Volume,
} from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { computeVolumes } from './compute-volumes.ts';
import { renderPayload } from './render-payload.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const objects: Record<string, ConfigMap | Secret> = {
  'ConfigMap/cm': {
    metadata: { name: 'cm' },
    data: { color: 'blue', 'bad.key-x': 'v' },
    binaryData: { bin: Buffer.from([0, 255]).toString('base64') },
  },
  'Secret/sec': { metadata: { name: 'sec' }, data: { user: base64('bob'), password: base64('s3cret') } },
  'Secret/plain': { metadata: { name: 'plain' }, data: { a: base64('old') }, stringData: { a: 'new' } },
};
const certificate = (text: string) => `-----BEGIN CERTIFICATE-----\n${base64(text)}\n-----END CERTIFICATE-----\n`;
const bundle = (name: string, labels: Record<string, string>, ...certificates: string[]): ClusterTrustBundle => ({
  metadata: { name, labels },
  spec: { trustBundle: certificates.map(certificate).join('') },
});
const bundles: Record<string, readonly ClusterTrustBundle[]> = {
  one: [bundle('one', {}, 'a', 'a')],
  'signer.test/ca': [bundle('x', { tier: 'old' }, 'a'), bundle('y', { tier: 'new' }, 'a')],
};
const trust = (source: Omit<ClusterTrustBundleProjection, 'path'>) =>
  projected({ clusterTrustBundle: { path: 'ca', ...source } });
const pod: Pod = {
  metadata: {
    name: 'p',
    namespace: 'ns',
    labels: { b: 'two', a: '1' },
    annotations: { note: 'say "hi"\n\ttwice\u00a0ä\u0001' },
  },
  spec: {
    nodeName: 'n1',
    containers: [
      { name: 'c', resources: { limits: { cpu: '1500m', memory: '64Mi' }, requests: { cpu: '100m' } } },
      { name: 'open' },
    ],
  },
};

type Files = Record<string, string>;
/** `path mode[ owner]` → content. */
function render(volume: Omit<Volume, 'name'>, change: Partial<Pod['spec']> = {}): Files | string {
  const spec = { ...pod.spec, ...change, volumes: [{ name: 'v', ...volume }] };
  const containers = spec.containers.map((c) => ({ ...c, volumeMounts: [{ name: 'v', mountPath: '/v' }] }));
  const changed = { ...pod, spec: { ...spec, containers } };
  const [wanted] = computeVolumes(changed, podUid('u'), { pods: '/p', memory: '/m', allocatableMemory: undefined });
  assert.equal(wanted?.kind, 'payload');
  const rendered = renderPayload(wanted, {
    pod: changed,
    uid: 'u',
    allocatable: { cpu: '4', memory: '8Gi' },
    object: (kind, name) => {
      if (name === 'forbidden') throw new Error('secrets "forbidden" is forbidden');
      return objects[`${kind}/${name}`];
    },
    bundles: ({ name }) => bundles[name] ?? [],
    token: ({ audience }) =>
      audience === 'refused' ? new Error('failed to fetch token: no') : `jwt for ${audience ?? 'api'}`,
  });
  if (rendered.missing !== undefined) return rendered.missing;
  const entries = [...rendered.payload].map(([path, { data, mode, uid }]) => {
    const owner = uid === undefined ? '' : ` ${uid}`;
    return [`${path} ${mode.toString(8)}${owner}`, data.toString('latin1')];
  });
  return Object.fromEntries(entries) as Files;
}
const projected = (...sources: NonNullable<ProjectedSource['sources']>) => ({ projected: { sources } });
const downward = (...items: [path: string, fieldPath: string][]) => ({
  downwardAPI: { items: items.map(([path, fieldPath]) => ({ path, fieldRef: { fieldPath } })) },
});
const resource = (containerName: string, name: string, divisor?: string) => ({
  downwardAPI: { items: [{ path: 'f', resourceFieldRef: { containerName, resource: name, divisor } }] },
});

const cases: Record<string, [actual: () => Files | string, expected: Files | string]> = {
  'every key of a configMap, text and binary': [
    () => render({ configMap: { name: 'cm' } }),
    { 'bin 644': '\x00\xff', 'color 644': 'blue', 'bad.key-x 644': 'v' },
  ],
  'items choose keys, paths and modes': [
    () =>
      render({
        configMap: {
          name: 'cm',
          defaultMode: 0o440,
          items: [
            { key: 'color', path: 'x/y', mode: 0o400 },
            { key: 'bin', path: 'b' },
          ],
        },
      }),
    { 'x/y 400': 'blue', 'b 440': '\x00\xff' },
  ],
  'a secret is decoded': [
    () => render({ secret: { secretName: 'sec' } }),
    { 'user 644': 'bob', 'password 644': 's3cret' },
  ],
  'stringData of a manifest wins': [() => render({ secret: { secretName: 'plain' } }), { 'a 644': 'new' }],
  'fsGroup may read': [
    () => render({ secret: { secretName: 'plain', defaultMode: 0o400 } }, { securityContext: { fsGroup: 5 } }),
    { 'a 440': 'new' },
  ],
  'an absent configMap': [() => render({ configMap: { name: 'no' } }), 'configmap "no" not found'],
  'an absent secret': [() => render({ secret: { secretName: 'no' } }), 'secret "no" not found'],
  'an absent optional object is an empty volume': [() => render({ secret: { secretName: 'no', optional: true } }), {}],
  'an optional object that may not be read is an error': [
    () => render({ secret: { secretName: 'forbidden', optional: true } }),
    'secrets "forbidden" is forbidden',
  ],
  'an absent key of a configMap': [
    () => render({ configMap: { name: 'cm', items: [{ key: 'k', path: 'k' }] } }),
    'configmap references non-existent config key: k',
  ],
  'an absent key of a secret': [
    () => render({ secret: { secretName: 'sec', items: [{ key: 'k', path: 'k' }] } }),
    'references non-existent secret key: k',
  ],
  'an absent key of an optional object is left out': [
    () =>
      render({
        secret: {
          secretName: 'sec',
          optional: true,
          items: [
            { key: 'k', path: 'k' },
            { key: 'user', path: 'u' },
          ],
        },
      }),
    { 'u 644': 'bob' },
  ],
  'projected sources are put together': [
    () =>
      render(
        projected(
          { serviceAccountToken: { path: 'token' } },
          { configMap: { name: 'cm', items: [{ key: 'color', path: 'ca.crt' }] } },
          { secret: { name: 'sec', items: [{ key: 'user', path: 'u', mode: 0o600 }] } },
          { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
        ),
      ),
    { 'token 644': 'jwt for api', 'ca.crt 644': 'blue', 'u 600': 'bob', 'namespace 644': 'ns' },
  ],
  'all that is missing in a projected volume is named': [
    () =>
      render(
        projected(
          { configMap: { name: 'a' } },
          { secret: { name: 'b' } },
          { serviceAccountToken: { path: 't', audience: 'refused' } },
        ),
      ),
    '[configmap "a" not found, secret "b" not found, failed to fetch token: no]',
  ],
  'a token with an fsGroup is for that group': [
    () => render(projected({ serviceAccountToken: { path: 't' } }), { securityContext: { fsGroup: 5 } }),
    { 't 640': 'jwt for api' },
  ],
  'a token of a pod with one user is for that user': [
    () =>
      render(projected({ serviceAccountToken: { path: 't', audience: 'vault' } }), {
        securityContext: { runAsUser: 9 },
      }),
    { 't 600 9': 'jwt for vault' },
  ],
  'fields of the pod': [
    () =>
      render(
        downward(
          ['n', 'metadata.name'],
          ['u', 'metadata.uid'],
          ['l', 'metadata.labels'],
          ['b', "metadata.labels['b']"],
          ['x', "metadata.labels['x']"],
          ['h', 'spec.nodeName'],
        ),
      ),
    { 'n 644': 'p', 'u 644': 'u', 'l 644': 'a="1"\nb="two"', 'b 644': 'two', 'x 644': '', 'h 644': 'n1' },
  ],
  'values of a map are quoted as Go quotes them': [
    () => render(downward(['a', 'metadata.annotations'])),
    { 'a 644': Buffer.from('note="say \\"hi\\"\\n\\ttwice\\u00a0ä\\x01"').toString('latin1') },
  ],
  'an unknown field': [() => render(downward(['a', 'status.qosClass'])), 'unsupported fieldPath: status.qosClass'],
  'memory in mebibytes': [() => render(resource('c', 'limits.memory', '1Mi')), { 'f 644': '64' }],
  'CPUs are rounded up': [() => render(resource('c', 'limits.cpu', '0')), { 'f 644': '2' }],
  'CPU in thousandths': [() => render(resource('c', 'requests.cpu', '1m')), { 'f 644': '100' }],
  'a limit that is not set is what the node has': [() => render(resource('open', 'limits.cpu')), { 'f 644': '4' }],
  'a request that is not set is nothing': [() => render(resource('open', 'requests.memory')), { 'f 644': '0' }],
  'a trust bundle, each certificate once': [() => render(trust({ name: 'one' })), { 'ca 644': certificate('a') }],
  'the trust bundles of a signer that are wanted': [
    () => render(trust({ signerName: 'signer.test/ca', labelSelector: { matchLabels: { tier: 'new' } } })),
    { 'ca 644': certificate('a') },
  ],
  'all trust bundles of a signer': [
    () => render(trust({ signerName: 'signer.test/ca', labelSelector: {} })),
    { 'ca 644': certificate('a') },
  ],
  'trust bundles of a signer without a selector are none': [
    () => render(trust({ signerName: 'signer.test/ca' })),
    'combination of signerName and labelSelector matched zero ClusterTrustBundles',
  ],
  'a trust bundle that is missing': [() => render(trust({ name: 'no' })), 'clustertrustbundle "no" not found'],
  'an optional trust bundle that is missing is an empty file': [
    () => render(trust({ name: 'no', optional: true })),
    { 'ca 644': '' },
  ],
  'a trust bundle of a pod with one user is for that user': [
    () => render(trust({ name: 'one' }), { securityContext: { runAsUser: 9 } }),
    { 'ca 600 9': certificate('a') },
  ],
  'an unknown container': [() => render(resource('who', 'limits.cpu')), 'container who not found'],
  'an unknown resource': [() => render(resource('c', 'limits.gpu')), 'unsupported container resource : limits.gpu'],
};

for (const [sentence, [actual, expected]] of Object.entries(cases)) {
  test(sentence, () => assert.deepEqual(actual(), expected));
}
