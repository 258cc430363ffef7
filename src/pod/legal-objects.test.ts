import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KubeObject } from '../api/meta-v1.ts';
import { readObject } from '../kubeapi/read-object.ts';
import * as kinds from '../kubeapi/resources.ts';
import { apiPodSchema } from './api-pod-schema.ts';

/*
 * What an API server may send, of this version or another. One of these left out would be a pod that does not run, or
 * a node without its settings, for no reason.
 */

type Kind = kinds.Resource<KubeObject>;

const largest = JSON.parse('9223372036854775807') as number;
const time = '2026-11-21T02:08:04Z';
const home = { namespace: 'd', uid: 'f3b9f0f2-55f0-4d3e-8f0a-111111111111', resourceVersion: '18446744073709551615' };
const container = { name: 'c', image: 'i' };
const pod = (spec: object, status: unknown = {}, metadata: object = {}) => ({
  metadata: { name: 'web.7f-x', ...home, ...metadata },
  spec: { containers: [container], ...spec },
  status,
});
const withContainer = (more: object) => pod({ containers: [{ ...container, ...more }] });
const named = (name: string, more: object = {}) => ({ metadata: { ...home, name }, ...more });

const probe = { terminationGracePeriodSeconds: largest, httpGet: { port: 'http', httpHeaders: null } };
const running = { state: { running: { startedAt: time } }, lastState: {}, ready: true, restartCount: 0, image: '' };
const later = { oneMore: { of: ['anything', null, 1.5] } };

const podTable: Record<string, unknown> = {
  'for ever, written as the largest number': pod({
    terminationGracePeriodSeconds: largest,
    activeDeadlineSeconds: 2_147_483_647,
    tolerations: [{ operator: 'Exists', effect: 'NoExecute', tolerationSeconds: largest }],
    containers: [{ ...container, livenessProbe: probe, lifecycle: { preStop: { sleep: { seconds: largest } } } }],
  }),
  'being deleted, with the largest grace': pod(
    {},
    {},
    { deletionTimestamp: time, deletionGracePeriodSeconds: largest },
  ),
  'tolerated for less than no time': pod({ tolerations: [{ key: 'k', tolerationSeconds: -largest }] }),
  'negative grace': pod({ terminationGracePeriodSeconds: -1 }, {}, { deletionGracePeriodSeconds: -1 }),
  'no generation, and a UID of its own form': pod({}, {}, { uid: 'web-0' }),
  'null for lists, maps and times': pod(
    { volumes: null, initContainers: null, tolerations: null, nodeSelector: null, securityContext: null },
    { conditions: null, containerStatuses: null, podIPs: null, startTime: null, hostIPs: null },
    { creationTimestamp: null, labels: null, ownerReferences: null, finalizers: null, managedFields: null },
  ),
  'no status': pod({}, null),
  'empty texts': pod(
    { nodeName: '', hostname: '', tolerations: [{ key: '', operator: '', value: '', effect: '' }] },
    { phase: '', podIP: '', message: '', containerStatuses: [{ name: 'c', containerID: '', image: '', imageID: '' }] },
    { generateName: '', resourceVersion: '' },
  ),
  'ports and paths by name and by number': withContainer({
    ports: [{ containerPort: 80 }, { containerPort: 65_535, hostPort: 0, protocol: 'SCTP', hostIP: '::' }],
    readinessProbe: { tcpSocket: { port: 80 }, failureThreshold: 2_147_483_647 },
    startupProbe: { grpc: { port: 9000, service: null } },
  }),
  'quantities in all spellings': withContainer({
    resources: {
      requests: { cpu: 1, memory: 1e9, 'hugepages-2Mi': '0', 'example.com/gpu': '1e3' },
      limits: { cpu: 0.5, memory: '1.5Gi', 'ephemeral-storage': '12E', pods: '+5' },
      claims: [{ name: 'gpu' }],
    },
  }),
  'what Windows needs': pod({
    os: { name: 'windows' },
    securityContext: { windowsOptions: { gmsaCredentialSpec: 'x', hostProcess: true, runAsUserName: 'a\\b' } },
  }),
  'resized in place, as 1.33 and as 1.36 report it': pod(
    {},
    {
      resize: 'Infeasible',
      observedGeneration: 7,
      allocatedResources: { cpu: '1' },
      resources: { requests: { cpu: '1' } },
      conditions: [{ type: 'PodResizePending', status: 'Unknown', observedGeneration: 7, lastProbeTime: null }],
      containerStatuses: [{ name: 'c', ...running, allocatedResources: { cpu: 1 }, resources: {}, stopSignal: 'SIGX' }],
      extendedResourceClaimStatus: { requestMappings: [], resourceClaimName: 'x' },
      resourceClaimStatuses: [{ name: 'a', resourceClaimName: null }],
    },
  ),
  'a mirror pod': pod(
    { nodeName: 'n', tolerations: [{ effect: 'NoExecute', operator: 'Exists' }] },
    {},
    {
      annotations: { 'kubernetes.io/config.mirror': 'x', 'kubernetes.io/config.hash': '' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'n', uid: 'u', controller: true }],
    },
  ),
  'written by many': pod(
    {},
    {},
    { managedFields: [{ manager: 'm', time, fieldsV1: { 'f:a': { '.': {}, 'k:{"b":null}': null } } }] },
  ),
  'fields and words of a later version': pod(
    {
      ...later,
      dnsPolicy: 'Later',
      restartPolicy: 'Later',
      tolerations: [{ operator: 'Later', ...later }],
      volumes: [{ name: 'v', laterSource: later }],
      containers: [{ ...container, ...later, securityContext: { procMount: 'Later', ...later } }],
      ephemeralContainers: [{ ...container, name: 'debug', targetContainerName: 'c', ...later }],
    },
    { ...later, containerStatuses: [{ name: 'c', ...running, ...later }] },
    later,
  ),
};

