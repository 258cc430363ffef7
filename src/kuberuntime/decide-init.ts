import type { Container } from '../api/core-v1.ts';
import { isSidecar } from '../api/pod.ts';
import { terminatedReason } from '../api/reasons.ts';
import { newestContainer, type ObservedContainer, type ObservedSandbox } from '../pod/observed.ts';
import { killAction, replace, startAgain, startNow, type Verdict } from './container-verdict.ts';
import { isChanged, probeTrouble, resizeText, restartsForResize } from './decide-regular.ts';
import type { ActionInput } from './pod-actions.ts';
import { restartsOnFailure, shouldRestart } from './restart-rules.ts';

/** How far a pod's initialisation is, and what comes next in it. */
export interface InitDecision {
  /** In the order of the spec. */
  readonly verdicts: readonly Verdict[];
  /** The regular containers have their turn. */
  readonly initialized: boolean;
  /** An init container failed that is not tried again: nothing of the pod will run. */
  readonly failed: boolean;
}

/**
 * Init containers run one after the other; a sidecar is passed when it has started and then kept running.
 * Finished init containers may have been removed from the runtime, so what counts is the last one that this
 * sandbox has seen: all before it are over, and only the sidecars among them still matter. A new sandbox
 * has seen none, and everything begins with the first.
 */
export function decideInit(input: ActionInput, sandbox: ObservedSandbox | undefined): InitDecision {
  const { pod, observed } = input;
  const init = pod.spec.initContainers ?? [];
  const isHere = ({ name }: Container) => seenIn(sandbox, newestContainer(observed, name)) !== undefined;
  const begun = pod.spec.containers.some(isHere);
  const front = begun ? init.length : init.findLastIndex(isHere);
  const sidecars = init.slice(0, Math.max(front, 0)).filter(isSidecar);
  const verdicts = sidecars.map((container) => keepSidecar(input, container, sandbox));
  if (begun || init.length === 0) return { verdicts, initialized: true, failed: false };

  const current = init[front];
  let passed = true;
  if (current) {
    const verdict = isSidecar(current) ? keepSidecar(input, current, sandbox) : decideFront(input, current);
    if (verdict.type === 'done' && verdict.failed) return { verdicts: [], initialized: false, failed: true };
    verdicts.push(verdict);
    passed = isSidecar(current) ? hasStarted(input, current, sandbox) : verdict.type === 'done';
  }
  const next = init[front + 1];
  if (passed && next) verdicts.push(begin(input, next));
  return { verdicts, initialized: passed && !next, failed: false };
}

const seenIn = (
  sandbox: ObservedSandbox | undefined,
  last: ObservedContainer | undefined,
): ObservedContainer | undefined => (sandbox && last?.sandboxId === sandbox.id ? last : undefined);

/** The first start in this sandbox; the count of restarts goes on from the sandbox before. */
function begin(input: ActionInput, container: Container): Verdict {
  const last = newestContainer(input.observed, container.name);
  if (last?.state === 'exited') return startAgain(input, 'init', container, last);
  return startNow('init', container, last ? last.attempt + 1 : 0);
}

/** The regular init container that has its turn: it exists in this sandbox. */
function decideFront(input: ActionInput, container: Container): Verdict {
  const last = newestContainer(input.observed, container.name);
  if (!last) return startNow('init', container, 0);
  switch (last.state) {
    case 'created':
      return startNow('init', container, last.attempt);
    case 'running':
      return { type: 'running' };
    case 'unknown':
      return restartsOnFailure(container, input.pod)
        ? replace(input, 'init', container, killAction(input, last, 'Unknown', unknownMessage))
        : { type: 'done', failed: true };
    case 'exited': {
      // A process that lost a child to the OOM killer may end with 0 all the same.
      const code = last.reason === terminatedReason.oomKilled ? last.exitCode || 137 : last.exitCode;
      if (code === 0) return { type: 'done', failed: false };
      const again = shouldRestart(container, input.pod, code);
      return again ? startAgain(input, 'init', container, last) : { type: 'done', failed: true };
    }
    default:
      return last.state satisfies never;
  }
}

/** A sidecar runs as long as the pod does: whatever ended it, it is started again. */
function keepSidecar(input: ActionInput, container: Container, sandbox: ObservedSandbox | undefined): Verdict {
  const last = seenIn(sandbox, newestContainer(input.observed, container.name));
  if (!last) return begin(input, container);
  switch (last.state) {
    case 'created':
      return startNow('init', container, last.attempt);
    case 'exited':
      return startAgain(input, 'init', container, last);
    case 'unknown':
      return replace(input, 'init', container, killAction(input, last, 'Unknown', unknownMessage));
    case 'running':
      return keepRunningSidecar(input, container, last);
    default:
      return last.state satisfies never;
  }
}

function keepRunningSidecar(input: ActionInput, container: Container, last: ObservedContainer): Verdict {
  const startup = container.startupProbe && input.probes(last.id, 'startup');
  // Until it has started nothing else is asked of it.
  if (container.startupProbe && startup?.verdict !== 'success' && startup?.verdict !== 'failure')
    return { type: 'running' };
  const name = `Init container ${container.name}`;
  if (startup?.verdict !== 'failure' && isChanged(container, last)) {
    return replace(input, 'init', container, killAction(input, last, 'Changed', `${name} definition changed`));
  }
  const trouble =
    startup?.verdict === 'failure' ? (['StartupProbe', 'failed startup probe'] as const) : probeTrouble(input, last);
  if (!trouble) {
    if (!restartsForResize(input, last)) return { type: 'running' };
    return replace(input, 'init', container, killAction(input, last, 'Resize', resizeText(container), container));
  }
  const [reason, what] = trouble;
  return replace(input, 'init', container, killAction(input, last, reason, `${name} ${what}`, container));
}

/** Whether the next init container need not wait for this sidecar any more. */
function hasStarted(input: ActionInput, container: Container, sandbox: ObservedSandbox | undefined): boolean {
  const last = seenIn(sandbox, newestContainer(input.observed, container.name));
  if (last?.state !== 'running') return false;
  return !container.startupProbe || input.probes(last.id, 'startup')?.verdict === 'success';
}

const unknownMessage = 'Init container is in "unknown" state, try killing it before restart';
