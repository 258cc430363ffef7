import { randomUUID } from 'node:crypto';
import type { User } from './authentication.ts';
import type { ServiceRanges } from './defaults-service.ts';
import { Deletion } from './deletion.ts';
import { apiVersionOf, BINDINGS, NAMESPACES, PODS, type ResourceKind } from './kinds.ts';
import { restrictNode } from './node-restriction.ts';
import {
  type ApiObject,
  canonical,
  type DraftObject,
  fieldsAt,
  isFields,
  type ObjectMeta,
  randomSuffix,
  sameJson,
  stringAt,
  timestamp,
  valueAt,
} from './objects.ts';
import { applyPatch, type PatchType } from './patch.ts';
import { alreadyExists, badRequest, conflict, forbidden, invalid, notFound } from './status.ts';
import type { Store } from './store.ts';
import { applyDefaults, prepareForCreate, prepareForUpdate } from './strategies.ts';
import { invalidValue, problemsOf, updateProblems } from './validation.ts';

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

/**
 * What the API server does to objects: creation, update, patch, deletion, with the checks and the
 * side effects of each. Synchronous, so every call is one transaction. `user` is who asks; without
 * one (a test calling in the same process) nothing is refused for want of rights.
 */
export class Registry {
  readonly store: Store;
  readonly #ranges: ServiceRanges;
  readonly #deletion: Deletion;

  constructor(store: Store, ranges: ServiceRanges) {
    this.store = store;
    this.#ranges = ranges;
    this.#deletion = new Deletion(store);
  }

  get(kind: ResourceKind, namespace: string | undefined, name: string): ApiObject {
    const found = this.store.get(kind, namespace, name);
    if (!found) throw notFound(kind, name);
    return found;
  }