const signer = `${'a.'.repeat(120)}example:${'b.'.repeat(120)}b`;
const objectTable: Record<string, readonly [Kind, unknown]> = {
  'a Secret with the longest name': [
    kinds.secrets,
    named('s'.repeat(253), { data: { 'a.b_C-d': 'AAEC', e: '' }, type: '' }),
  ],
  'a Secret without data': [kinds.secrets, named('s', { data: null, stringData: null, immutable: null })],
  'a ConfigMap with bytes and a proto key': [
    kinds.configMaps,
    JSON.parse(
      '{"metadata":{"name":"kube-root-ca.crt","namespace":"d"},"data":{"__proto__":""},"binaryData":{"a":"/w=="}}',
    ),
  ],
  'a Node with dots in its name and numbers for quantities': [
    kinds.nodes,
    {
      metadata: { name: 'ip-10-0-0-1.ec2.internal', annotations: {} },
      spec: { podCIDR: '', taints: [{ key: 'k', effect: 'Later', timeAdded: null }], providerID: 'x:///y', ...later },
      status: {
        capacity: { cpu: 4, memory: '16Gi', pods: '110', 'attachable-volumes-csi-x': '39' },
        conditions: [{ type: 'Ready', status: 'Later', lastHeartbeatTime: null }],
        addresses: null,
        images: null,
        nodeInfo: { swap: { capacity: largest }, ...later },
        ...later,
      },
    },
  ],
  'a Node that has not reported yet': [
    kinds.nodes,
    { metadata: { name: 'n', generation: largest }, spec: {}, status: null },
  ],
  'a volume of a plug-in of old': [
    kinds.persistentVolumes,
    {
      metadata: { name: 'pvc-1.x' },
      spec: { capacity: { storage: 5e9 }, glusterfs: {}, claimRef: { uid: null }, hostPath: { path: '/', type: null } },
    },
  ],
  'a claim that is not bound': [
    kinds.persistentVolumeClaims,
    named('data-web-0', {
      spec: { accessModes: null, resources: {}, volumeMode: 'Later' },
      status: { phase: 'Pending' },
    }),
  ],
  'a RuntimeClass': [
    kinds.runtimeClasses,
    { metadata: { name: 'kata.v2' }, handler: 'k', overhead: null, scheduling: null },
  ],
  'a bundle of a signer with long names': [
    kinds.clusterTrustBundles,
    {
      metadata: { name: `${signer}:${'c.'.repeat(120)}c` },
      spec: { signerName: signer.replace(':', '/'), trustBundle: '' },
    },
  ],
  'a Lease with microseconds': [kinds.leases, named('n', { spec: { renewTime: '2026-11-21T02:08:04.000000Z' } })],
};

for (const [sentence, value] of Object.entries(podTable)) {
  test(`a pod is taken: ${sentence}`, () => {
    assert.deepEqual(readObject(kinds.pods, value, apiPodSchema).faults, []);
  });
}

for (const [sentence, [resource, value]] of Object.entries(objectTable)) {
  test(`taken: ${sentence}`, () => {
    assert.deepEqual(readObject(resource, value).faults, []);
  });
}
