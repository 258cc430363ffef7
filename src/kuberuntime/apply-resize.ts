import type { Pod } from '../api/core-v1.ts';
import type { RuntimeService } from '../cri/services.ts';
import { AgentError } from '../lib/errors.ts';
import type { ObservedContainer } from '../pod/observed.ts';
import type { ContainerUpdate, ResizePlan } from '../resources/compute-resize.ts';
import type { QosCgroups } from '../resources/qos-cgroups.ts';

export interface ResizeParts {
  readonly runtime: RuntimeService;
  readonly cgroups: QosCgroups;
}

/**
 * Carries out what computeResize decided, and resolves with the containers that were changed. Fails with
 * code ResizeRefused before anything is touched when memory that is in use would not fit into its new limit.
 */
export async function applyResize(
  pod: Pod,
  plan: ResizePlan,
  memoryUsage: number,
  { runtime, cgroups }: ResizeParts,
  signal: AbortSignal,
): Promise<readonly ObservedContainer[]> {
  const updates = plan.steps.flatMap((step) => (step.type === 'container' ? [step.update] : []));
  await refuseWhatDoesNotFit(pod, plan, updates, memoryUsage, cgroups);
  for (const step of plan.steps) {
    if (step.type === 'pod') await cgroups.setPod(pod, step.values, signal);
    else await runtime.updateContainerResources(step.update.container.id, step.update.resources, signal);
  }
  return [...new Set(updates.map(({ container }) => container))];
}

/** The kernel would look for memory to take back, and then for somebody to kill. */
async function refuseWhatDoesNotFit(
  pod: Pod,
  plan: ResizePlan,
  updates: readonly ContainerUpdate[],
  podUsage: number,
  cgroups: QosCgroups,
): Promise<void> {
  const refusals: string[] = [];
  const { podShrinksTo } = plan;
  if (podShrinksTo !== undefined && podUsage > podShrinksTo)
    refusals.push(`attempting to set pod memory limit (${podShrinksTo}) below current usage (${podUsage})`);
  for (const { container, shrinksTo } of updates) {
    const usage = shrinksTo === undefined ? undefined : await cgroups.containerMemory(pod, container.id);
    if (shrinksTo === undefined || usage === undefined || usage <= shrinksTo) continue;
    const what = `container ${JSON.stringify(container.name)} memory limit (${shrinksTo})`;
    refusals.push(`attempting to set ${what} below current usage (${usage})`);
  }
  if (refusals.length === 0) return;
  const list = refusals.length === 1 ? refusals[0] : `[${refusals.join(', ')}]`;
  throw new AgentError('ResizeRefused', `cannot decrease memory limits: ${list}`, { retryable: true });
}
