import { type ApiObject, type Fields, fieldsAt, isFields, listAt, setDefault } from './objects.ts';

/** Fills in what the API server does for a pod spec that leaves things open (core/v1 defaults). */
export function defaultPodSpec(spec: Fields): void {
  setDefault(spec, 'restartPolicy', 'Always');
  setDefault(spec, 'terminationGracePeriodSeconds', 30);
  setDefault(spec, 'dnsPolicy', 'ClusterFirst');
  setDefault(spec, 'securityContext', {});
  setDefault(spec, 'schedulerName', 'default-scheduler');
  setDefault(spec, 'enableServiceLinks', true);
  const hostNetwork = spec['hostNetwork'] === true;
  for (const container of listAt(spec, 'initContainers')) defaultContainer(container, hostNetwork);
  for (const container of listAt(spec, 'containers')) defaultContainer(container, hostNetwork);
  for (const container of listAt(spec, 'ephemeralContainers')) defaultContainer(container, hostNetwork);
  for (const volume of listAt(spec, 'volumes')) defaultVolume(volume);
}

function defaultContainer(container: Fields, hostNetwork: boolean): void {
  setDefault(container, 'terminationMessagePath', '/dev/termination-log');
  setDefault(container, 'terminationMessagePolicy', 'File');
  setDefault(container, 'imagePullPolicy', pullPolicyOf(`${container['image'] ?? ''}`));
  const resources = fieldsAt(container, 'resources');
  if (isFields(resources['limits'])) {
    const requests = fieldsAt(resources, 'requests');
    for (const [name, quantity] of Object.entries(resources['limits'])) setDefault(requests, name, quantity);
  }
  for (const port of listAt(container, 'ports')) {
    setDefault(port, 'protocol', 'TCP');
    if (hostNetwork) setDefault(port, 'hostPort', port['containerPort']);
  }
  for (const variable of listAt(container, 'env')) {
    const source = variable['valueFrom'];
    if (isFields(source) && isFields(source['fieldRef'])) setDefault(source['fieldRef'], 'apiVersion', 'v1');
    if (isFields(source) && isFields(source['resourceFieldRef']))
      setDefault(source['resourceFieldRef'], 'divisor', '0');
  }
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const probe = container[name];
    if (isFields(probe)) defaultProbe(probe);
  }
  for (const hook of Object.values(isFields(container['lifecycle']) ? container['lifecycle'] : {})) {
    if (isFields(hook)) defaultHttpGet(hook);
  }
}

/** An image without a tag, or with `latest`, is pulled every time. */
function pullPolicyOf(image: string): string {
  const name = image.slice(image.lastIndexOf('/') + 1);
  if (name.includes('@')) return 'IfNotPresent';
  const tag = name.split(':')[1];
  return tag === undefined || tag === 'latest' ? 'Always' : 'IfNotPresent';
}

function defaultProbe(probe: Fields): void {
  setDefault(probe, 'timeoutSeconds', 1);
  setDefault(probe, 'periodSeconds', 10);
  setDefault(probe, 'successThreshold', 1);
  setDefault(probe, 'failureThreshold', 3);
  defaultHttpGet(probe);
  if (isFields(probe['grpc'])) setDefault(probe['grpc'], 'service', '');
}

function defaultHttpGet(handler: Fields): void {
  if (!isFields(handler['httpGet'])) return;
  setDefault(handler['httpGet'], 'path', '/');
  setDefault(handler['httpGet'], 'scheme', 'HTTP');
}

const MODE = 0o644;

function defaultVolume(volume: Fields): void {
  if (Object.keys(volume).every((key) => key === 'name')) volume['emptyDir'] = {};
  for (const source of ['configMap', 'secret', 'downwardAPI', 'projected']) {
    if (isFields(volume[source])) setDefault(volume[source], 'defaultMode', MODE);
  }
  if (isFields(volume['hostPath'])) setDefault(volume['hostPath'], 'type', '');
  if (isFields(volume['downwardAPI'])) defaultDownward(volume['downwardAPI']);
  for (const source of isFields(volume['projected']) ? listAt(volume['projected'], 'sources') : []) {
    if (isFields(source['downwardAPI'])) defaultDownward(source['downwardAPI']);
    if (isFields(source['serviceAccountToken'])) setDefault(source['serviceAccountToken'], 'expirationSeconds', 3600);
  }
}

