import type { Container } from '../api/core-v1.ts';
import { newestContainer, type ObservedContainer, type ObservedSandbox } from '../pod/observed.ts';
import { containerHash } from './container-hash.ts';
import { killAction, replace, startAgain, startChanged, startNow, type Verdict } from './container-verdict.ts';
import type { ActionInput, KillReason } from './pod-actions.ts';
import { restartsOnFailure, shouldRestart } from './restart-rules.ts';

/** What becomes of one of the pod's `containers`, once they have their turn. */
export function decideRegular(input: ActionInput, container: Container, sandbox: ObservedSandbox | undefined): Verdict {
  const last = newestContainer(input.observed, container.name);
  if (!last) return startNow('container', container, 0);
  // Made, never started: whoever made it died in between. It is removed and made again under its own number.
  if (last.state === 'created') return startNow('container', container, last.attempt);
  const changed = isChanged(container, last);
  if (last.state === 'exited') {
    if (changed) return startChanged('container', container, last);
    const again = shouldRestart(container, input.pod, last.exitCode) || restartsForResize(input, last);
    return again ? startAgain(input, 'container', container, last) : { type: 'done', failed: last.exitCode !== 0 };
  }
  // What still runs in another sandbox is killed as a stray.
  if (last.sandboxId !== sandbox?.id) return startNow('container', container, last.attempt + 1);
  return last.state === 'unknown'
    ? replace(input, 'container', container, killAction(input, last, 'Unknown', unknownMessage))
    : decideRunning(input, container, last, changed);
}

function decideRunning(input: ActionInput, container: Container, last: ObservedContainer, changed: boolean): Verdict {
  const trouble: readonly [KillReason, string] | undefined = changed
    ? ['Changed', 'definition changed']
    : probeTrouble(input, last);
  if (!trouble) {
    if (!restartsForResize(input, last)) return { type: 'running' };
    return replace(input, 'container', container, killAction(input, last, 'Resize', resizeText(container), container));
  }
  const [reason, what] = trouble;
  const message = `Container ${container.name} ${what}`;
  // A new definition is wanted whatever the policy says of the old one's end.
  if (!changed && !restartsOnFailure(container, input.pod))
    return { type: 'kill', kill: killAction(input, last, reason, message, container) };
  const kill = killAction(input, last, reason, `${message}, will be restarted`, container);
  return replace(input, 'container', container, kill);
}

/** Which probe says that the container has to go, and in which words. */
export function probeTrouble(
  { probes }: Pick<ActionInput, 'probes'>,
  last: ObservedContainer,
): readonly [KillReason, string] | undefined {
  if (probes(last.id, 'liveness')?.verdict === 'failure') return ['LivenessProbe', 'failed liveness probe'];
  if (probes(last.id, 'startup')?.verdict === 'failure') return ['StartupProbe', 'failed startup probe'];
  return undefined;
}

export const restartsForResize = ({ restartForResize }: ActionInput, last: ObservedContainer): boolean =>
  restartForResize?.has(last.id) === true;

export const resizeText = ({ name }: Container): string => `Container ${name} resize requires restart`;

const unknownMessage = 'Container is in "unknown" state, try killing it before restart';

/** Whether a container was made from another definition; one of unknown origin is left alone. */
export const isChanged = (container: Container, last: ObservedContainer): boolean =>
  last.hash !== '' && last.hash !== containerHash(container);