  create(kind: ResourceKind, namespace: string | undefined, draft: DraftObject, user?: User): ApiObject {
    const object = this.#newObject(kind, namespace, draft);
    if (kind.namespaced) this.#requireNamespace(kind, object);
    restrictNode(user, this.store, { verb: 'create', kind, subresource: '', object });
    const context = { store: this.store, user, ranges: this.#ranges };
    const early = problemsOf(kind, withDefaults(kind, object));
    if (early.length > 0) throw invalid(kind, object.metadata.name, early);
    if (this.store.get(kind, object.metadata.namespace, object.metadata.name)) {
      throw alreadyExists(kind, object.metadata.name);
    }
    prepareForCreate(kind, object, context);
    return this.store.put(kind, object);
  }

  /** PUT to the object or to a subresource that takes the whole object. */
  update(
    kind: ResourceKind,
    namespace: string | undefined,
    name: string,
    draft: DraftObject,
    options: { readonly subresource?: string; readonly user?: User | undefined } = {},
  ): ApiObject {
    const current = this.get(kind, namespace, name);
    const wanted = this.#checkedBody(kind, namespace, draft, name);
    const { uid, resourceVersion } = wanted.metadata;
    if (uid && uid !== current.metadata.uid) {
      throw conflict(
        kind,
        name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`,
      );
    }
    if (!resourceVersion && !kind.unconditionalUpdate) {
      throw invalid(kind, name, [invalidValue('metadata.resourceVersion', 0, 'must be specified for an update')]);
    }
    if (resourceVersion && resourceVersion !== current.metadata.resourceVersion) throw conflict(kind, name);
    return this.#replace(kind, wanted, current, options.subresource ?? '', options.user);
  }

  patch(
    kind: ResourceKind,
    namespace: string | undefined,
    name: string,
    patch: { readonly type: PatchType; readonly body: unknown },
    options: { readonly subresource?: string; readonly user?: User | undefined } = {},
  ): ApiObject {
    const current = this.get(kind, namespace, name);
    const wanted = applyPatch(kind, current, patch.type, patch.body);
    const { uid, resourceVersion } = wanted.metadata;
    if (resourceVersion !== current.metadata.resourceVersion) throw conflict(kind, name);
    // An API server reports a foreign UID in a patch as an attempt to change it, not as a conflict.
    if (uid !== current.metadata.uid) {
      throw invalid(kind, name, [invalidValue('metadata.uid', uid, 'field is immutable')]);
    }
    if (wanted.metadata.name !== name) {
      throw badRequest(`the name of the object (${wanted.metadata.name}) does not match the name on the URL (${name})`);
    }
    return this.#replace(kind, wanted, current, options.subresource ?? '', options.user);
  }

  /** Deletes, or begins to: the object as it is now and whether it is gone. */
  delete(
    kind: ResourceKind,
    namespace: string | undefined,
    name: string,
    options: DeleteOptions = {},
    user?: User,
  ): { readonly object: ApiObject; readonly gone: boolean } {
    const current = this.get(kind, namespace, name);
    restrictNode(user, this.store, { verb: 'delete', kind, subresource: '', object: current });
    const { uid, resourceVersion } = options.preconditions ?? {};
    if (uid !== undefined && uid !== current.metadata.uid) {
      throw conflict(
        kind,
        name,
        `the UID in the precondition (${uid}) does not match the UID in record (${current.metadata.uid}). ` +
          'The object might have been deleted and then recreated',
      );
    }
    if (resourceVersion !== undefined && resourceVersion !== current.metadata.resourceVersion) {
      throw conflict(
        kind,
        name,
        `the ResourceVersion in the precondition (${resourceVersion}) does not match the ResourceVersion in record ` +
          `(${current.metadata.resourceVersion}). The object might have been modified`,
      );
    }
    return this.#deletion.delete(kind, current, options.gracePeriodSeconds);
  }

  /** What a scheduler does: sets the node of a pod that has none. */
  bind(namespace: string, name: string, binding: DraftObject): void {
    const pod = this.get(PODS, namespace, name);
    const object = { ...binding, metadata: { ...binding.metadata, name, namespace } } as ApiObject;
    const problems = problemsOf(BINDINGS, object);
    if (problems.length > 0) throw invalid(BINDINGS, name, problems);
    if (pod.metadata.deletionTimestamp) {
      throw conflict(PODS, name, `pod ${name} is being deleted, cannot be assigned to a host`);
    }
    const bound = stringAt(pod, 'spec.nodeName');
    if (bound) throw conflict(PODS, name, `pod ${name} is already assigned to node "${bound}"`);
    const next = structuredClone(pod);
    fieldsAt(next, 'spec')['nodeName'] = stringAt(binding, 'target.name');
    const status = fieldsAt(next, 'status');
    const conditions = Array.isArray(status['conditions']) ? status['conditions'] : [];
    const scheduled = { type: 'PodScheduled', status: 'True', lastProbeTime: null, lastTransitionTime: timestamp() };
    status['conditions'] = [
      ...conditions.filter((condition) => !isFields(condition) || condition['type'] !== 'PodScheduled'),
      scheduled,
    ];
    this.store.put(PODS, next);
  }

  #replace(
    kind: ResourceKind,
    wanted: ApiObject,
    current: ApiObject,
    subresource: string,
    user: User | undefined,
  ): ApiObject {
    const updated = prepareForUpdate(kind, wanted, current, subresource);
    restrictNode(user, this.store, { verb: 'update', kind, subresource, object: updated, current });
    const { name } = current.metadata;
    const problems = [
      ...(subresource === 'status' ? [] : problemsOf(kind, updated)),
      ...updateProblems(kind, updated, current, subresource || 'main'),
    ];
    if (problems.length > 0) throw invalid(kind, name, problems);
    if (canonical(updated) === canonical(current)) return current;
    if (kind.generation && !sameJson(bodyOf(updated), bodyOf(current))) {
      updated.metadata.generation = (current.metadata.generation ?? 0) + 1;
    }
    this.store.put(kind, updated);
    this.#deletion.finishIfReleased(kind, updated);
    return updated;
  }

  #newObject(kind: ResourceKind, namespace: string | undefined, draft: DraftObject): ApiObject {
    const object = this.#checkedBody(kind, namespace, draft);
    const { labels, annotations, ownerReferences, finalizers, generateName } = object.metadata;
    if (object.metadata.resourceVersion) throw badRequest('resourceVersion should not be set on objects to be created');
    const name = object.metadata.name || (generateName ? `${generateName}${randomSuffix()}` : '');
    const metadata: ObjectMeta = {
      name,
      ...(generateName ? { generateName } : {}),
      ...(kind.namespaced && namespace !== undefined ? { namespace } : {}),
      uid: randomUUID(),
      resourceVersion: '',
      ...(kind.generation ? { generation: 1 } : {}),
      creationTimestamp: timestamp(),
      ...(labels ? { labels } : {}),
      ...(annotations ? { annotations } : {}),
      ...(ownerReferences ? { ownerReferences } : {}),
      ...(finalizers ? { finalizers } : {}),
    };
    return { ...object, metadata };
  }

  /** A body of the right kind, namespace and name, as a copy that may be changed. */
  #checkedBody(kind: ResourceKind, namespace: string | undefined, draft: DraftObject, name?: string): ApiObject {
    const apiVersion = apiVersionOf(kind);
    const found = [draft.kind ?? kind.kind, draft.apiVersion ?? apiVersion];
    if (found[0] !== kind.kind || found[1] !== apiVersion) {
      throw badRequest(
        `${found[0]} in version "${found[1]}" cannot be handled as a ${kind.kind}: ` +
          `no kind "${found[0]}" is registered for version "${found[1]}" here`,
      );
    }
    const metadata = isFields(draft.metadata) ? draft.metadata : {};
    const inBody = metadata['namespace'];
    if (kind.namespaced && inBody !== undefined && inBody !== namespace) {
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
    }
    if (name !== undefined && metadata['name'] !== undefined && metadata['name'] !== name) {
      throw badRequest(`the name of the object (${metadata['name']}) does not match the name on the URL (${name})`);
    }
    const copy = structuredClone({ ...draft, metadata });
    return {
      ...copy,
      kind: kind.kind,
      apiVersion,
      metadata: { name: name ?? '', ...copy.metadata } as ObjectMeta,
    };
  }

  #requireNamespace(kind: ResourceKind, object: ApiObject): void {
    const name = object.metadata.namespace ?? '';
    const namespace = this.store.get(NAMESPACES, undefined, name);
    if (!namespace) throw notFound(NAMESPACES, name);
    if (valueAt(namespace, 'status.phase') === 'Terminating') {
      throw forbidden(
        kind,
        object.metadata.name,
        `unable to create new content in namespace ${name} because it is being terminated`,
      );
    }
  }
}

/** The object as validation shall see it, without touching it. */
function withDefaults(kind: ResourceKind, object: ApiObject): ApiObject {
  const copy = structuredClone(object);
  applyDefaults(kind, copy);
  return copy;
}

/** What metadata.generation counts: everything but metadata and status. */
function bodyOf(object: ApiObject): Record<string, unknown> {
  const { metadata: _, status: __, ...body } = object;
  return body;
}
