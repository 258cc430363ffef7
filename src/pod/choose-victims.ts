import type { Pod, QosClass } from '../api/core-v1.ts';
import { isCriticalPod, qosClass } from '../api/pod.ts';
import { requestOf } from './shortages.ts';

/** How much of a resource has to become free, in the units of a Shortage. */
export interface Requirement {
  readonly resource: string;
  readonly amount: number;
}

/**
 * Whom to end so that `requirements` become free for `pod`: as few guaranteed pods as possible, then as
 * few burstable ones, then as few with best effort; among equals those that ask for less. Undefined when
 * all that may be ended would not free enough.
 */
export function chooseVictims(
  pod: Pod,
  running: readonly Pod[],
  requirements: readonly Requirement[],
): readonly Pod[] | undefined {
  const preemptable = running.filter((other) => isPreemptable(pod, other));
  const of = (qos: QosClass) => preemptable.filter((p) => (p.status?.qosClass ?? qosClass(p)) === qos);
  const [bestEffort, burstable, guaranteed] = [of('BestEffort'), of('Burstable'), of('Guaranteed')];
  if (remaining(requirements, preemptable).length > 0) return undefined;
  // Each class has to give only what the cheaper ones together with the dearer victims do not.
  const dearest = fewest(guaranteed, remaining(requirements, [...bestEffort, ...burstable]));
  const middle = fewest(burstable, remaining(requirements, [...bestEffort, ...dearest]));
  const cheapest = fewest(bestEffort, remaining(requirements, [...middle, ...dearest]));
  return [...cheapest, ...middle, ...dearest];
}

function isPreemptable(pod: Pod, other: Pod): boolean {
  if (isCriticalPod(pod) && !isCriticalPod(other)) return true;
  const [mine, theirs] = [pod.spec.priority, other.spec.priority];
  return mine !== undefined && theirs !== undefined && mine > theirs;
}

/** What is still missing when these are gone. */
function remaining(requirements: readonly Requirement[], gone: readonly Pod[]): readonly Requirement[] {
  return requirements
    .map(({ resource, amount }) => ({
      resource,
      amount: gone.reduce((left, p) => left - requestOf(p, resource), amount),
    }))
    .filter(({ amount }) => amount > 0);
}

/** Takes, again and again, the pod that brings the requirements nearest to being met. */
function fewest(candidates: readonly Pod[], requirements: readonly Requirement[]): readonly Pod[] {
  const left = new Set(candidates);
  const victims: Pod[] = [];
  let needed = requirements;
  while (needed.length > 0) {
    let best: Pod | undefined;
    for (const candidate of left) if (!best || isBetter(candidate, best, needed)) best = candidate;
    if (!best) return victims;
    left.delete(best);
    victims.push(best);
    needed = remaining(needed, [best]);
  }
  return victims;
}

function isBetter(a: Pod, b: Pod, needed: readonly Requirement[]): boolean {
  const difference = distance(a, needed) - distance(b, needed);
  if (difference !== 0) return difference < 0;
  for (const resource of ['memory', 'cpu']) {
    const [first, second] = [requestOf(a, resource), requestOf(b, resource)];
    if (first !== second) return first < second;
  }
  return true;
}

/** How far the requirements are from being met without the pod; each counts the same, whatever its unit. */
const distance = (pod: Pod, needed: readonly Requirement[]): number =>
  needed.reduce((sum, { resource, amount }) => {
    const missing = Math.max(0, amount - requestOf(pod, resource));
    return sum + (missing / amount) ** 2;
  }, 0);
