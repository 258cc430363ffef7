import type { Pod } from '../api/core-v1.ts';
import { ContainerState, PodSandboxState } from '../api/cri.ts';
import type { RuntimeService } from '../cri/services.ts';
import { answerJson } from './answer.ts';
import type { Endpoint } from './endpoint.ts';
import { computeRunningPods } from './running-pods.ts';

export interface PodsEndpointsInput {
  /** What should be here, each with its newest status. */
  readonly pods: () => Iterable<Pod>;
  readonly runtime: Pick<RuntimeService, 'listPodSandbox' | 'listContainers'>;
}

/** `/pods`: what should run here. */
export function podsEndpoint({ pods }: Pick<PodsEndpointsInput, 'pods'>): Endpoint {
  return {
    path: '/pods',
    methods: ['GET'],
    handle: async (_request, response) => answerJson(response, podList(pods())),
  };
}

/** `/runningpods/`: what the runtime says that runs here. */
export function runningPodsEndpoint({ runtime }: Pick<PodsEndpointsInput, 'runtime'>): Endpoint {
  return {
    path: '/runningpods/',
    methods: ['GET'],
    handle: async ({ signal }, response) => {
      const [sandboxes, containers] = await Promise.all([
        runtime.listPodSandbox({ state: { state: PodSandboxState.SANDBOX_READY } }, signal),
        runtime.listContainers({ state: { state: ContainerState.CONTAINER_RUNNING } }, signal),
      ]);
      answerJson(response, podList(computeRunningPods(sandboxes, containers)));
    },
  };
}

/** Items of a list do not say what they are. */
function podList(pods: Iterable<Pod>): string {
  const items = [...pods].map(({ apiVersion: _, kind: __, ...pod }) => pod);
  return JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items });
}