function defaultDownward(source: Fields): void {
  for (const item of listAt(source, 'items')) {
    if (isFields(item['fieldRef'])) setDefault(item['fieldRef'], 'apiVersion', 'v1');
    if (isFields(item['resourceFieldRef'])) setDefault(item['resourceFieldRef'], 'divisor', '0');
  }
}

/** The quality-of-service class: of all containers' CPU and memory. */
export function qosClassOf(spec: Fields): 'Guaranteed' | 'Burstable' | 'BestEffort' {
  let any = false;
  let guaranteed = true;
  for (const container of [...listAt(spec, 'initContainers'), ...listAt(spec, 'containers')]) {
    const resources = fieldsAt(container, 'resources');
    const requests = isFields(resources['requests']) ? resources['requests'] : {};
    const limits = isFields(resources['limits']) ? resources['limits'] : {};
    for (const name of ['cpu', 'memory']) {
      if (!isZero(requests[name]) || !isZero(limits[name])) any = true;
      if (isZero(limits[name]) || `${requests[name]}` !== `${limits[name]}`) guaranteed = false;
    }
  }
  return any ? (guaranteed ? 'Guaranteed' : 'Burstable') : 'BestEffort';
}

const isZero = (quantity: unknown): boolean =>
  quantity === undefined || quantity === null || /^0+(\.0*)?[a-zA-Z]*$/.test(`${quantity}`);

/** The two priority classes every cluster has. */
const PRIORITIES: Readonly<Record<string, number>> = {
  'system-node-critical': 2_000_001_000,
  'system-cluster-critical': 2_000_000_000,
};
const NODE_PROBLEMS = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];

/**
 * What the stock admission plugins add to a pod: service account, priority, tolerations of the two
 * node problems for five minutes. A mirror pod gets no service account.
 */
export function admitPod(pod: ApiObject, automount: boolean, suffix: string): void {
  const spec = fieldsAt(pod, 'spec');
  if (!isMirrorPod(pod)) {
    setDefault(spec, 'serviceAccountName', 'default');
    spec['serviceAccount'] = spec['serviceAccountName'];
    if (automount) mountServiceAccount(spec, suffix);
  }
  setDefault(spec, 'priority', PRIORITIES[`${spec['priorityClassName'] ?? ''}`] ?? 0);
  setDefault(spec, 'preemptionPolicy', 'PreemptLowerPriority');
  const tolerations = listAt(spec, 'tolerations');
  for (const key of NODE_PROBLEMS) {
    if (tolerations.some((t) => tolerates(t, key))) continue;
    tolerations.push({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 });
  }
  spec['tolerations'] = tolerations;
}

const tolerates = (toleration: Fields, key: string): boolean =>
  (!toleration['key'] || toleration['key'] === key) && (!toleration['effect'] || toleration['effect'] === 'NoExecute');

export const isMirrorPod = (pod: ApiObject): boolean =>
  pod.metadata.annotations?.['kubernetes.io/config.mirror'] !== undefined;

const ACCOUNT_PATH = '/var/run/secrets/kubernetes.io/serviceaccount';

function mountServiceAccount(spec: Fields, suffix: string): void {
  const name = `kube-api-access-${suffix}`;
  let mounted = false;
  for (const container of [...listAt(spec, 'initContainers'), ...listAt(spec, 'containers')]) {
    const mounts = listAt(container, 'volumeMounts');
    if (mounts.some((mount) => mount['mountPath'] === ACCOUNT_PATH)) continue;
    container['volumeMounts'] = [...mounts, { name, readOnly: true, mountPath: ACCOUNT_PATH }];
    mounted = true;
  }
  if (!mounted) return;
  spec['volumes'] = [
    ...listAt(spec, 'volumes'),
    {
      name,
      projected: {
        sources: [
          { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
          { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
          {
            downwardAPI: {
              items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
            },
          },
        ],
        defaultMode: MODE,
      },
    },
  ];
}
