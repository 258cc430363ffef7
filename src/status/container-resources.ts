import type { Container, ContainerStatus, ResourceRequirements } from '../api/core-v1.ts';

/**
 * What a container has and what the node has granted it. The spec stands for both: what a resize leaves
 * different for a while belongs here, from `ObservedContainer.resources` and the pod's notes.
 */
export function containerResourceStatus(
  container: Container,
): Pick<ContainerStatus, 'resources' | 'allocatedResources'> {
  const { requests, limits } = container.resources ?? {};
  const resources: ResourceRequirements = { ...(limits ? { limits } : {}), ...(requests ? { requests } : {}) };
  return { resources, ...(requests ? { allocatedResources: requests } : {}) };
}
