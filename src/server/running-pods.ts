import type { Pod } from '../api/core-v1.ts';
import type { Container, PodSandbox } from '../api/cri.ts';

/** The runtime's view as pods that hold names and images, and nothing else, by namespace and name. */
export function computeRunningPods(sandboxes: readonly PodSandbox[], containers: readonly Container[]): Pod[] {
  const pods = sandboxes.map(({ id, metadata }) => ({
    metadata: { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '', uid: metadata?.uid ?? '' },
    spec: {
      containers: containers
        .filter((container) => container.podSandboxId === id)
        .map(({ metadata, image }) => ({ name: metadata?.name ?? '', image: image?.image ?? '', resources: {} })),
    },
    status: {},
  }));
  const key = (pod: Pod) => `${pod.metadata.namespace}/${pod.metadata.name}`;
  return pods.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
