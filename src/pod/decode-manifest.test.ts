import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { isStaticPod } from '../api/pod.ts';
import { decodeManifest } from './decode-manifest.ts';

const origin = { file: '/m/a.yaml', nodeName: 'Node-1', seenAt: Date.UTC(2026, 0, 2) };
const decode = (text: string, more = {}) => decodeManifest(text, { ...origin, ...more });
const pod = (spec: string, metadata = 'name: web') =>
  `apiVersion: v1\nkind: Pod\nmetadata: {${metadata}}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;
const good = pod('containers: [{name: a, image: busybox}]');

/** 'line:column path: message' of every problem; ignored ones in brackets. */
const said = (text: string) =>
  decode(text).problems.map((p) => {
    const line = `${p.line}:${p.column} ${p.path}: ${p.message}${p.hint ? ` (${p.hint})` : ''}`;
    return p.severity === 'ignored' ? `[${line}]` : line;
  });

const onlyPod = (text: string, more = {}): Pod => {
  const { objects, problems } = decode(text, more);
  assert.deepEqual(problems, []);
  const first = objects[0];
  assert.ok(first?.kind === 'Pod' && objects.length === 1);
  return first.object;
};

test('a pod gets its defaults and the identity of a static pod', () => {
  const { metadata, spec } = onlyPod(good);
  assert.equal(metadata.name, 'web-node-1');
  assert.equal(metadata.namespace, 'default');
  assert.match(metadata.uid ?? '', /^[0-9a-f]{32}$/);
  assert.deepEqual(metadata.annotations, {
    'kubernetes.io/config.hash': metadata.uid,
    'kubernetes.io/config.seen': '2026-01-02T00:00:00Z',
    'kubernetes.io/config.source': 'file',
  });
  assert.equal(spec.nodeName, 'Node-1');
  assert.equal(spec.restartPolicy, 'Always');
  assert.deepEqual(spec.tolerations, [{ operator: 'Exists', effect: 'NoExecute' }]);
  assert.equal(isStaticPod(onlyPod(good)), true);
});

test("a pod's UID hangs on node, file and content, and on nothing else", () => {
  const uid = (text: string, more = {}) => onlyPod(text, more).metadata.uid;
  const same = uid(good);
  assert.equal(uid(good, { seenAt: 5 }), same);
  assert.equal(uid(`# a comment\n${good}`), same);
  assert.equal(uid(`kind: Pod\napiVersion: v1\n${good.split('\n').slice(2).join('\n')}`), same);
  assert.notEqual(uid(good.replace('busybox', 'nginx')), same);
  assert.notEqual(uid(good, { file: '/m/b.yaml' }), same);
  assert.notEqual(uid(good, { nodeName: 'node-2' }), same);
  assert.equal(uid(pod('containers: [{name: a, image: busybox}]', 'name: web, uid: my-own')), 'my-own');
});

test('every recorded manifest is good, as YAML and as JSON', () => {
  const folder = new URL('../../test/golden/pods/', import.meta.url);
  for (const name of readdirSync(folder)) {
    const { manifest } = JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
    onlyPod(JSON.stringify(manifest));
    onlyPod(JSON.stringify(manifest, null, '\t'));
  }
});

test('documents, lists and the other kinds', () => {
  const text = `${good}---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: prod}, data: {k: v}}
- {apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: v}, data: {b: eA==}}
---
apiVersion: v1
kind: ServiceList
items:
- metadata: {name: web}
  spec: {clusterIP: 10.96.0.10, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
`;
  const { objects, problems } = decode(text);
  assert.deepEqual(problems, []);
  assert.deepEqual(
    objects.map((o) => [o.kind, o.object.metadata.namespace, o.line]),
    [
      ['Pod', 'default', 1],
      ['ConfigMap', 'prod', 10],
      ['Secret', 'default', 11],
      ['Service', 'default', 16],
    ],
  );
  const [, , secret, service] = objects;
  assert.deepEqual(secret?.kind === 'Secret' && secret.object.data, { b: 'eA==', k: 'dg==' });
  assert.deepEqual(service?.object, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      type: 'ClusterIP',
      sessionAffinity: 'None',
      internalTrafficPolicy: 'Cluster',
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      clusterIP: '10.96.0.10',
      clusterIPs: ['10.96.0.10'],
      selector: { app: 'web' },
      ports: [{ protocol: 'TCP', port: 80, targetPort: 'http' }],
    },
  });
});

test('what is wrong with one document does not hold up the next', () => {
  const { objects, problems } = decode(`a: [\n---\n${good}---\nkind: Pdo\n`);
  assert.equal(objects.length, 1);
  assert.equal(problems.length, 2);
});

