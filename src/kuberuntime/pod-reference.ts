import type { ObjectReference, Pod } from '../api/core-v1.ts';
import { containersOf } from '../api/pod.ts';

/** How events point at a pod. */
export function podReference(pod: Pod): ObjectReference {
  const { name, namespace = 'default', uid = '', resourceVersion } = pod.metadata;
  return { apiVersion: 'v1', kind: 'Pod', name, namespace, uid, ...(resourceVersion ? { resourceVersion } : {}) };
}

/** How events point at one of its containers. */
export function containerReference(pod: Pod, container: string): ObjectReference {
  const known = containersOf(pod).find((c) => c.container.name === container);
  return { ...podReference(pod), fieldPath: known?.fieldPath ?? `spec.containers{${container}}` };
}
