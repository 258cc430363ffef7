import type { Container, Pod } from '../api/core-v1.ts';
import type { ContainerId, SandboxId } from '../api/ids.ts';
import { goDuration } from '../lib/go-duration.ts';
import {
  isAlive,
  newestContainer,
  type ObservedContainer,
  type ObservedPod,
  type ObservedSandbox,
  runningContainers,
} from '../pod/observed.ts';
import { containerHash } from './container-hash.ts';
import { nextRestart, type RestartBackoff } from './restart-backoff.ts';

/** What has to happen so that the runtime matches the pod. Plain data: it logs well and needs no pod to read. */
export interface PodActions {
  readonly createSandbox: { readonly attempt: number } | undefined;
  /** The sandbox to start containers in, when there is one already. */
  readonly sandbox: ObservedSandbox | undefined;
  readonly stopSandboxes: readonly SandboxId[];
  readonly kill: readonly KillAction[];
  readonly start: readonly StartAction[];
  /** Containers that will be started, but not yet. */
  readonly waiting: readonly WaitingAction[];
  readonly removeContainers: readonly RemoveAction[];
  readonly removeSandboxes: readonly SandboxId[];
  /** Crash memory by container name, for the next call. */
  readonly backoffs: ReadonlyMap<string, RestartBackoff>;
  /** Nothing of this pod will ever run again. */
  readonly completed: boolean;
}

export interface KillAction {
  readonly id: ContainerId;
  readonly name: string;
  readonly reason: string;
  readonly message: string;
}

/** A container that nobody asks for any more; its log goes with it. */
export interface RemoveAction {
  readonly id: ContainerId;
  readonly name: string;
  readonly attempt: number;
}

export interface StartAction {
  readonly kind: 'init' | 'container';
  readonly container: Container;
  readonly attempt: number;
}

export interface WaitingAction {
  readonly name: string;
  readonly reason: string;
  readonly message: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
}

