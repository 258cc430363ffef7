import type { Pod } from '../api/core-v1.ts';
import { containersOf } from '../api/pod.ts';
import { newestContainer, type ObservedPod, type ObservedSandbox, runningContainers } from '../pod/observed.ts';
import { killAction, type Verdict } from './container-verdict.ts';
import { decideInit } from './decide-init.ts';
import { decideRegular } from './decide-regular.ts';
import type { ActionInput, KillAction, PodActions } from './pod-actions.ts';
import { removableContainers, removableSandboxes, resetOfAll } from './removable.ts';
import type { RestartBackoff } from './restart-backoff.ts';
import { restartsAllContainers, restartsOnFailure } from './restart-rules.ts';

/** Compares what is wanted with what runs. Pure: the same input gives the same plan. */
export function computePodActions(input: ActionInput): PodActions {
  const { pod, observed } = input;
  const sandbox = usableSandbox(observed);
  if (restartsAllContainers(pod, observed)) return beginAnew(input, sandbox);
  const { verdicts, completed } = decideContainers(input, sandbox);
  const start = verdicts.flatMap((v) => (v.type === 'start' ? [v.start] : []));
  const stale = observed?.sandboxes.filter((s) => s.id !== sandbox?.id) ?? [];
  return {
    sandbox,
    createSandbox: !sandbox && start.length > 0 ? { attempt: nextSandboxAttempt(observed) } : undefined,
    stopSandboxes: stale.filter((s) => s.state === 'ready').map((s) => s.id),
    kill: [
      ...strayContainers(pod, observed, sandbox),
      ...verdicts.flatMap((v) => ('kill' in v && v.kill ? [v.kill] : [])),
    ],
    start,
    waiting: verdicts.flatMap((v) => (v.type === 'wait' ? [v.wait] : [])),
    removeContainers: removableContainers(observed),
    removeSandboxes: removableSandboxes(observed, sandbox),
    backoffs: remembered(input, verdicts),
    completed,
  };
}

/** The newest sandbox, if containers can live in it: one without an address is no use unless it has the host's. */
function usableSandbox(observed: ObservedPod | undefined): ObservedSandbox | undefined {
  const latest = observed?.sandboxes[0];
  if (latest?.state !== 'ready') return undefined;
  return latest.hostNetwork || latest.ips.length > 0 ? latest : undefined;
}

const nextSandboxAttempt = (observed: ObservedPod | undefined): number => {
  const latest = observed?.sandboxes[0];
  return latest ? latest.attempt + 1 : 0;
};

function beginAnew(input: ActionInput, sandbox: ObservedSandbox | undefined): PodActions {
  return {
    ...{ sandbox, createSandbox: undefined, stopSandboxes: [], start: [], waiting: [], removeSandboxes: [] },
    ...resetOfAll(input.pod, input.observed),
    backoffs: input.backoffs,
    completed: false,
  };
}

/** Containers that run where or although they should not: in a sandbox that is not ours any more, or twice. */
function strayContainers(
  pod: Pod,
  observed: ObservedPod | undefined,
  sandbox: ObservedSandbox | undefined,
): KillAction[] {
  const wanted = new Set(containersOf(pod).map(({ container }) => container.name));
  return runningContainers(observed)
    .filter((c) => c.sandboxId !== sandbox?.id || !wanted.has(c.name) || newestContainer(observed, c.name) !== c)
    .map((c) => killAction({ pod }, c, 'Stray', 'Container is not part of the pod any more'));
}

interface Decisions {
  readonly verdicts: readonly Verdict[];
  readonly completed: boolean;
}

const completed: Decisions = { verdicts: [], completed: true };

/** Ephemeral containers first: whoever looks for the reason why nothing starts must get in. */
function decideContainers(input: ActionInput, sandbox: ObservedSandbox | undefined): Decisions {
  const { pod } = input;
  if (!sandbox && isLost(input)) return completed;
  const regular = pod.spec.containers.map((container) => decideRegular(input, container, sandbox));
  if (regular.every((v) => v.type === 'done')) return completed;
  const init = decideInit(input, sandbox);
  if (init.failed) return completed;
  const verdicts = [...decideEphemeral(input, sandbox), ...init.verdicts, ...(init.initialized ? regular : [])];
  return { verdicts, completed: false };
}

/** A pod that is never restarted does not get a second sandbox once something of it has run. */
function isLost({ pod, observed }: ActionInput): boolean {
  const hasRun = observed?.containers.some((c) => c.state !== 'created') === true;
  return hasRun && !pod.spec.containers.some((container) => restartsOnFailure(container, pod));
}

/** Each is started once in the pod's life, and only beside what is there already. */
function decideEphemeral({ pod, observed }: ActionInput, sandbox: ObservedSandbox | undefined): Verdict[] {
  if (!sandbox) return [];
  return (pod.spec.ephemeralContainers ?? [])
    .filter(({ name }) => (newestContainer(observed, name)?.state ?? 'created') === 'created')
    .map((container) => {
      const target = container.targetContainerName && newestContainer(observed, container.targetContainerName);
      const start = { kind: 'ephemeral' as const, container, attempt: 0, ...(target ? { targetId: target.id } : {}) };
      return { type: 'start', start };
    });
}

/** What is known of each container's crashes; a container that runs keeps its memory for its next end. */
function remembered(input: ActionInput, verdicts: readonly Verdict[]): Map<string, RestartBackoff> {
  const names = new Set(containersOf(input.pod).map(({ container }) => container.name));
  const memories = new Map([...input.backoffs].filter(([name]) => names.has(name)));
  for (const verdict of verdicts) {
    if (verdict.type === 'start' && verdict.memory) memories.set(verdict.start.container.name, verdict.memory);
    if (verdict.type === 'wait' && verdict.memory) memories.set(verdict.wait.name, verdict.memory);
  }
  return memories;
}
