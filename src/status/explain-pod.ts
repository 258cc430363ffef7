import type { Container, ContainerStatus, Pod, PodStatus } from '../api/core-v1.ts';
import type { ContainerId } from '../api/ids.ts';
import { isSidecar } from '../api/pod.ts';
import { conditionReason, podCondition } from '../api/reasons.ts';
import type { SyncStep } from '../kuberuntime/sync-step.ts';
import { newestContainer, type ObservedPod } from '../pod/observed.ts';
import type { LastAnswer, ProbeType, ProbeView } from '../probes/probe-results.ts';
import type { WorkerView } from '../workers/pod-workers.ts';

/** Why a pod is not ready: the step it waits in, and since when. Times are milliseconds since the epoch. */
export interface Explanation {
  /** e.g. 'volumes', 'image', 'readiness', 'back-off'. */
  readonly step: string;
  /** What of the pod the step is about: a container, mostly. */
  readonly subject: string;
  /** One sentence without times, so that it stays the same while nothing changes. */
  readonly text: string;
  readonly since: number;
  /** When the next try is due, where there will be one. */
  readonly until?: number;
}

export interface ExplainInput {
  readonly pod: Pod;
  readonly status: PodStatus;
  readonly observed: ObservedPod | undefined;
  readonly worker: WorkerView;
  readonly probes: ProbeView;
  /** What a probe said last, whether or not that has come to anything yet. */
  readonly lastAnswer: (container: ContainerId, type: ProbeType) => LastAnswer | undefined;
  /** How far the pull of an image is, in words; undefined when nobody knows. */
  readonly pullProgress: (image: string) => string | undefined;
  /** What was said last: a step that goes on keeps its time. */
  readonly previous: Explanation | undefined;
  readonly now: number;
}

/** `since` where the facts tell it; else it is when the step was first seen. */
type Finding = Omit<Explanation, 'since' | 'subject'> & { readonly subject?: string; readonly since?: number };

/**
 * Says in one sentence what keeps a pod from being ready; undefined for one that is, and for one that has
 * done its work. Looks where the work is first: what the worker does or fails at, then init containers in
 * their order, then the containers, then the readiness gates.
 */
export function explainPod(input: ExplainInput): Explanation | undefined {
  const finding = find(input);
  if (!finding) return undefined;
  const { previous, now } = input;
  const { step, subject = '' } = finding;
  const goesOn = previous?.step === step && previous.subject === subject;
  return { ...finding, subject, since: finding.since ?? (goesOn ? previous.since : now) };
}

function find(input: ExplainInput): Finding | undefined {
  const { status, worker } = input;
  if (status.phase === 'Succeeded') return undefined;
  if (status.phase === 'Failed') return failure(status);
  if (worker.state.phase !== 'syncing') return stopping(input);
  if (isTrue(status, podCondition.ready)) return resize(status);
  return failing(worker) ?? working(input) ?? initializing(input) ?? unready(input) ?? gates(input.pod, status);
}

const isTrue = (status: PodStatus, type: string): boolean =>
  status.conditions?.some((c) => c.type === type && c.status === 'True') === true;

function failure(status: PodStatus): Finding {
  const since = transitionOf(status, podCondition.ready);
  if (status.reason) {
    const text = status.message ? `${status.reason}: ${status.message}` : status.reason;
    return { step: 'failed', text, ...since };
  }
  const all = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])];
  const culprit = all.find((s) => s.state?.terminated !== undefined && s.state.terminated.exitCode !== 0);
  return culprit
    ? { step: 'failed', subject: culprit.name, text: `container ${culprit.name} ${endText(culprit)}`, ...since }
    : { step: 'failed', text: 'the pod has failed', ...since };
}

function transitionOf(status: PodStatus, type: string): { readonly since?: number } {
  const at = status.conditions?.find((c) => c.type === type)?.lastTransitionTime;
  return at ? { since: Date.parse(at) } : {};
}

