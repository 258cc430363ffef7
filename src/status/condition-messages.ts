import type { PodCondition, PodStatus } from '../api/core-v1.ts';
import { podCondition } from '../api/reasons.ts';
import { rfc3339 } from '../lib/timestamps.ts';
import type { Explanation } from './explain-pod.ts';

/** Stands between upstream's message, which others match on, and the sentence that says why. */
const separator = '; ';

/** Longer than this nobody reads, and every write of the status carries it up to four times. */
const maxTextLength = 512;

/** Initialized keeps its words: there are those who compare them as a whole, and Ready says it, too. */
const explained: ReadonlySet<string> = new Set([
  podCondition.readyToStartContainers,
  podCondition.ready,
  podCondition.containersReady,
]);

/** Steps that say why something of a pod ends, not why it does not begin: its conditions are as upstream writes them. */
const notAdded: ReadonlySet<string> = new Set(['failed', 'resize', 'cleaning', 'stopping']);

/** What is added to the conditions, where anything is. */
function sentenceOf({ step, text, since }: Explanation): string {
  if (notAdded.has(step)) return '';
  const short = text.length > maxTextLength ? `${text.slice(0, maxTextLength)}…` : text;
  return `${short}, since ${rfc3339(since)}`;
}

/**
 * Adds the explanation to the conditions that are not fulfilled, behind upstream's own message. It names the
 * moment since when, never how long: a duration would make a new status every second.
 */
export function withExplanation(status: PodStatus, explanation: Explanation | undefined): PodStatus {
  const sentence = explanation && sentenceOf(explanation);
  if (!sentence) return status;
  const add = (condition: PodCondition): PodCondition => {
    const { type, status: verdict, message } = condition;
    if (verdict !== 'False' || !explained.has(type)) return condition;
    return { ...condition, message: message ? `${message}${separator}${sentence}` : sentence };
  };
  return { ...status, conditions: status.conditions?.map(add) ?? [] };
}
