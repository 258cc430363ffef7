import type { User } from './authentication.ts';
import { admitPod, defaultPodSpec, isMirrorPod, qosClassOf } from './defaults-pod.ts';
import { allocateService, defaultService, type ServiceRanges } from './defaults-service.ts';
import {
  CLUSTER_ROLE_BINDINGS,
  ENDPOINT_SLICES,
  LEASES,
  NAMESPACES,
  NODES,
  PODS,
  type ResourceKind,
  ROLE_BINDINGS,
  SECRETS,
  SERVICE_ACCOUNTS,
  SERVICES,
  SIGNING_REQUESTS,
} from './kinds.ts';
import {
  type ApiObject,
  type Fields,
  fieldsAt,
  isFields,
  listAt,
  randomSuffix,
  setDefault,
  stringAt,
} from './objects.ts';
import { forbidden } from './status.ts';
import type { Store } from './store.ts';

export interface StrategyContext {
  readonly store: Store;
  readonly user: User | undefined;
  readonly ranges: ServiceRanges;
}

/** Turns what a client sent into what is stored: defaults, admission, and a status of the server's own. */
export function prepareForCreate(kind: ResourceKind, object: ApiObject, context: StrategyContext): void {
  applyDefaults(kind, object);
  switch (kind) {
    case PODS:
      admitPod(object, automounts(object, context.store), randomSuffix());
      object.status = { phase: 'Pending', qosClass: qosClassOf(object.spec ?? {}) };
      return;
    case SERVICES:
      object.status = { loadBalancer: {} };
      allocateService(object, context.store, context.ranges);
      return;
    case NAMESPACES:
      object.metadata.labels = { ...object.metadata.labels, 'kubernetes.io/metadata.name': object.metadata.name };
      object.spec = { finalizers: ['kubernetes'] };
      object.status = { phase: 'Active' };
      return;
    case SIGNING_REQUESTS:
      Object.assign(fieldsAt(object, 'spec'), {
        username: context.user?.name ?? '',
        ...(context.user?.uid ? { uid: context.user.uid } : {}),
        groups: context.user?.groups ?? [],
        ...(context.user?.extra ? { extra: context.user.extra } : {}),
      });
      object.status = {};
      return;
    default:
  }
}

/** Whether the pod gets a token volume; refuses a pod whose service account does not exist. */
function automounts(pod: ApiObject, store: Store): boolean {
  if (isMirrorPod(pod)) return false;
  const name = stringAt(pod, 'spec.serviceAccountName') || 'default';
  const account = store.get(SERVICE_ACCOUNTS, pod.metadata.namespace, name);
  if (!account) {
    throw forbidden(
      PODS,
      pod.metadata.name,
      `error looking up service account ${pod.metadata.namespace}/${name}: serviceaccount "${name}" not found`,
    );
  }
  return pod.spec?.['automountServiceAccountToken'] !== undefined
    ? pod.spec['automountServiceAccountToken'] === true
    : account['automountServiceAccountToken'] !== false;
}

/** The defaults that apply to every write. */
export function applyDefaults(kind: ResourceKind, object: ApiObject): void {
  switch (kind) {
    case PODS:
      defaultPodSpec(fieldsAt(object, 'spec'));
      return;
    case SERVICES:
      defaultService(fieldsAt(object, 'spec'));
      return;
    case NODES:
      fieldsAt(object, 'spec');
      fieldsAt(object, 'status');
      return;
    case LEASES:
      fieldsAt(object, 'spec');
      return;
    case SECRETS:
      setDefault(object, 'type', 'Opaque');
      if (isFields(object['stringData'])) {
        const data = fieldsAt(object, 'data');
        for (const [key, text] of Object.entries(object['stringData'])) {
          data[key] = Buffer.from(String(text), 'utf8').toString('base64');
        }
        delete object['stringData'];
      }
      return;
    case CLUSTER_ROLE_BINDINGS:
    case ROLE_BINDINGS:
      for (const subject of listAt(object, 'subjects')) {
        if (subject['kind'] !== 'ServiceAccount') setDefault(subject, 'apiGroup', 'rbac.authorization.k8s.io');
      }
      setDefault(fieldsAt(object, 'roleRef'), 'apiGroup', 'rbac.authorization.k8s.io');
      return;
    case ENDPOINT_SLICES:
      for (const port of listAt(object, 'ports')) {
        setDefault(port, 'name', '');
        setDefault(port, 'protocol', 'TCP');
      }
      return;
    default:
  }
}

