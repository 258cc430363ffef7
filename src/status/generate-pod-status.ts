import type { ContainerStatus, Pod, PodCondition, PodPhase, PodStatus } from '../api/core-v1.ts';
import { aggregateResources, qosClass } from '../api/pod.ts';
import { rfc3339 } from '../lib/timestamps.ts';
import { type ObservedPod, readySandbox } from '../pod/observed.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import type { ContainerProblem } from '../workers/problems.ts';
import { isEnding, isStopped, type WorkerState } from '../workers/worker-state.ts';
import { type ConditionVerdict, generateConditions } from './generate-conditions.ts';
import { generateContainerStatuses } from './generate-container-statuses.ts';

export interface PodStatusInput {
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  readonly worker: WorkerState;
  /** What kept containers from starting at the last sync, by container name. */
  readonly problems: ReadonlyMap<string, ContainerProblem>;
  readonly probes: ProbeView;
  /** What was last reported, by us or by our predecessor through the API server. */
  readonly previous: PodStatus | undefined;
  /** The node's own addresses, the first is the primary one. */
  readonly hostIPs: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * The status of a pod, derived anew each time from what is wanted, what is observed, where its worker
 * is, and what was said before. Terminal phases, exit codes, addresses and start times are sticky
 * through `previous`; nothing else is remembered.
 */
export function generatePodStatus(input: PodStatusInput): PodStatus {
  const { pod, observed, worker, previous } = input;
  if (worker.phase !== 'syncing' && worker.cause.kind === 'rejected') return rejectedStatus(input, worker.cause);
  const common = { pod, observed, problems: input.problems, ending: isEnding(worker) };
  const regular = generateContainerStatuses(pod.spec.containers, 'container', {
    ...common,
    previous: previous?.containerStatuses ?? [],
  });
  const init = generateContainerStatuses(pod.spec.initContainers ?? [], 'init', {
    ...common,
    previous: previous?.initContainerStatuses ?? [],
  });
  const phase = generatePhase(input, init, regular);
  const sandbox = readySandbox(observed);
  const sandboxReady = sandbox !== undefined && (sandbox.hostNetwork || sandbox.ips.length > 0);
  const verdicts = generateConditions(pod, { init, regular }, phase, sandboxReady, previous?.conditions ?? []);
  const evicted = worker.phase !== 'syncing' && worker.cause.kind === 'evicted' ? worker.cause : undefined;
  const reason = evicted?.reason ?? previous?.reason;
  const message = evicted?.message ?? previous?.message;
  return {
    observedGeneration: pod.metadata.generation ?? 0,
    phase,
    conditions: mergeConditions(verdicts, input),
    ...(reason ? { reason } : {}),
    ...(message ? { message } : {}),
    ...addresses(input, sandbox?.ips ?? []),
    startTime: previous?.startTime ?? rfc3339(input.now),
    ...(init.length > 0 ? { initContainerStatuses: init } : {}),
    containerStatuses: regular.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    qosClass: previous?.qosClass ?? qosClass(pod),
    ...aggregateResources(pod),
  };
}

/** A pod that was never let in has no container statuses: nothing of it exists. */
function rejectedStatus(
  input: PodStatusInput,
  cause: { readonly reason: string; readonly message: string },
): PodStatus {
  return {
    observedGeneration: input.pod.metadata.generation ?? 0,
    phase: 'Failed',
    reason: cause.reason,
    message: cause.message,
    startTime: input.previous?.startTime ?? rfc3339(input.now),
    qosClass: input.previous?.qosClass ?? qosClass(input.pod),
    ...(input.previous?.conditions ? { conditions: input.previous.conditions } : {}),
  };
}

/** Upstream's getPhase: what the containers' states add up to, given the restart policy. */
function generatePhase(
  input: PodStatusInput,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
): PodPhase {
  const before = input.previous?.phase;
  // A terminal phase is final: nothing of the pod will run again.
  if (before === 'Failed' || before === 'Succeeded') return before;
  if (input.worker.phase !== 'syncing' && input.worker.cause.kind === 'evicted') return 'Failed';
  const policy = input.pod.spec.restartPolicy ?? 'Always';
  const anyStarted = regular.some((s) => s.state?.running || s.state?.terminated || s.lastState?.terminated);
  const initFailed = init.some((s) => s.state?.terminated !== undefined && s.state.terminated.exitCode !== 0);
  if (initFailed && (policy === 'Never' || isStopped(input.worker))) return 'Failed';
  const initPending = init.some((s) => !s.ready && !s.started);
  if (initPending && !anyStarted) return isStopped(input.worker) && before !== 'Running' ? 'Failed' : 'Pending';

  const running = regular.filter((s) => s.state?.running).length;
  const stopped = regular.filter((s) => s.state?.terminated).length;
  const crashed = regular.filter((s) => s.state?.waiting && s.lastState?.terminated).length;
  const waiting = regular.filter((s) => s.state?.waiting && !s.lastState?.terminated).length;
  const ended = stopped + crashed;
  if (waiting > 0 && !isStopped(input.worker)) return running > 0 || ended > 0 ? 'Running' : 'Pending';
  if (running > 0) return 'Running';
  const succeeded = regular.every((s) => (s.state?.terminated ?? s.lastState?.terminated)?.exitCode === 0);
  if (isStopped(input.worker)) return succeeded ? 'Succeeded' : 'Failed';
  if (policy === 'Always') return 'Running';
  if (crashed > 0) return 'Running';
  if (succeeded) return 'Succeeded';
  return policy === 'Never' ? 'Failed' : 'Running';
}

/** Times stay where the verdict stays; conditions that others own are kept as they are. */
function mergeConditions(verdicts: readonly ConditionVerdict[], input: PodStatusInput): PodCondition[] {
  const previous = input.previous?.conditions ?? [];
  const ours = verdicts.map((verdict): PodCondition => {
    const before = previous.find((c) => c.type === verdict.type);
    const unchanged = before?.status === verdict.status && before.lastTransitionTime;
    return {
      ...verdict,
      observedGeneration: input.pod.metadata.generation ?? 0,
      lastProbeTime: null,
      lastTransitionTime: unchanged || rfc3339(input.now),
    };
  });
  const foreign = previous.filter((c) => !verdicts.some((v) => v.type === c.type));
  return [...ours, ...foreign];
}

function addresses(input: PodStatusInput, sandboxIPs: readonly string[]): Partial<PodStatus> {
  const { hostIPs, previous, pod } = input;
  const before = previous?.podIPs?.map((p) => p.ip) ?? [];
  // The address outlives the sandbox: people look at a finished pod and ask which one it had.
  const podIPs = pod.spec.hostNetwork ? hostIPs : sandboxIPs.length > 0 ? sandboxIPs : before;
  return {
    ...(hostIPs[0] ? { hostIP: hostIPs[0], hostIPs: hostIPs.map((ip) => ({ ip })) } : {}),
    ...(podIPs[0] ? { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) } : {}),
  };
}