function stopping({ worker, status }: ExplainInput): Finding | undefined {
  const { state } = worker;
  if (state.phase !== 'terminating') return { step: 'cleaning', text: 'has stopped, its volumes are being taken down' };
  if (worker.failure) return { step: 'stopping', text: `cannot be stopped: ${worker.failure.message}` };
  const alive = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])]
    .filter((s) => s.state?.running)
    .map((s) => s.name);
  const until = state.since + state.gracePeriodSeconds * 1000;
  const text = alive.length > 0 ? `is being stopped: ${naming(alive)} still running` : 'is being stopped';
  return { step: 'stopping', text, since: state.since, until };
}

const naming = (names: readonly string[]): string =>
  names.length === 1 ? `container ${names[0]} is` : `containers ${names.join(', ')} are`;

function resize(status: PodStatus): Finding | undefined {
  const types: readonly string[] = [podCondition.resizePending, podCondition.resizeInProgress];
  const found = status.conditions?.find((c) => types.includes(c.type) && c.status === 'True');
  if (!found) return undefined;
  const verb = found.type === podCondition.resizePending ? 'waits' : 'is under way';
  const why = [found.reason, found.message].filter(Boolean).join(': ');
  const text = `a resize ${verb}${why ? `: ${why}` : ''}`;
  return { step: 'resize', text, ...transitionOf(status, found.type) };
}

/** What keeps the whole pod from going on, at each try anew. */
function failing({ failure }: WorkerView): Finding | undefined {
  if (!failure) return undefined;
  const { since, message } = failure;
  switch (failure.step?.kind) {
    case 'volumes':
      return { step: 'volumes', text: message, since };
    case 'network':
      return { step: 'network', text: message, since };
    case 'sandbox':
      return { step: 'sandbox', text: `the sandbox cannot be made: ${message}`, since };
    default:
      return { step: 'sync', text: `the pod cannot be brought up: ${message}`, since };
  }
}

/** A try that has just begun says less than the problem that it may or may not solve. */
const freshMs = 2_000;

/** What the worker is doing just now. */
function working({ worker, pullProgress, now }: ExplainInput): Finding | undefined {
  if (!worker.progress) return undefined;
  const { step, since } = worker.progress;
  if ('container' in step && worker.problems.has(step.container) && now - since < freshMs) return undefined;
  const text = stepText(step, pullProgress);
  return { step: step.kind, subject: 'container' in step ? step.container : '', text, since };
}

function stepText(step: SyncStep, pullProgress: ExplainInput['pullProgress']): string {
  switch (step.kind) {
    case 'namesake':
      return 'waits until its predecessor of the same name has stopped';
    case 'room':
      return 'waits until pods of lower priority have made room';
    case 'network':
      return 'waits for the pod network';
    case 'volumes':
      return 'its volumes are being set up';
    case 'sandbox':
      return 'its sandbox is being made';
    case 'image': {
      const far = pullProgress(step.image);
      return `image ${step.image} of container ${step.container} is being pulled${far ? ` (${far})` : ''}`;
    }
    case 'create':
      return `container ${step.container} is being created`;
    case 'postStart':
      return `the postStart hook of container ${step.container} runs`;
    default:
      return step satisfies never;
  }
}

function initializing(input: ExplainInput): Finding | undefined {
  const { pod, status } = input;
  if (isTrue(status, podCondition.initialized)) return undefined;
  const all = pod.spec.initContainers ?? [];
  for (const [index, container] of all.entries()) {
    const its = status.initContainerStatuses?.find((s) => s.name === container.name);
    if (!its || (isSidecar(container) ? its.started : its.ready)) continue;
    const place = `init container ${container.name} (${index + 1} of ${all.length})`;
    if (its.state?.running && !isSidecar(container)) {
      return { step: 'init', subject: container.name, text: `${place} runs`, ...startOf(its) };
    }
    return containerFinding(input, container, its, place);
  }
  return undefined;
}

