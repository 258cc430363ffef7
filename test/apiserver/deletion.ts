import { NAMESPACES, PODS, type ResourceKind } from './kinds.ts';
import { type ApiObject, stringAt, timestamp, valueAt } from './objects.ts';
import type { Store } from './store.ts';

/** How objects go: pods gracefully, what has finalizers when they are removed, the rest at once. */
export class Deletion {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  delete(kind: ResourceKind, current: ApiObject, asked: number | undefined): { object: ApiObject; gone: boolean } {
    if (kind === PODS) return this.#deletePod(current, asked);
    const held = kind === NAMESPACES || (current.metadata.finalizers ?? []).length > 0;
    if (!held) return { object: this.#remove(kind, current), gone: true };
    if (current.metadata.deletionTimestamp) return { object: current, gone: false };
    const object = marked(current, 0);
    if (kind === NAMESPACES) {
      delete object.metadata.deletionGracePeriodSeconds;
      object.status = { ...object.status, phase: 'Terminating' };
    }
    return { object: this.#store.put(kind, object), gone: false };
  }

  /** Removes an object whose deletion only waited for its last finalizer. */
  finishIfReleased(kind: ResourceKind, object: ApiObject): void {
    const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = object.metadata;
    if (!deletionTimestamp || deletionGracePeriodSeconds > 0 || finalizers.length > 0 || kind === NAMESPACES) return;
    this.#remove(kind, object);
  }

  /** The grace period may only shrink; with none left the pod goes, after one last MODIFIED that says so. */
  #deletePod(pod: ApiObject, asked: number | undefined): { object: ApiObject; gone: boolean } {
    const running = pod.metadata.deletionGracePeriodSeconds;
    const grace = graceOf(pod, asked);
    if (pod.metadata.deletionTimestamp && running !== undefined) {
      if (asked === undefined || grace >= running) return { object: pod, gone: false };
    }
    const object = marked(pod, grace);
    if (!pod.metadata.deletionTimestamp) object.metadata.generation = (pod.metadata.generation ?? 0) + 1;
    this.#store.put(PODS, object);
    if (grace > 0 || (object.metadata.finalizers ?? []).length > 0) return { object, gone: false };
    return { object: this.#remove(PODS, object), gone: true };
  }

  #remove(kind: ResourceKind, object: ApiObject): ApiObject {
    return this.#store.remove(kind, object.metadata.namespace, object.metadata.name) ?? object;
  }
}

/** A pod that no node has, or that has ended, needs no time. */
function graceOf(pod: ApiObject, asked: number | undefined): number {
  if (!stringAt(pod, 'spec.nodeName') || ['Succeeded', 'Failed'].includes(stringAt(pod, 'status.phase'))) return 0;
  const own = valueAt(pod, 'spec.terminationGracePeriodSeconds');
  const grace = asked ?? (typeof own === 'number' ? own : 30);
  return grace < 0 ? 1 : grace;
}

function marked(object: ApiObject, graceSeconds: number): ApiObject {
  const copy = structuredClone(object);
  copy.metadata.deletionTimestamp = timestamp(Date.now() + graceSeconds * 1000);
  copy.metadata.deletionGracePeriodSeconds = graceSeconds;
  return copy;
}
