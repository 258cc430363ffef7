import type { ContainerStatus, Pod, PodStatus } from '../api/core-v1.ts';
import { isSidecar } from '../api/pod.ts';

/** One word for how a pod fares, by the rules of kubectl's STATUS column. */
export function statusWord(pod: Pod, status: PodStatus, stopping: boolean): string {
  if (stopping && status.phase !== 'Failed' && status.phase !== 'Succeeded') return 'Terminating';
  const init = initWord(pod, status);
  const initialized = status.conditions?.some((c) => c.type === 'Initialized' && c.status === 'True') === true;
  if (init !== undefined && !initialized) return init;
  const phase = status.reason || status.phase || 'Unknown';
  const statuses = status.containerStatuses ?? [];
  // The first container with something to say counts.
  const word = statuses.map(containerWord).find((w) => w !== undefined) ?? phase;
  const runs = statuses.some((s) => s.state?.running);
  if (word !== 'Completed' || !runs) return word;
  return status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ? 'Running' : 'NotReady';
}

function containerWord({ state }: ContainerStatus): string | undefined {
  if (state?.waiting?.reason) return state.waiting.reason;
  if (!state?.terminated) return undefined;
  const { reason, exitCode } = state.terminated;
  return reason || `ExitCode:${exitCode}`;
}

/** Which init container the pod is at, or what is wrong with it. */
function initWord(pod: Pod, status: PodStatus): string | undefined {
  const all = pod.spec.initContainers ?? [];
  for (const [index, container] of all.entries()) {
    const its = status.initContainerStatuses?.find((s) => s.name === container.name);
    if (isSidecar(container) ? its?.started : its?.state?.terminated?.exitCode === 0) continue;
    const word = its ? containerWord(its) : undefined;
    return `Init:${word && word !== 'PodInitializing' ? word : `${index}/${all.length}`}`;
  }
  return undefined;
}
