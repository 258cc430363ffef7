import type { User } from './authentication.ts';
import { nodeNameOf } from './authorization.ts';
import { isMirrorPod } from './defaults-pod.ts';
import { CSI_NODES, LEASES, NODES, PODS, type ResourceKind, SERVICE_ACCOUNTS } from './kinds.ts';
import { referencesOf } from './node-authorizer.ts';
import { type ApiObject, type DraftObject, stringAt } from './objects.ts';
import { forbidden } from './status.ts';
import type { Store } from './store.ts';

export interface Write {
  readonly verb: 'create' | 'update' | 'delete';
  readonly kind: ResourceKind;
  readonly subresource: string;
  /** The object as it shall be; for a deletion the one that goes. */
  readonly object: ApiObject;
  readonly current?: ApiObject;
}

/**
 * The admission plugin NodeRestriction: what a node may write beyond what the authoriser can tell
 * from the request line. Throws 403 as the plugin does; any other user passes.
 */
export function restrictNode(user: User | undefined, store: Store, write: Write): void {
  const node = user && nodeNameOf(user);
  if (node === undefined) return;
  const { kind, object } = write;
  const refuse = (why: string): never => {
    throw forbidden(kind, object.metadata.name, why);
  };
  switch (kind) {
    case PODS:
      restrictPod(node, store, write, refuse);
      return;
    case NODES:
      if (object.metadata.name !== node)
        refuse(`node "${node}" is not allowed to modify node "${object.metadata.name}"`);
      if (write.verb === 'create' && object.spec?.['configSource'])
        refuse(`node "${node}" is not allowed to set configSource`);
      restrictNodeLabels(node, write, refuse);
      return;
    case LEASES:
      if (object.metadata.namespace !== 'kube-node-lease') {
        refuse(`can only access leases in the "kube-node-lease" system namespace`);
      }
      if (object.metadata.name !== node) refuse('can only access node lease with the same name as the requesting node');
      return;
    case CSI_NODES:
      if (object.metadata.name !== node) refuse('can only access CSINode with the same name as the requesting node');
      return;
    default:
  }
}

function restrictPod(node: string, store: Store, write: Write, refuse: (why: string) => never): void {
  const { object, subresource, verb } = write;
  const bound = stringAt(object, 'spec.nodeName');
  if (subresource === 'status' || subresource === 'eviction' || verb === 'delete') {
    const what = verb === 'delete' ? 'delete' : subresource === 'eviction' ? 'evict' : 'update status for';
    if (bound !== node) {
      refuse(
        verb === 'delete'
          ? `node "${node}" can only delete pods with spec.nodeName set to itself`
          : `node "${node}" can only ${what} pods with spec.nodeName set to itself`,
      );
    }
    if (subresource === 'status' && !sameLabels(object, write.current)) {
      refuse(`node "${node}" cannot update labels through pod status`);
    }
    return;
  }
  if (verb !== 'create') refuse(`node "${node}" can only update pods through their status`);
  if (!isMirrorPod(object)) {
    refuse(`pod does not have "kubernetes.io/config.mirror" annotation, node "${node}" can only create mirror pods`);
  }
  if (bound !== node) refuse(`node "${node}" can only create pods with spec.nodeName set to itself`);
  const owners = object.metadata.ownerReferences ?? [];
  const [owner] = owners;
  if (owners.length !== 1 || owner?.kind !== 'Node' || owner.name !== node) {
    refuse(`node "${node}" can only create pods with an owner reference set to itself`);
  }
  if (owner && owner.uid !== store.get(NODES, undefined, node)?.metadata.uid) {
    refuse(
      `node ${node} UID mismatch: expected ${owner.uid} got ${store.get(NODES, undefined, node)?.metadata.uid ?? ''}`,
    );
  }
  if (stringAt(object, 'spec.serviceAccountName')) {
    refuse(`node "${node}" can not create pods that reference a service account`);
  }
  for (const what of ['secrets', 'configmaps', 'persistentvolumeclaims'] as const) {
    if (referencesOf(object)[what].size > 0) refuse(`node "${node}" can not create pods that reference ${what}`);
  }
}

const sameLabels = (a: ApiObject, b: ApiObject | undefined): boolean =>
  JSON.stringify(Object.entries(a.metadata.labels ?? {}).sort()) ===
  JSON.stringify(Object.entries(b?.metadata.labels ?? {}).sort());

/** Labels under kubernetes.io that a node may set on itself. */
const OWN_LABELS = [
  'kubernetes.io/hostname',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
  'beta.kubernetes.io/instance-type',
  'node.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.kubernetes.io/region',
  'failure-domain.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
];

function restrictNodeLabels(node: string, write: Write, refuse: (why: string) => never): void {
  const [now, before] = [write.object.metadata.labels ?? {}, write.current?.metadata.labels ?? {}];
  const changed = [...new Set([...Object.keys(now), ...Object.keys(before)])].filter((key) => now[key] !== before[key]);
  const forbiddenLabels = changed.filter((key) => {
    const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
    const reserved = /(^|\.)(kubernetes\.io|k8s\.io)$/.test(domain);
    const free = /(^|\.)(kubelet|node)\.kubernetes\.io$/.test(domain) && domain !== 'node-restriction.kubernetes.io';
    return reserved && !free && !OWN_LABELS.includes(key);
  });
  if (forbiddenLabels.length > 0) {
    refuse(`is not allowed to modify labels: ${forbiddenLabels.sort().join(', ')}`);
  }
  const [taints, tainted] = [write.object.spec?.['taints'], write.current?.spec?.['taints']];
  if (write.verb === 'update' && JSON.stringify(taints) !== JSON.stringify(tainted)) {
    refuse(`node "${node}" is not allowed to modify taints`);
  }
}

/** A node gets tokens only for a service account of a pod that runs on it, bound to that pod. */
export function restrictTokenRequest(
  user: User | undefined,
  store: Store,
  namespace: string,
  account: string,
  request: DraftObject,
): void {
  const node = user && nodeNameOf(user);
  if (node === undefined) return;
  const refuse = (why: string): never => {
    throw forbidden(SERVICE_ACCOUNTS, account, why);
  };
  if (stringAt(request, 'spec.boundObjectRef.kind') !== 'Pod') refuse('node requested token not bound to a pod');
  const uid = stringAt(request, 'spec.boundObjectRef.uid');
  if (!uid) refuse('node requested token with a pod binding without a uid');
  const pod = store.get(PODS, namespace, stringAt(request, 'spec.boundObjectRef.name'));
  if (!pod) refuse('pod not found');
  if (pod && uid !== pod.metadata.uid) {
    refuse(
      `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  }
  if (stringAt(pod, 'spec.nodeName') !== node)
    refuse('node requested token bound to a pod scheduled on a different node');
}
