import type { Container, Pod, ResourceList, ResourceRequirements } from '../api/core-v1.ts';
import { goJson } from '../kuberuntime/container-hash.ts';

/** What an event tells of a resize: the resources in question as JSON, spelled as upstream spells it. */
export function resizeMessage(what: string, pod: Pod, generation: number, error?: string): string {
  const summary = {
    ...(pod.spec.resources ? { resources: inOrder(pod.spec.resources) } : {}),
    ...(pod.spec.initContainers?.length ? { initContainers: pod.spec.initContainers.map(named) } : {}),
    containers: pod.spec.containers.map(named),
    generation,
    ...(error ? { error } : {}),
  };
  return `${what}: ${goJson(summary)}`;
}

const named = ({ name, resources = {} }: Container) => ({ name, resources: inOrder(resources) });

const inOrder = ({ limits, requests }: ResourceRequirements): ResourceRequirements => ({
  ...(limits ? { limits: sorted(limits) } : {}),
  ...(requests ? { requests: sorted(requests) } : {}),
});

const sorted = (list: ResourceList): ResourceList =>
  Object.fromEntries(Object.entries(list).toSorted(([a], [b]) => (a < b ? -1 : 1)));
