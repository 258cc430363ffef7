import type { ContainerStatus, Pod, ResourceRequirements } from '../api/core-v1.ts';
import { conditionReason, podCondition } from '../api/reasons.ts';
import type { ResizeView } from '../workers/pod-resizes.ts';
import type { ConditionVerdict } from './generate-conditions.ts';

/** What is to be said of a resize that waits, or that is being carried out; nothing when there is none. */
export function resizeConditions({ pending, inProgress }: ResizeView): ConditionVerdict[] {
  const verdicts: ConditionVerdict[] = [];
  if (pending) {
    const { reason, message, generation } = pending;
    verdicts.push({
      type: podCondition.resizePending,
      status: 'True',
      reason,
      message,
      observedGeneration: generation,
    });
  }
  if (inProgress) {
    const { generation, error } = inProgress;
    verdicts.push({
      type: podCondition.resizeInProgress,
      status: 'True',
      ...(error ? { reason: conditionReason.error, message: error } : {}),
      observedGeneration: generation,
    });
  }
  return verdicts;
}

export const isResizeCondition = ({ type }: { readonly type: string }): boolean =>
  type === podCondition.resizePending || type === podCondition.resizeInProgress;

/** The pod as if it had been granted what its containers have now. */
export function podAsItIs(pod: Pod, statuses: readonly ContainerStatus[]): Pod {
  const actual = new Map(statuses.map((s) => [s.name, s.resources]));
  const withActual = <C extends { readonly name: string; readonly resources?: ResourceRequirements }>(
    container: C,
  ): C => {
    const resources = actual.get(container.name);
    return resources ? { ...container, resources } : container;
  };
  const { containers, initContainers } = pod.spec;
  const spec = {
    ...pod.spec,
    containers: containers.map(withActual),
    ...(initContainers ? { initContainers: initContainers.map(withActual) } : {}),
  };
  return { ...pod, spec };
}