test('problems have line, column, path and the words of the API', () => {
  const table: Record<string, [string, string[]]> = {
    nothing: ['', ['undefined:undefined : holds no object']],
    'a tab': [
      'kind: Pod\nspec:\n\tcontainers: []\n',
      ['3:1 : a tab is used for indentation, which YAML does not allow (indent with spaces)'],
    ],
    'a key twice': [`${good}kind: Pod\n`, ['6:1 : the key "kind" is given twice, first in line 2']],
    'no object': ['- 1\n', ['1:1 : [1] is not an object with apiVersion and kind']],
    'an unknown kind': [
      'apiVersion: v1\nkind: pod\n',
      ['2:7 kind: "pod" is not one of Pod, Service, ConfigMap, Secret, List (did you mean Pod?)'],
    ],
    'a Deployment': [
      'apiVersion: apps/v1\nkind: Deployment\n',
      ['2:7 kind: "Deployment" is not one of Pod, Service, ConfigMap, Secret, List'],
    ],
    'another version': ['apiVersion: v2\nkind: Pod\n', ['1:13 apiVersion: "v2" is not v1, the version of Pod']],
    'no spec and no name': [
      'apiVersion: v1\nkind: Pod\n',
      ['1:1 metadata.name: Required value', '1:1 spec.containers: Required value'],
    ],
    'wrong types': [
      pod('containers: {name: a}\nhostNetwork: "yes"'),
      ['5:15 spec.containers: {"name":"a"} is not a list', '6:16 spec.hostNetwork: "yes" is not true or false'],
    ],
    'an unquoted number in the environment, which is not shown': [
      pod('containers: [{name: a, image: b, env: [{name: P, value: 12345}]}]'),
      ['5:59 spec.containers[0].env[0].value: is not a string (write it in quotes)'],
    ],
    'an unknown field': [
      pod('containers: [{name: a, image: b, commands: [x]}]'),
      ['[5:36 spec.containers[0].commands: no such key (did you mean command?)]'],
    ],
    'containers without name and image, and with the same name': [
      pod('containers:\n- {image: b}\n- {name: a}\n- {name: a, image: " b"}\n- {name: A_, image: b}'),
      [
        '6:5 spec.containers[0].name: Required value',
        '7:5 spec.containers[1].image: Required value',
        '8:12 spec.containers[2].name: Duplicate value: "a"',
        '8:22 spec.containers[2].image: Invalid value: " b": must not have leading or trailing whitespace',
        '9:12 spec.containers[3].name: Invalid value: "A_": a name has at most 63 lower-case letters, digits and dashes, and begins and ends with a letter or digit',
      ],
    ],
    volumes: [
      pod(
        'volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}, {name: v}, {name: h, hostPath: {path: /a/../b}}]\ncontainers: [{name: a, image: b, volumeMounts: [{name: x, mountPath: /x}, {name: v, mountPath: /x, subPath: ../y}]}]',
      ),
      [
        '5:47 spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type',
        '5:67 spec.volumes[1].name: Duplicate value: "v"',
        '5:98 spec.volumes[2].hostPath.path: Invalid value: "/a/../b": must not contain \'..\'',
        '6:58 spec.containers[0].volumeMounts[0].name: Not found: "x"',
        '6:98 spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique',
        '6:111 spec.containers[0].volumeMounts[1].subPath: Invalid value: "../y": must be a relative path without ".."',
      ],
    ],
    'variables from files': [
      pod(
        'volumes: [{name: v, emptyDir: {}}, {name: h, hostPath: {path: /x}}]\ncontainers: [{name: a, image: b, env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: f, key: k}}}, {name: B, valueFrom: {fileKeyRef: {volumeName: h, path: ../f, key: k}}}, {name: C, valueFrom: {fileKeyRef: {volumeName: x, path: f, key: k}}}]}]',
      ),
      [
        '6:159 spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: Invalid value: "h": must be the name of an emptyDir',
        '6:168 spec.containers[0].env[1].valueFrom.fileKeyRef.path: Invalid value: "../f": must be a relative path without ".."',
        '6:232 spec.containers[0].env[2].valueFrom.fileKeyRef.volumeName: Not found: "x"',
      ],
    ],
    ports: [
      pod(
        'hostNetwork: true\ncontainers: [{name: a, image: b, ports: [{containerPort: 0}, {containerPort: 80, hostPort: 81, name: UP}, {containerPort: 80}, {containerPort: 80}]}]',
      ),
      [
        '6:60 spec.containers[0].ports[0].containerPort: Invalid value: 0: must be between 1 and 65535, inclusive',
        '6:94 spec.containers[0].ports[1].hostPort: Invalid value: 81: must match containerPort when hostNetwork is true',
        '6:104 spec.containers[0].ports[1].name: Invalid value: "UP": must be at most 15 lower-case letters, digits and single dashes, with a letter among them',
        '6:130 spec.containers[0].ports[3].hostPort: Duplicate value: "TCP/0.0.0.0/80"',
      ],
    ],
    'more is asked for than is allowed': [
      pod('containers: [{name: a, image: b, resources: {requests: {cpu: "2", memory: -1}, limits: {cpu: "1"}}}]'),
      [
        '5:77 spec.containers[0].resources.requests.memory: Invalid value: -1: must be greater than or equal to 0',
        '5:64 spec.containers[0].resources.requests.cpu: Invalid value: "2": must be less than or equal to cpu limit of 1',
      ],
    ],
    'confinement that would not confine': [
      pod(
        'securityContext: {sysctls: [{name: net.a, value: "1"}, {name: net/a, value: "2"}, {name: A, value: "3"}], appArmorProfile: {type: Localhost}}\ncontainers: [{name: a, image: b, securityContext: {procMount: Unmasked, seccompProfile: {type: Localhost, localhostProfile: ../a}}}]',
      ),
      [
        '6:127 spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: "../a": must be a relative path without ".."',
        '6:65 spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`',
        '5:126 spec.securityContext.appArmorProfile.localhostProfile: Required value',
        '5:65 spec.securityContext.sysctls[1].name: Duplicate value: "net/a"',
        '5:92 spec.securityContext.sysctls[2].name: Invalid value: "A": a kernel parameter such as net.core.somaxconn',
      ],
    ],
    'a host name that nothing can be called': [
      pod('hostnameOverride: A_\nhostNetwork: true\nsetHostnameAsFQDN: true\ncontainers: [{name: a, image: b}]'),
      [
        '5:21 spec.hostnameOverride: Invalid value: "A_": at most 64 lower-case letters, digits, dashes and dots between names',
        '5:21 spec.hostnameOverride: Forbidden: when `setHostnameAsFQDN` is true',
        '5:21 spec.hostnameOverride: Forbidden: when `hostNetwork` is true',
      ],
    ],
    'a probe without, and one with two handlers': [
      pod(
        'containers: [{name: a, image: b, livenessProbe: {periodSeconds: 1}, readinessProbe: {exec: {command: [x]}, tcpSocket: {port: 1}}}]',
      ),
      [
        '5:51 spec.containers[0].livenessProbe: Required value: must specify a handler type',
        '5:121 spec.containers[0].readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type',
      ],
    ],
    'a Service without an address': [
      'apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}, {port: 80}]}\n',
      [
        '4:7 spec.clusterIP: Required value: without an API server nobody hands out addresses; choose one, such as 10.96.0.10, or None',
        '4:16 spec.ports[0].name: Required value',
        '4:28 spec.ports[1].name: Required value',
        '4:28 spec.ports[1]: Duplicate value: "TCP/80"',
      ],
    ],
    'a Secret, whose values are not shown': [
      'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: 12345}\n',
      ['4:11 data.a: is not a string (write it in quotes)'],
    ],
    'a Secret that is not base64': [
      'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: "p@ss"}\n',
      ['4:11 data.a: Invalid value: is not base64'],
    ],
  };
  for (const [sentence, [text, expected]] of Object.entries(table)) assert.deepEqual(said(text), expected, sentence);
});

