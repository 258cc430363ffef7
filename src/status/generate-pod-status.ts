import { isIPv4 } from 'node:net';
import type { Container, ContainerStatus, Pod, PodCondition, PodStatus } from '../api/core-v1.ts';
import { aggregateResources, isSidecar, qosClass } from '../api/pod.ts';
import { conditionReason, podCondition } from '../api/reasons.ts';
import { rfc3339 } from '../lib/timestamps.ts';
import { type ObservedPod, readySandbox } from '../pod/observed.ts';
import { orderPodIPs } from '../pod/order-pod-ips.ts';
import type { ProbeView } from '../probes/probe-results.ts';
import type { ResizeView } from '../workers/pod-resizes.ts';
import type { ContainerProblem } from '../workers/problems.ts';
import { isEnding, isStopped, type WorkerState } from '../workers/worker-state.ts';
import { lostState } from './container-state.ts';
import {
  type ConditionVerdict,
  disruptionVerdict,
  generateConditions,
  restartingVerdict,
} from './generate-conditions.ts';
import { generateContainerStatuses } from './generate-container-statuses.ts';
import { generatePhase, hasStarted } from './generate-phase.ts';
import { limitMessages } from './limit-messages.ts';
import { isResizeCondition, podAsItIs, resizeConditions } from './resize-conditions.ts';

export interface PodStatusInput {
  /** With the resources that it was granted. */
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  readonly worker: WorkerState;
  /** What kept containers from starting at the last sync, by container name. */
  readonly problems: ReadonlyMap<string, ContainerProblem>;
  readonly probes: ProbeView;
  /** Container whose postStart hook runs now. */
  readonly inPostStart?: string | undefined;
  /** What was last reported, by us or by our predecessor through the API server. */
  readonly previous: PodStatus | undefined;
  /** What becomes of a change of its resources. */
  readonly resize?: ResizeView;
  /** The node's own addresses, the first is the primary one. */
  readonly hostIPs: readonly string[];
  /** What the runtime calls itself, e.g. 'containerd'. */
  readonly runtimeName: string;
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
  const cause = worker.phase === 'syncing' ? undefined : worker.cause;
  if (cause?.kind === 'rejected') return rejectedStatus(input, cause);
  const stopped = isStopped(worker);
  const { init, regular, ephemeral } = containerStatuses(input, stopped);
  const before = previous?.phase;
  const wasOver = before === 'Failed' || before === 'Succeeded';
  const evicted = stopped && !wasOver && cause?.kind === 'evicted' ? cause : undefined;
  const phase = generatePhase({ pod, init, regular, before, stopped, evicted: evicted !== undefined });
  const sandbox = readySandbox(observed);
  const sandboxReady = sandbox !== undefined && (sandbox.hostNetwork || sandbox.ips.length > 0);
  const resize = isEnding(worker) ? {} : (input.resize ?? {});
  const verdicts = [
    ...resizeConditions(resize),
    ...generateConditions(pod, { init, regular }, phase, sandboxReady, previous?.conditions ?? []),
    ...restartingVerdict(pod, observed, phase),
    ...disruptionVerdict(evicted, previous?.conditions ?? []),
  ];
  // Reason and message belong to the phase that they were given with.
  const kept = phase === before ? previous : undefined;
  const reason = evicted?.reason ?? kept?.reason;
  const message = evicted?.message ?? kept?.message;
  return {
    observedGeneration: pod.metadata.generation ?? 0,
    phase,
    conditions: mergeConditions(verdicts, input),
    ...(reason ? { reason } : {}),
    ...(message ? { message } : {}),
    ...addresses(input, sandbox?.ips ?? []),
    startTime: previous?.startTime ?? rfc3339(input.now),
    ...(init.length > 0 ? { initContainerStatuses: init } : {}),
    containerStatuses: byName(regular),
    ...(ephemeral.length > 0 ? { ephemeralContainerStatuses: byName(ephemeral) } : {}),
    qosClass: previous?.qosClass ?? qosClass(pod),
    ...podResources(pod, [...init, ...regular], resize),
  };
}

/** The sums of what was granted, and of what the containers have while a resize is under way. */
function podResources(pod: Pod, statuses: readonly ContainerStatus[], { inProgress }: ResizeView) {
  const granted = aggregateResources(pod);
  return inProgress ? { ...granted, resources: aggregateResources(podAsItIs(pod, statuses)).resources } : granted;
}

const byName = (statuses: readonly ContainerStatus[]) => statuses.toSorted((a, b) => (a.name < b.name ? -1 : 1));

interface Statuses {
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
  readonly ephemeral: readonly ContainerStatus[];
}

