import type { Node, Pod } from '../api/core-v1.ts';
import { isCriticalPod } from '../api/pod.ts';
import { findObstacles, type Refusal, refusedOutright, shortageRefusal } from './admit.ts';
import { chooseVictims, type Requirement } from './choose-victims.ts';
import type { Shortage } from './shortages.ts';

export interface AdmissionInput {
  readonly pod: Pod;
  readonly node: Node | undefined;
  /** The pods that have a place here, with the resources that they were granted. */
  readonly others: readonly Pod[];
  /** Those of them that are on their way out already, by UID. */
  readonly leaving: ReadonlySet<string>;
}

export type AdmissionDecision =
  | { readonly type: 'admit' }
  | ({ readonly type: 'reject' } & Refusal)
  /** Room has to be made: `victims` are to be ended. None: enough are ending already. */
  | { readonly type: 'wait'; readonly victims: readonly Pod[] };

/**
 * May the pod run on this node? A critical pod that fits but for what others hold gets their room,
 * and waits until they are gone.
 */
export function decideAdmission(input: AdmissionInput): AdmissionDecision {
  const { pod, node, leaving } = input;
  const others = input.others.filter((o) => o.metadata.uid !== pod.metadata.uid);
  const refusal = refusedOutright(pod, node);
  if (refusal) return { type: 'reject', ...refusal };
  const { refusals, shortages } = findObstacles(pod, node, others);
  const [firstShortage] = shortages;
  const [firstRefusal] = refusals;
  if (!firstShortage) return firstRefusal ? { type: 'reject', ...firstRefusal } : { type: 'admit' };
  if (!isCriticalPod(pod)) return { type: 'reject', ...shortageRefusal(firstShortage) };
  // Nobody is ended for a pod that could not start even so.
  if (firstRefusal) return { type: 'reject', ...firstRefusal };
  const staying = others.filter((o) => !leaving.has(o.metadata.uid ?? ''));
  const requirements = findObstacles(pod, node, staying).shortages.map(missing);
  const victims = chooseVictims(pod, staying, requirements);
  return victims ? { type: 'wait', victims } : { type: 'reject', ...noVictims(requirements) };
}

const missing = ({ resource, requested, used, capacity }: Shortage): Requirement => ({
  resource,
  amount: requested - (capacity - used),
});

const noVictims = (requirements: readonly Requirement[]): Refusal => {
  const list = requirements.map(({ resource, amount }) => `(res: ${resource}, q: ${amount}), `).join('');
  const cause = `preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [${list}]`;
  const message = `Unexpected error while attempting to recover from admission failure: ${cause}`;
  return { reason: 'UnexpectedAdmissionError', message };
};
