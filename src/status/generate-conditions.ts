import type { ContainerStatus, Pod, PodCondition, PodPhase } from '../api/core-v1.ts';
import { conditionReason, podCondition } from '../api/reasons.ts';

/** A condition without its times: what it says, not since when. */
export type ConditionVerdict = Pick<PodCondition, 'type' | 'status' | 'reason' | 'message'>;

interface Statuses {
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
}

/** The conditions that the node owns, in the order in which kubelet writes them. */
export function generateConditions(
  pod: Pod,
  statuses: Statuses,
  phase: PodPhase,
  sandboxReady: boolean,
  previous: readonly PodCondition[],
): ConditionVerdict[] {
  const containersReady = containersReadyVerdict(pod, statuses, phase);
  return [
    { type: podCondition.readyToStartContainers, status: sandboxReady ? 'True' : 'False' },
    initializedVerdict(pod, statuses, phase),
    readyVerdict(pod, containersReady, previous),
    { ...containersReady, type: podCondition.containersReady },
    { type: podCondition.scheduled, status: 'True' },
  ];
}

function initializedVerdict(pod: Pod, statuses: Statuses, phase: PodPhase): ConditionVerdict {
  const type = podCondition.initialized;
  if (phase === 'Succeeded') return { type, status: 'True', reason: conditionReason.podCompleted };
  const init = pod.spec.initContainers ?? [];
  const byName = new Map(statuses.init.map((s) => [s.name, s]));
  const unknown = init.filter((c) => !byName.has(c.name)).map((c) => c.name);
  const incomplete = init.filter((c) => {
    const status = byName.get(c.name);
    return status !== undefined && !(c.restartPolicy === 'Always' ? status.started : status.ready);
  });
  // A container that has started proves that initialisation was over, whatever became of the init containers since.
  const proven = statuses.regular.some((s) => s.state?.running || s.state?.terminated || s.lastState?.terminated);
  if (proven || (unknown.length === 0 && incomplete.length === 0)) return { type, status: 'True' };
  return {
    type,
    status: 'False',
    reason: phase === 'Failed' ? conditionReason.podFailed : conditionReason.containersNotInitialized,
    message: `containers with incomplete status: ${goList(incomplete.map((c) => c.name))}`,
  };
}

function containersReadyVerdict(pod: Pod, statuses: Statuses, phase: PodPhase): ConditionVerdict {
  const type = podCondition.containersReady;
  if (phase === 'Succeeded') return { type, status: 'False', reason: conditionReason.podCompleted };
  if (phase === 'Failed') return { type, status: 'False', reason: conditionReason.podFailed };
  const sidecars = (pod.spec.initContainers ?? []).filter((c) => c.restartPolicy === 'Always').map((c) => c.name);
  const all = [...statuses.init.filter((s) => sidecars.includes(s.name)), ...statuses.regular];
  const unready = all.filter((s) => !s.ready).map((s) => s.name);
  if (unready.length === 0) return { type, status: 'True' };
  const message = `containers with unready status: ${goList(unready)}`;
  return { type, status: 'False', reason: conditionReason.containersNotReady, message };
}

/** Ready is ContainersReady and every readiness gate that the pod names (KEP-580). */
function readyVerdict(
  pod: Pod,
  containersReady: ConditionVerdict,
  previous: readonly PodCondition[],
): ConditionVerdict {
  const type = podCondition.ready;
  if (containersReady.status !== 'True') return { ...containersReady, type };
  const problems = (pod.spec.readinessGates ?? []).flatMap(({ conditionType }) => {
    const status = previous.find((c) => c.type === conditionType)?.status;
    if (status === 'True') return [];
    return status === undefined
      ? [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`]
      : [`the status of pod readiness gate "${conditionType}" is not "True", but ${status}`];
  });
  if (problems.length === 0) return { type, status: 'True' };
  return { type, status: 'False', reason: conditionReason.readinessGatesNotReady, message: problems.join(', ') };
}

/** A list as Go prints it: [a b]. */
const goList = (names: readonly string[]): string => `[${names.join(' ')}]`;