/** Each list in the order of the spec. */
function containerStatuses(input: PodStatusInput, stopped: boolean): Statuses {
  const { pod, observed, problems, probes, inPostStart, previous, runtimeName } = input;
  const ending = isEnding(input.worker);
  const common = { pod, observed, problems, probes, inPostStart, ending, runtimeName };
  const generate = (kind: 'init' | 'regular' | 'ephemeral', containers: readonly Container[], before: Before) =>
    limitMessages(generateContainerStatuses(containers, kind, { ...common, previous: before ?? [] }), pod);
  const init = generate('init', pod.spec.initContainers ?? [], previous?.initContainerStatuses);
  const regular = generate('regular', pod.spec.containers, previous?.containerStatuses);
  const ephemeral = generate('ephemeral', pod.spec.ephemeralContainers ?? [], previous?.ephemeralContainerStatuses);
  if (!stopped) return { init, regular, ephemeral };
  const initialized = wasInitialized(pod, init, regular);
  // Where nothing tells of any, the first init container stands for them all.
  const lastStarted = Math.max(
    0,
    init.findLastIndex((s) => s.state?.terminated || s.lastState?.terminated),
  );
  return {
    init: init.map((s, index) => (initialized || index <= lastStarted ? settled(s) : s)),
    regular: initialized ? regular.map(settled) : regular,
    ephemeral,
  };
}

/** Whether the containers of a pod that has stopped had their turn: one of them ran, or the last init container succeeded. */
function wasInitialized(pod: Pod, init: readonly ContainerStatus[], regular: readonly ContainerStatus[]): boolean {
  const container = pod.spec.initContainers?.at(-1);
  const last = init.at(-1);
  if (!container || !last || hasStarted(regular)) return true;
  // How a sidecar ended says nothing of whether it had started.
  if (isSidecar(container)) return false;
  return last.state?.terminated?.exitCode === 0 || last.lastState?.terminated?.exitCode === 0;
}

type Before = readonly ContainerStatus[] | undefined;

/** Nothing runs any more: what has no known end is reported as a failure, so that nobody waits for it. */
const settled = (status: ContainerStatus): ContainerStatus =>
  status.state?.terminated ? status : { ...status, state: lostState(), ready: false, started: false };

/** A pod that was never let in has no container statuses: nothing of it exists. */
function rejectedStatus(
  input: PodStatusInput,
  cause: { readonly reason: string; readonly message: string },
): PodStatus {
  const { pod, previous, now } = input;
  return {
    observedGeneration: pod.metadata.generation ?? 0,
    phase: 'Failed',
    reason: cause.reason,
    message: `Pod was rejected: ${cause.message}`,
    startTime: previous?.startTime ?? rfc3339(now),
    qosClass: previous?.qosClass ?? qosClass(pod),
    ...(previous?.conditions ? { conditions: previous.conditions.map((c) => failed(c, now)) } : {}),
  };
}

/** Nobody may take a failed pod for ready. */
function failed(condition: PodCondition, now: number): PodCondition {
  const { type, status } = condition;
  if ((type !== podCondition.ready && type !== podCondition.containersReady) || status !== 'True') return condition;
  return { ...condition, status: 'False', reason: conditionReason.podFailed, lastTransitionTime: rfc3339(now) };
}

/** Times stay where the verdict stays; conditions that others own are kept as they are. */
function mergeConditions(verdicts: readonly ConditionVerdict[], input: PodStatusInput): PodCondition[] {
  const previous = input.previous?.conditions ?? [];
  const ours = verdicts.map((verdict): PodCondition => {
    const before = previous.find((c) => c.type === verdict.type);
    const unchanged = before?.status === verdict.status && before.lastTransitionTime;
    return {
      ...verdict,
      observedGeneration: verdict.observedGeneration ?? input.pod.metadata.generation ?? 0,
      lastProbeTime: null,
      lastTransitionTime: unchanged || rfc3339(input.now),
    };
  });
  const foreign = previous.filter((c) => !isResizeCondition(c) && !verdicts.some((v) => v.type === c.type));
  return [...ours, ...foreign];
}

function addresses(input: PodStatusInput, sandboxIPs: readonly string[]): Partial<PodStatus> {
  const { hostIPs, previous, pod } = input;
  const before = previous?.podIPs?.map((p) => p.ip) ?? [];
  // The address outlives the sandbox: people look at a finished pod and ask which one it had.
  const own = sandboxIPs.length > 0 ? orderPodIPs(sandboxIPs, hostIPs[0]) : before;
  const podIPs = pod.spec.hostNetwork ? hostNetworkIPs(before, hostIPs) : own;
  return {
    ...(hostIPs[0] ? { hostIP: hostIPs[0], hostIPs: hostIPs.slice(0, 2).map((ip) => ({ ip })) } : {}),
    ...(podIPs[0] ? { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) } : {}),
  };
}

/** On the host's network a pod keeps the address it was first given; a second family may join it later. */
function hostNetworkIPs(before: readonly string[], hostIPs: readonly string[]): readonly string[] {
  const [first] = before;
  if (first === undefined) return hostIPs.slice(0, 2);
  const second = before[1] ?? hostIPs.find((ip) => isIPv4(ip) !== isIPv4(first));
  return second === undefined ? [first] : [first, second];
}
