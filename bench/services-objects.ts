import type { ApiObject } from '../test/apiserver/objects.ts';

/*
 * The objects of the services bench, in the size that a cluster of a hundred nodes has them: with labels, owners and
 * the managers of their fields. Services by number.
 */

export const endpointsPerService = 5;
export const podPort = 8080;
export const podRange = '10.128.0.0/9';
export const virtualRange = '10.96.0.0/12';

const namespaces = 50;
/** Addresses from here on are those of pods that come later. */
const laterPods = 2 ** 22;

const nameOf = (i: number): string => `shop-${i}-backend`;
const namespaceOf = (i: number): string => `team-${i % namespaces}`;
const address = (base: number, n: number): string => `${base + (n >>> 16)}.${(n >>> 8) & 255}.${n & 255}`;
const uidOf = (prefix: string, n: number): string => `${prefix}-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

export const virtualIp = (i: number): string => `10.${address(96, i + 256)}`;
/** A slice has other pods in round 1 than in round 0. */
const podIp = (i: number, round: number, k: number): string =>
  `10.${address(128, round * laterPods + i * endpointsPerService + k)}`;

export const podIps = (i: number, round: number): readonly string[] =>
  Array.from({ length: endpointsPerService }, (_, k) => podIp(i, round, k));

const managed = (manager: string, fields: object): object => ({
  ...{ manager, operation: 'Update', apiVersion: 'v1', time: '2026-11-21T08:00:00Z', fieldsType: 'FieldsV1' },
  fieldsV1: fields,
});

export function serviceObject(i: number): ApiObject {
  const name = nameOf(i);
  const f = {};
  return {
    kind: 'Service',
    apiVersion: 'v1',
    metadata: {
      ...{ name, namespace: namespaceOf(i), uid: uidOf('5e51ce00', i), resourceVersion: '' },
      creationTimestamp: '2026-11-21T08:00:00Z',
      labels: {
        'app.kubernetes.io/name': name,
        'app.kubernetes.io/instance': 'shop',
        'app.kubernetes.io/managed-by': 'Helm',
      },
      annotations: { 'meta.helm.sh/release-name': 'shop', 'meta.helm.sh/release-namespace': namespaceOf(i) },
      ...{
        managedFields: [
          managed('helm', {
            'f:metadata': { 'f:annotations': { '.': f }, 'f:labels': { '.': f, 'f:app.kubernetes.io/name': f } },
            'f:spec': { 'f:internalTrafficPolicy': f, 'f:ports': { '.': f }, 'f:selector': f, 'f:type': f },
          }),
        ],
      },
    },
    spec: {
      ...{ clusterIP: virtualIp(i), clusterIPs: [virtualIp(i)], type: 'ClusterIP', sessionAffinity: 'None' },
      ...{ ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack', internalTrafficPolicy: 'Cluster' },
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: podPort }],
      selector: { 'app.kubernetes.io/name': name, 'app.kubernetes.io/instance': 'shop' },
    },
    status: { loadBalancer: {} },
  };
}

export function sliceObject(i: number, round: number): ApiObject {
  const name = nameOf(i);
  const namespace = namespaceOf(i);
  const f = {};
  return {
    kind: 'EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    metadata: {
      ...{ name: `${name}-x7k2p`, generateName: `${name}-`, namespace, uid: uidOf('511ce000', i), resourceVersion: '' },
      ...{ generation: round + 1, creationTimestamp: '2026-11-21T08:00:00Z' },
      labels: {
        'app.kubernetes.io/name': name,
        'app.kubernetes.io/instance': 'shop',
        'app.kubernetes.io/managed-by': 'Helm',
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        'kubernetes.io/service-name': name,
      },
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-11-21T08:00:00Z' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Service', name, uid: uidOf('5e51ce00', i), controller: true }],
      ...{
        managedFields: [
          managed('kube-controller-manager', {
            'f:addressType': f,
            'f:endpoints': f,
            'f:metadata': { 'f:labels': { '.': f }, 'f:ownerReferences': { '.': f } },
            'f:ports': f,
          }),
        ],
      },
    },
    addressType: 'IPv4',
    endpoints: Array.from({ length: endpointsPerService }, (_, k) => {
      const n = i * endpointsPerService + k;
      return {
        addresses: [podIp(i, round, k)],
        conditions: { ready: true, serving: true, terminating: false },
        // One endpoint in a hundred is local.
        nodeName: `node-${n % 100}.cluster.internal`,
        zone: `zone-${n % 3}`,
        targetRef: {
          ...{ kind: 'Pod', namespace, name: `${name}-7d9c5b8f6d-${n.toString(36).padStart(5, '0')}` },
          uid: uidOf('900d0000', n),
        },
      };
    }),
    ports: [{ name: 'http', port: podPort, protocol: 'TCP' }],
  };
}
