import type { ResourceAttributes, Verdict } from './authorization.ts';
import { PERSISTENT_VOLUMES, PODS } from './kinds.ts';
import { type ApiObject, type Fields, isFields, listAt, stringAt } from './objects.ts';
import type { Store } from './store.ts';

const READ = ['get', 'list', 'watch'];
const allow: Verdict = { allowed: true, reason: '' };
const deny = (reason = ''): Verdict => ({ allowed: false, reason });

/** What a node may do whatever the object: group/resource → verbs. */
const PLAIN: Readonly<Record<string, readonly string[]>> = {
  '/services': READ,
  '/events': ['create', 'update', 'patch'],
  '/nodes': ['create', 'update', 'patch'],
  '/nodes/status': ['update', 'patch'],
  '/pods': ['create', 'delete'],
  '/pods/status': ['update', 'patch'],
  '/pods/eviction': ['create'],
  'storage.k8s.io/csidrivers': READ,
  'storage.k8s.io/volumeattachments': ['get'],
  'node.k8s.io/runtimeclasses': READ,
  'certificates.k8s.io/certificatesigningrequests': ['create', ...READ],
  'certificates.k8s.io/clustertrustbundles': READ,
  'authentication.k8s.io/tokenreviews': ['create'],
  'authorization.k8s.io/subjectaccessreviews': ['create'],
  'authorization.k8s.io/localsubjectaccessreviews': ['create'],
};

/**
 * The node authoriser of a stock control plane with field selectors taken into account (the state
 * since 1.34): a node sees itself, the pods bound to it, and what those pods refer to.
 */
export function decideForNode(store: Store, node: string, attributes: ResourceAttributes): Verdict {
  const { group, resource, subresource, verb, name, namespace } = attributes;
  const key = `${group}/${resource}${subresource ? `/${subresource}` : ''}`;
  if (PLAIN[key]?.includes(verb)) return allow;
  switch (key) {
    case '/nodes':
      if (!READ.includes(verb)) return deny();
      if (name === node) return allow;
      return deny(
        name
          ? `node '${node}' cannot read '${name}', only its own Node object`
          : `node '${node}' cannot read all nodes, only its own Node object`,
      );
    case '/pods':
      return decidePodRead(store, node, attributes);
    case '/secrets':
    case '/configmaps':
      if (!READ.includes(verb)) return deny('can only read resources of this type');
      if (!namespace) return deny('can only read namespaced object of this type');
      if (!name) return deny('No Object name found');
      return related(
        node,
        somePod(store, node, namespace, (pod) => referencesOf(pod)[resource as keyof References].has(name)),
      );
    case '/serviceaccounts':
      if (verb !== 'get') return deny('can only get individual resources of this type');
      return related(
        node,
        somePod(store, node, namespace, (pod) => stringAt(pod, 'spec.serviceAccountName') === name),
      );
    case '/persistentvolumeclaims':
    case '/persistentvolumes':
      if (verb !== 'get') return deny('can only get individual resources of this type');
      if (!name) return deny('No Object name found');
      return related(
        node,
        resource === 'persistentvolumes'
          ? isClaimedHere(store, node, name)
          : somePod(store, node, namespace, (pod) => referencesOf(pod).persistentvolumeclaims.has(name)),
      );
    case '/serviceaccounts/token':
      if (verb !== 'create') return deny('can only create tokens for individual service accounts');
      return related(
        node,
        somePod(store, node, namespace, (pod) => stringAt(pod, 'spec.serviceAccountName') === name),
      );
    case 'coordination.k8s.io/leases':
      if (!['get', 'create', 'update', 'patch', 'delete'].includes(verb)) {
        return deny('can only get, create, update, patch, or delete a node lease');
      }
      if (namespace !== 'kube-node-lease')
        return deny("can only access leases in the 'kube-node-lease' system namespace");
      return verb === 'create' || name === node
        ? allow
        : deny('can only access node lease with the same name as the requesting node');
    case 'storage.k8s.io/csinodes':
      if (!['get', 'create', 'update', 'patch', 'delete'].includes(verb)) {
        return deny('can only get, create, update, patch, or delete a CSINode');
      }
      return verb === 'create' || name === node
        ? allow
        : deny('can only access CSINode with the same name as the requesting node');
    default:
      return deny();
  }
}