export interface ActionInput {
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  readonly backoffs: ReadonlyMap<string, RestartBackoff>;
  readonly maxBackoffMs: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** How many containers of one name are kept: the one that lives and the one before it, whose log people ask for. */
const keptPerContainer = 2;

export function computePodActions(input: ActionInput): PodActions {
  const { pod, observed } = input;
  const sandbox = usableSandbox(observed);
  const stale = observed?.sandboxes.filter((s) => s.id !== sandbox?.id) ?? [];
  const decisions = decideContainers(input, sandbox);
  const needsSandbox = !sandbox && decisions.start.length + decisions.waiting.length > 0;
  const strays = strayContainers(pod, observed, sandbox);
  return {
    sandbox,
    createSandbox: needsSandbox && decisions.start.length > 0 ? { attempt: nextSandboxAttempt(observed) } : undefined,
    stopSandboxes: stale.filter((s) => s.state === 'ready').map((s) => s.id),
    kill: [...strays, ...decisions.kill],
    start: decisions.start,
    waiting: decisions.waiting,
    removeContainers: removableContainers(observed),
    removeSandboxes: removableSandboxes(observed, sandbox),
    backoffs: decisions.backoffs,
    completed: decisions.completed,
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

/** Containers that run where or although they should not: in a sandbox that is not ours any more, or twice. */
function strayContainers(
  pod: Pod,
  observed: ObservedPod | undefined,
  sandbox: ObservedSandbox | undefined,
): KillAction[] {
  const wanted = new Set([...(pod.spec.initContainers ?? []), ...pod.spec.containers].map((c) => c.name));
  return runningContainers(observed)
    .filter((c) => c.sandboxId !== sandbox?.id || !wanted.has(c.name) || newestContainer(observed, c.name) !== c)
    .map((c) => ({ id: c.id, name: c.name, reason: 'Stray', message: 'Container is not part of the pod any more' }));
}

interface Decisions {
  readonly kill: KillAction[];
  readonly start: StartAction[];
  readonly waiting: WaitingAction[];
  readonly backoffs: Map<string, RestartBackoff>;
  readonly completed: boolean;
}

function decideContainers(input: ActionInput, sandbox: ObservedSandbox | undefined): Decisions {
  const { pod, observed } = input;
  const out: Decisions = { kill: [], start: [], waiting: [], backoffs: new Map(), completed: false };
  const verdicts = pod.spec.containers.map((container) => decideContainer(input, container, sandbox, 'container'));
  if (verdicts.every((v) => v.type === 'done')) return { ...out, completed: true };

  const started = pod.spec.containers.some((c) => newestContainer(observed, c.name)?.sandboxId === sandbox?.id);
  const initialized = sandbox !== undefined && started;
  for (const container of pod.spec.initContainers ?? []) {
    const sidecar = container.restartPolicy === 'Always';
    if (initialized && !sidecar) continue;
    const verdict = decideContainer(input, container, sandbox, 'init');
    record(out, verdict);
    if (verdict.type === 'done' && verdict.failed && !sidecar) return { ...out, completed: true };
    const passed = (verdict.type === 'done' && !verdict.failed) || (sidecar && verdict.type === 'running');
    // Init containers run one after the other; the next look goes on from here.
    if (!passed && !initialized) return out;
  }
  for (const verdict of verdicts) record(out, verdict);
  return out;
}

function record(out: Decisions, verdict: Verdict): void {
  if ('backoff' in verdict && verdict.backoff) out.backoffs.set(verdict.backoff.name, verdict.backoff.memory);
  if (verdict.type === 'start') out.start.push(verdict.action);
  else if (verdict.type === 'kill') out.kill.push(verdict.action);
  else if (verdict.type === 'wait') out.waiting.push(verdict.action);
}

type Memory = { readonly name: string; readonly memory: RestartBackoff };
type Verdict =
  | { readonly type: 'running' }
  | { readonly type: 'done'; readonly failed: boolean }
  | { readonly type: 'kill'; readonly action: KillAction }
  | { readonly type: 'start'; readonly action: StartAction; readonly backoff?: Memory }
  | { readonly type: 'wait'; readonly action: WaitingAction; readonly backoff: Memory };

function decideContainer(
  input: ActionInput,
  container: Container,
  sandbox: ObservedSandbox | undefined,
  kind: StartAction['kind'],
): Verdict {
  const last = newestContainer(input.observed, container.name);
  const start = (attempt: number): Verdict => ({ type: 'start', action: { kind, container, attempt } });
  if (!last) return start(0);
  const here = last.sandboxId === sandbox?.id;
  // Made, never started: whoever made it died in between. It is removed and made again under its own number.
  if (last.state === 'created') return start(last.attempt);
  const changed = last.hash !== '' && last.hash !== containerHash(container);
  if (last.state === 'running' && here) {
    if (!changed) return { type: 'running' };
    const message = `Container ${container.name} definition changed, will be restarted`;
    return { type: 'kill', action: { id: last.id, name: last.name, reason: 'Changed', message } };
  }
  if (last.state === 'unknown' && here) {
    const message = `Container ${container.name} is in an unknown state, will be restarted`;
    return { type: 'kill', action: { id: last.id, name: last.name, reason: 'Unknown', message } };
  }
  if (last.state === 'running' || last.state === 'unknown') return start(last.attempt + 1);
  if (changed) return start(last.attempt + 1);
  return decideExited(input, container, last, here, kind);
}

function decideExited(
  input: ActionInput,
  container: Container,
  last: ObservedContainer,
  here: boolean,
  kind: StartAction['kind'],
): Verdict {
  const failed = last.exitCode !== 0;
  const policy = container.restartPolicy ?? input.pod.spec.restartPolicy ?? 'Always';
  // An init container that did its work is done whatever the policy, unless its sandbox went with it.
  const finishedInit = kind === 'init' && container.restartPolicy !== 'Always' && !failed && here;
  const again = kind === 'init' && !failed ? !here : policy === 'Always' || (policy === 'OnFailure' && failed);
  const restart = container.restartPolicy === 'Always' || (again && !finishedInit);
  if (!restart) return { type: 'done', failed };
  const next = nextRestart(input.backoffs.get(container.name), last, input.maxBackoffMs);
  const backoff: Memory = { name: container.name, memory: next.backoff };
  // A wait that is longer than its own delay ends in a future that somebody set the clock back from.
  const clockWentBack = next.notBefore - input.now > next.delayMs;
  if (next.notBefore <= input.now || clockWentBack) {
    return { type: 'start', action: { kind, container, attempt: last.attempt + 1 }, backoff };
  }
  const { name, namespace, uid } = input.pod.metadata;
  const message = `back-off ${goDuration(next.delayMs)} restarting failed container=${container.name} pod=${name}_${namespace}(${uid})`;
  return {
    type: 'wait',
    action: { name: container.name, reason: 'CrashLoopBackOff', message, notBefore: next.notBefore },
    backoff,
  };
}

function removableContainers(observed: ObservedPod | undefined): RemoveAction[] {
  const seen = new Map<string, number>();
  return (observed?.containers ?? [])
    .filter((c) => {
      const newer = seen.get(c.name) ?? 0;
      seen.set(c.name, newer + 1);
      return c.state === 'created' || (c.state === 'exited' && newer >= keptPerContainer);
    })
    .map(({ id, name, attempt }) => ({ id, name, attempt }));
}

/** Dead sandboxes that hold no container whose state or log anybody may still ask for. */
function removableSandboxes(observed: ObservedPod | undefined, sandbox: ObservedSandbox | undefined): SandboxId[] {
  const going = new Set<string>(removableContainers(observed).map((r) => r.id));
  const latest = observed?.sandboxes[0];
  return (observed?.sandboxes ?? [])
    .filter((s) => s.state === 'notready' && s.id !== sandbox?.id && s !== latest)
    .filter((s) => !observed?.containers.some((c) => c.sandboxId === s.id && (isAlive(c) || !going.has(c.id))))
    .map((s) => s.id);
}