/** What keelson looks into has to have its shape: it reads it with every look at the pod. */
const misshapen: Record<string, readonly [inContainer: string, inSpec: string]> = {
  'a restart rule that is nothing': ['restartPolicyRules: [null]', ''],
  'a restart rule with an unknown action': ['restartPolicyRules: [{action: Explode}]', ''],
  'exit codes that are no list': ['restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: 3}}]', ''],
  'an affinity that is a word': ['', 'affinity: here'],
  'a term that is nothing': ['', nodeTerms('[null]')],
  'an unknown operator': ['', nodeTerms('[{matchExpressions: [{key: a, operator: Near}]}]')],
};

function nodeTerms(terms: string): string {
  return `affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: ${terms}}}}`;
}

for (const [what, [inContainer, inSpec]] of Object.entries(misshapen)) {
  test(`${what} is refused`, () => {
    const { objects, problems } = decode(pod(`containers: [{name: a, image: busybox, ${inContainer}}]\n${inSpec}`));
    assert.deepEqual([objects.length, problems.map((p) => p.severity)], [0, ['refused']]);
  });
}

test('a rule and an affinity that are right are kept', () => {
  const rules =
    'restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]';
  const terms = nodeTerms('[{matchExpressions: [{key: a, operator: In, values: [b]}]}]');
  const { spec } = onlyPod(pod(`containers: [{name: a, image: busybox, ${rules}}]\n${terms}`));
  assert.deepEqual(spec.containers[0]?.restartPolicyRules, [
    { action: 'Restart', exitCodes: { operator: 'In', values: [42] } },
  ]);
  assert.ok(spec.affinity?.nodeAffinity);
});