function unready(input: ExplainInput): Finding | undefined {
  const { pod, status } = input;
  const sidecars = (pod.spec.initContainers ?? []).filter(isSidecar);
  const statuses = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])];
  const findings = [...sidecars, ...pod.spec.containers].flatMap((container) => {
    const its = statuses.find((s) => s.name === container.name);
    return its && !its.ready ? [containerFinding(input, container, its, `container ${container.name}`)] : [];
  });
  // One that has something to say before one that only takes its turn.
  return findings.find((f) => f.step !== 'starting') ?? findings[0];
}

function containerFinding(input: ExplainInput, container: Container, its: ContainerStatus, place: string): Finding {
  const subject = container.name;
  const problem = input.worker.problems.get(container.name);
  const { waiting, terminated, running } = its.state ?? {};
  if (problem && !running) {
    const step = problem.reason === 'CrashLoopBackOff' ? 'back-off' : 'start';
    const text = `${place} waits, ${problem.reason}: ${problem.message}${lastWords(its)}`;
    return { step, subject, text, ...(problem.until === undefined ? {} : { until: problem.until }) };
  }
  if (running && !its.started) return probeFinding(input, container, 'startup', place, its);
  if (running) return probeFinding(input, container, 'readiness', place, its);
  if (terminated) return { step: 'ended', subject, text: `${place} ${endText(its)}`, ...endAt(its) };
  const text = waiting?.message ? `${place} waits, ${waiting.reason}: ${waiting.message}` : `${place} has to start`;
  return { step: 'starting', subject, text };
}

/** How the run before ended, where people would ask next. */
function lastWords({ lastState }: ContainerStatus): string {
  const last = lastState?.terminated;
  return last ? `; it ended with exit code ${last.exitCode} (${last.reason ?? 'Error'})` : '';
}

const endText = ({ state }: ContainerStatus): string =>
  `ended with exit code ${state?.terminated?.exitCode} (${state?.terminated?.reason ?? 'Error'})`;

const endAt = ({ state }: ContainerStatus) => timeOf(state?.terminated?.finishedAt);
const startOf = ({ state }: ContainerStatus) => timeOf(state?.running?.startedAt);
const timeOf = (at: string | undefined): { readonly since?: number } => (at ? { since: Date.parse(at) } : {});

function probeFinding(
  input: ExplainInput,
  container: Container,
  type: ProbeType,
  place: string,
  its: ContainerStatus,
): Finding {
  const subject = container.name;
  const probe = type === 'startup' ? container.startupProbe : container.readinessProbe;
  const latest = newestContainer(input.observed, container.name);
  const result = latest && input.probes(latest.id, type);
  if (!probe) return { step: 'starting', subject, text: `${place} has just started`, ...startOf(its) };
  if (result?.verdict === 'failure' && result.message) {
    return { step: type, subject, text: `the ${type} probe of ${place} fails: ${result.message}`, since: result.since };
  }
  const delay = probe.initialDelaySeconds ? ` (it begins after ${probe.initialDelaySeconds} s)` : '';
  const last = latest && input.lastAnswer(latest.id, type);
  const text = `the ${type} probe of ${place} has not succeeded yet${last ? answerText(last) : delay}`;
  return { step: type, subject, text, ...startOf(its) };
}

/** One answer that has not changed the verdict. */
function answerText({ kind, message }: LastAnswer): string {
  switch (kind) {
    case 'success':
    case 'warning':
      return ', its last answer was good';
    case 'failure':
      return `: ${message}`;
    case 'error':
      return `, it could not be asked: ${message}`;
    case 'starved':
      return ', its answer came too late because this node is short of CPU time';
    default:
      return kind satisfies never;
  }
}

function gates(pod: Pod, status: PodStatus): Finding | undefined {
  const missing = (pod.spec.readinessGates ?? []).filter((g) => !isTrue(status, g.conditionType));
  const ready = status.conditions?.find((c) => c.type === podCondition.ready);
  if (missing.length === 0 || ready?.reason !== conditionReason.readinessGatesNotReady) return undefined;
  const names = missing.map((g) => `"${g.conditionType}"`).join(', ');
  const text = `waits for the readiness gate${missing.length > 1 ? 's' : ''} ${names}`;
  return { step: 'gates', text, ...transitionOf(status, podCondition.ready) };
}