/** Which top-level fields a write to a subresource may change; metadata always travels along. */
const SUBRESOURCE_FIELDS: Readonly<Record<string, readonly string[]>> = {
  status: ['status'],
  approval: ['status'],
  finalize: ['spec'],
};

/** The current object with what the update is allowed to change taken from `wanted`. */
export function prepareForUpdate(
  kind: ResourceKind,
  wanted: ApiObject,
  current: ApiObject,
  subresource: string,
): ApiObject {
  const metadata = {
    ...wanted.metadata,
    name: current.metadata.name,
    uid: current.metadata.uid,
    creationTimestamp: current.metadata.creationTimestamp,
    resourceVersion: current.metadata.resourceVersion,
  };
  const kept = ['namespace', 'generateName', 'generation', 'deletionTimestamp', 'deletionGracePeriodSeconds'] as const;
  for (const key of kept) {
    delete metadata[key];
    if (current.metadata[key] !== undefined) Object.assign(metadata, { [key]: current.metadata[key] });
  }
  const identity = { kind: current.kind, apiVersion: current.apiVersion, metadata };
  if (subresource === 'ephemeralcontainers') {
    const spec = { ...current.spec, ephemeralContainers: wanted.spec?.['ephemeralContainers'] ?? [] };
    const updated: ApiObject = { ...current, spec: structuredClone(spec), ...identity };
    applyDefaults(kind, updated);
    return updated;
  }
  if (subresource === 'resize') {
    const updated: ApiObject = { ...current, spec: resized(current.spec ?? {}, wanted.spec ?? {}), ...identity };
    applyDefaults(kind, updated);
    return updated;
  }
  if (subresource) {
    const changed = (SUBRESOURCE_FIELDS[subresource] ?? []).map((key) => [key, wanted[key]]);
    const updated: ApiObject = { ...current, ...Object.fromEntries(changed), ...identity };
    if (kind === PODS) setDefault(fieldsAt(updated, 'status'), 'qosClass', current.status?.['qosClass']);
    return updated;
  }
  const updated: ApiObject = { ...wanted, ...identity };
  if ('status' in kind.subresources) {
    delete updated.status;
    if (current.status !== undefined) updated.status = current.status;
  }
  if (kind === SERVICES && updated.spec) keepAllocations(updated, current);
  applyDefaults(kind, updated);
  return updated;
}

/** Of a resize nothing is taken but resources. */
function resized(current: Fields, wanted: Fields): Fields {
  const spec = structuredClone(current);
  for (const list of ['containers', 'initContainers']) {
    for (const container of listAt(spec, list)) {
      const asked = listAt(wanted, list).find((c) => c['name'] === container['name']);
      if (asked?.['resources'] !== undefined) container['resources'] = structuredClone(asked['resources']);
    }
  }
  if (wanted['resources'] !== undefined) spec['resources'] = structuredClone(wanted['resources']);
  return spec;
}

/** A Service sent without its cluster IP and node ports keeps those it has. */
function keepAllocations(updated: ApiObject, current: ApiObject): void {
  const spec = fieldsAt(updated, 'spec');
  if (spec['type'] === 'ExternalName') return;
  for (const key of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy']) {
    if (current.spec?.[key] !== undefined) setDefault(spec, key, current.spec[key]);
  }
  if (spec['type'] !== 'NodePort' && spec['type'] !== 'LoadBalancer') return;
  const ports = listAt(current.spec, 'ports');
  for (const port of listAt(spec, 'ports')) {
    const same = ports.find((p) => p['port'] === port['port'] && p['protocol'] === (port['protocol'] ?? 'TCP'));
    if (same?.['nodePort'] !== undefined) setDefault(port, 'nodePort', same['nodePort']);
  }
}
