import type { Container, ContainerStatus, Pod, PodPhase } from '../api/core-v1.ts';
import { isSidecar, isStaticPod } from '../api/pod.ts';
import { asksForAll, shouldRestart } from '../kuberuntime/restart-rules.ts';

/** Statuses in the order of the spec. */
export interface PhaseInput {
  readonly pod: Pod;
  readonly init: readonly ContainerStatus[];
  readonly regular: readonly ContainerStatus[];
  /** What was reported before. */
  readonly before: PodPhase | undefined;
  /** Nothing of the pod runs any more, and nothing will. */
  readonly stopped: boolean;
  /** keelson ended it: it has failed as soon as it has stopped, however its containers ended. */
  readonly evicted: boolean;
}

/**
 * What the containers' states add up to, given the restart policies; upstream's getPhase, and its rule
 * that a pod which has stopped ends up in a terminal phase, unless it is a static one, which may come back.
 */
export function generatePhase(input: PhaseInput): PodPhase {
  const { before, stopped } = input;
  // A terminal phase is final: nothing of the pod will run again, unless it is a static one, which begins anew.
  if ((before === 'Failed' || before === 'Succeeded') && (stopped || !isStaticPod(input.pod))) return before;
  if (stopped && input.evicted) return 'Failed';
  const phase = phaseOfContainers(input);
  const terminal = phase === 'Failed' || phase === 'Succeeded';
  return stopped && !terminal && !isStaticPod(input.pod) ? 'Failed' : phase;
}

function phaseOfContainers({ pod, init, regular, stopped }: PhaseInput): PodPhase {
  const setUp = countInit(pod, init);
  const count = { running: setUp.sidecarsRunning, waiting: setUp.sidecarsWaiting, stopped: 0, succeeded: 0, again: 0 };
  for (const [index, container] of pod.spec.containers.entries()) {
    const status = regular[index];
    const ended = endOf(status);
    if (status?.state?.running) count.running++;
    else if (!ended) count.waiting++;
    else {
      count.stopped++;
      if (ended.exitCode === 0) count.succeeded++;
      if (restartsAfter(container, pod, ended.exitCode)) count.again++;
    }
  }
  if (setUp.failed) return 'Failed';
  if ((setUp.pending && !hasStarted(regular)) || count.waiting > 0) return 'Pending';
  if (count.running > 0) return 'Running';
  if (count.stopped === 0) return 'Pending';
  const outcome = count.stopped === count.succeeded ? 'Succeeded' : 'Failed';
  if (stopped && !isStaticPod(pod)) return outcome;
  return count.again > 0 ? 'Running' : outcome;
}

/** Whether it is started again, alone or with all the others. */
const restartsAfter = (container: Container, pod: Pod, exitCode: number): boolean =>
  shouldRestart(container, pod, exitCode) || asksForAll(container, exitCode);

/** Whether any of them has ever run: initialisation was over then, whatever became of the init containers since. */
export const hasStarted = (regular: readonly ContainerStatus[]): boolean =>
  regular.some((s) => s.state?.running || s.state?.terminated || s.lastState?.terminated);

function countInit(pod: Pod, statuses: readonly ContainerStatus[]) {
  const count = { pending: false, failed: false, sidecarsRunning: 0, sidecarsWaiting: 0 };
  for (const [index, container] of (pod.spec.initContainers ?? []).entries()) {
    const status = statuses[index];
    if (isSidecar(container)) countSidecar(status, count);
    else if (!endOf(status) || status?.state?.running) count.pending = true;
    else if (isBroken(container, pod, status)) count.failed = true;
    else if (endOf(status)?.exitCode !== 0) count.pending = true;
  }
  return count;
}

/** Sidecars that ended are being started again, and count for nothing. */
function countSidecar(
  status: ContainerStatus | undefined,
  count: { pending: boolean; sidecarsRunning: number; sidecarsWaiting: number },
): void {
  if (status?.state?.running) {
    if (!status.started) count.pending = true;
    count.sidecarsRunning++;
  } else if (!endOf(status)) {
    count.pending = true;
    count.sidecarsWaiting++;
  }
}

/** An init container that failed and will not be tried again takes the pod with it. */
function isBroken(container: Container, pod: Pod, status: ContainerStatus | undefined): boolean {
  const code = endOf(status)?.exitCode ?? 0;
  if (code === 0) return false;
  // Upstream lets an init container be retried under every policy of the pod but Never.
  const own = container.restartPolicy === undefined ? pod.spec.restartPolicy !== 'Never' : undefined;
  return !(own ?? restartsAfter(container, pod, code));
}

/** How it ended, also when it is about to be started again. */
const endOf = (status: ContainerStatus | undefined) =>
  status?.state?.terminated ?? (status?.state?.waiting ? status.lastState?.terminated : undefined);
