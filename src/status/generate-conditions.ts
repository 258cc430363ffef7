import type { ContainerStatus, Pod, PodCondition, PodPhase } from '../api/core-v1.ts';
import { isSidecar } from '../api/pod.ts';
import { conditionReason, podCondition } from '../api/reasons.ts';
import { resettable, restartsAllContainers } from '../kuberuntime/restart-rules.ts';
import type { ObservedPod } from '../pod/observed.ts';
import type { TerminationCause } from '../workers/worker-state.ts';
import { hasStarted } from './generate-phase.ts';

/** A condition without its times: what it says, not since when. */
export type ConditionVerdict = Pick<PodCondition, 'type' | 'status' | 'reason' | 'message' | 'observedGeneration'>;

interface Statuses {
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
}

const nodeConditions: ReadonlySet<string> = new Set([
  podCondition.readyToStartContainers,
  podCondition.initialized,
  podCondition.ready,
  podCondition.containersReady,
  podCondition.scheduled,
  podCondition.resizePending,
  podCondition.resizeInProgress,
  podCondition.allContainersRestarting,
]);

/** Whether the condition is the node's to write. DisruptionTarget belongs to whoever disrupts the pod. */
export const isNodeCondition = ({ type, reason }: PodCondition): boolean =>
  nodeConditions.has(type) ||
  (type === podCondition.disruptionTarget && reason === conditionReason.terminationByKubelet);

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

/**
 * That the node itself ended the pod, for pressure, pre-emption or its own shutdown; a deadline or a broken
 * promise of the pod's own is no disruption. Said when the pod has stopped, and for good.
 */
export function disruptionVerdict(
  cause: TerminationCause | undefined,
  previous: readonly PodCondition[],
): ConditionVerdict[] {
  const type = podCondition.disruptionTarget;
  const before = previous.find((c) => c.type === type && c.reason === conditionReason.terminationByKubelet);
  if (before) {
    const { status, reason = '', message = '' } = before;
    return [{ type, status, reason, message }];
  }
  const text = cause?.kind === 'evicted' ? disruptionMessage(cause.reason, cause.message) : undefined;
  if (text === undefined) return [];
  return [{ type, status: 'True', reason: conditionReason.terminationByKubelet, message: text }];
}

/** For pods with a rule that restarts all containers: whether that is under way (KEP-5532). */
export function restartingVerdict(pod: Pod, observed: ObservedPod | undefined, phase: PodPhase): ConditionVerdict[] {
  const rules = resettable(pod).flatMap((c) => (c.restartPolicy && c.restartPolicyRules) || []);
  if (!rules.some((rule) => rule.action === 'RestartAllContainers')) return [];
  const type = podCondition.allContainersRestarting;
  if (phase === 'Succeeded') return [{ type, status: 'False', reason: conditionReason.podCompleted }];
  if (phase === 'Failed') return [{ type, status: 'False', reason: conditionReason.podFailed }];
  if (!restartsAllContainers(pod, observed)) return [{ type, status: 'False' }];
  const message = 'container exited with restart policy rule';
  return [{ type, status: 'True', reason: conditionReason.restartAllContainersStarted, message }];
}

function disruptionMessage(reason: string, message: string): string | undefined {
  switch (reason) {
    case 'Evicted':
    case 'Terminated':
      return message;
    case 'Preempting':
      return 'Pod was preempted by Kubelet to accommodate a critical pod.';
    default:
      return undefined;
  }
}

function initializedVerdict(pod: Pod, statuses: Statuses, phase: PodPhase): ConditionVerdict {
  const type = podCondition.initialized;
  if (phase === 'Succeeded') return { type, status: 'True', reason: conditionReason.podCompleted };
  const incomplete = (pod.spec.initContainers ?? []).filter((c, index) => {
    const status = statuses.init[index];
    return !(isSidecar(c) ? status?.started : status?.ready);
  });
  if (hasStarted(statuses.regular) || incomplete.length === 0) return { type, status: 'True' };
  const message = `containers with incomplete status: ${goList(incomplete.map((c) => c.name))}`;
  return { type, status: 'False', reason: conditionReason.containersNotInitialized, message };
}

function containersReadyVerdict(pod: Pod, statuses: Statuses, phase: PodPhase): ConditionVerdict {
  const type = podCondition.containersReady;
  if (phase === 'Succeeded') return { type, status: 'False', reason: conditionReason.podCompleted };
  if (phase === 'Failed') return { type, status: 'False', reason: conditionReason.podFailed };
  const sidecars = (pod.spec.initContainers ?? []).filter(isSidecar).map((c) => c.name);
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