function decidePodRead(store: Store, node: string, attributes: ResourceAttributes): Verdict {
  const { verb, name, namespace, fields = [] } = attributes;
  if (verb === 'get') {
    const pod = store.get(PODS, namespace, name);
    return related(node, pod !== undefined && stringAt(pod, 'spec.nodeName') === node);
  }
  if (verb !== 'list' && verb !== 'watch') return deny();
  const scoped = fields.some((f) => f.key === 'spec.nodeName' && f.operator === '=' && f.values[0] === node);
  return scoped ? allow : deny('can only list/watch pods with spec.nodeName field selector');
}

const related = (node: string, found: boolean): Verdict =>
  found ? allow : deny(`no relationship found between node '${node}' and this object`);

function somePod(store: Store, node: string, namespace: string, predicate: (pod: ApiObject) => boolean): boolean {
  for (const pod of store.values(PODS)) {
    if (pod.metadata.namespace !== namespace || stringAt(pod, 'spec.nodeName') !== node) continue;
    if (predicate(pod)) return true;
  }
  return false;
}

/** From the pod to its claim to the claim's volume, as far as that knows of the claim. */
function isClaimedHere(store: Store, node: string, name: string): boolean {
  const volume = store.get(PERSISTENT_VOLUMES, undefined, name);
  const namespace = stringAt(volume, 'spec.claimRef.namespace');
  const claim = stringAt(volume, 'spec.claimRef.name');
  if (!claim) return false;
  return somePod(store, node, namespace, (pod) => referencesOf(pod).persistentvolumeclaims.has(claim));
}

type References = Readonly<Record<'secrets' | 'configmaps' | 'persistentvolumeclaims', ReadonlySet<string>>>;

const references = new WeakMap<ApiObject, References>();

/** The names of the secrets, config maps and claims a pod refers to. */
export function referencesOf(pod: ApiObject): References {
  let found = references.get(pod);
  if (!found) {
    found = collect(pod);
    references.set(pod, found);
  }
  return found;
}

function collect(pod: ApiObject): References {
  const names = {
    secrets: new Set<string>(),
    configmaps: new Set<string>(),
    persistentvolumeclaims: new Set<string>(),
  };
  const add = (set: Set<string>, source: unknown, key: string) => {
    if (isFields(source) && typeof source[key] === 'string') set.add(source[key]);
  };
  const spec: Fields = pod.spec ?? {};
  for (const secret of listAt(spec, 'imagePullSecrets')) add(names.secrets, secret, 'name');
  for (const volume of listAt(spec, 'volumes')) {
    add(names.secrets, volume['secret'], 'secretName');
    add(names.configmaps, volume['configMap'], 'name');
    add(names.persistentvolumeclaims, volume['persistentVolumeClaim'], 'claimName');
    // The controller makes this claim, of this name.
    if (isFields(volume['ephemeral'])) names.persistentvolumeclaims.add(`${pod.metadata.name}-${volume['name']}`);
    for (const source of isFields(volume['projected']) ? listAt(volume['projected'], 'sources') : []) {
      add(names.secrets, source['secret'], 'name');
      add(names.configmaps, source['configMap'], 'name');
    }
  }
  for (const container of [...listAt(spec, 'initContainers'), ...listAt(spec, 'containers')]) {
    for (const source of listAt(container, 'envFrom')) {
      add(names.secrets, source['secretRef'], 'name');
      add(names.configmaps, source['configMapRef'], 'name');
    }
    for (const variable of listAt(container, 'env')) {
      const from = isFields(variable['valueFrom']) ? variable['valueFrom'] : {};
      add(names.secrets, from['secretKeyRef'], 'name');
      add(names.configmaps, from['configMapKeyRef'], 'name');
    }
  }
  return names;
}
