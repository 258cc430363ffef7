import type { Pod, QosClass } from '../api/core-v1.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { qosClass } from '../api/pod.ts';
import type { CgroupName } from '../host/cgroups.ts';

/**
 * Where pods' cgroups lie: <cgroupRoot>/kubepods, with a cgroup below it for each of the two lower QoS classes.
 * Guaranteed pods are directly below kubepods.
 */

/** `cgroupRoot` is the kubelet's option of that name: '' or '/' is the root. */
export function podsRootName(cgroupRoot: string): CgroupName {
  return [...cgroupRoot.split('/').filter(Boolean), 'kubepods'];
}

export function qosCgroupName(qos: QosClass, cgroupRoot: string): CgroupName {
  const root = podsRootName(cgroupRoot);
  return qos === 'Guaranteed' ? root : [...root, qos.toLowerCase()];
}

/** The pod's own cgroup. A running pod's QoS class does not change, so its status wins over a computation. */
export function podCgroupName(pod: Pod, cgroupRoot: string): CgroupName {
  return [...qosCgroupName(pod.status?.qosClass ?? qosClass(pod), cgroupRoot), `pod${pod.metadata.uid ?? ''}`];
}

/** The UID in the last component of a pod's cgroup, or undefined when it is none. */
export function podUidOf(component: string): PodUid | undefined {
  return component.startsWith('pod') && component.length > 3 ? podUid(component.slice(3)) : undefined;
}
