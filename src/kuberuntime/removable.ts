import type { Pod } from '../api/core-v1.ts';
import type { SandboxId } from '../api/ids.ts';
import { isAlive, type ObservedContainer, type ObservedPod, type ObservedSandbox } from '../pod/observed.ts';
import { killAction } from './container-verdict.ts';
import type { KillAction, RemoveAction } from './pod-actions.ts';
import { asksForAll, resettable } from './restart-rules.ts';

/** How many containers of one name are kept: the one that lives and the one before it, whose log people ask for. */
const keptPerContainer = 2;

/** Containers that nobody will ask for: older than those two, or made and never started. */
export function removableContainers(observed: ObservedPod | undefined): RemoveAction[] {
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
export function removableSandboxes(
  observed: ObservedPod | undefined,
  sandbox: ObservedSandbox | undefined,
): SandboxId[] {
  const going = new Set<string>(removableContainers(observed).map((r) => r.id));
  const latest = observed?.sandboxes[0];
  return (observed?.sandboxes ?? [])
    .filter((s) => s.state === 'notready' && s.id !== sandbox?.id && s !== latest)
    .filter((s) => !observed?.containers.some((c) => c.sandboxId === s.id && (isAlive(c) || !going.has(c.id))))
    .map((s) => s.id);
}

/**
 * Everything of the pod goes, so that it begins anew in its sandbox (KEP-5532): at once, without preStop. The
 * containers that asked for it are removed last: until then the next look finds the same and goes on. Logs
 * stay, the next attempts are counted from them.
 */
export function resetOfAll(
  pod: Pod,
  observed: ObservedPod | undefined,
): { readonly kill: readonly KillAction[]; readonly removeContainers: readonly RemoveAction[] } {
  const definitions = new Map(resettable(pod).map((c) => [c.name, c]));
  const all = (observed?.containers ?? []).filter((c) => definitions.has(c.name));
  const asked = (c: ObservedContainer) => {
    const definition = definitions.get(c.name);
    return c.state === 'exited' && definition !== undefined && asksForAll(definition, c.exitCode);
  };
  const ordered = [...all.filter((c) => !asked(c)), ...all.filter(asked)];
  return {
    kill: all
      .filter((c) => c.state === 'running' || c.state === 'unknown')
      .map((c) => ({ ...killAction({ pod }, c, 'RestartAllContainers', 'killing'), gracePeriodSeconds: 0 })),
    removeContainers: ordered.map(({ id, name, attempt }) => ({ id, name, attempt, keepLog: true })),
  };
}
