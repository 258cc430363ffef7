import type { Node, NodeSelectorRequirement, NodeSelectorTerm, Pod } from '../api/core-v1.ts';
import { meetsOperator } from '../api/label-operators.ts';

/** Whether the node is one of those that the pod insists on: its selector and its required node affinity. */
export function matchesNode(pod: Pod, node: Node): boolean {
  const labels = node.metadata.labels ?? {};
  const selected = Object.entries(pod.spec.nodeSelector ?? {}).every(([key, value]) => labels[key] === value);
  const required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return selected && (required === undefined || matchesNodeTerms(required.nodeSelectorTerms ?? [], node));
}

/** Whether one of the terms holds. No terms, and a term without a requirement, match nothing. */
export function matchesNodeTerms(terms: readonly NodeSelectorTerm[], node: Node): boolean {
  return terms.some(({ matchExpressions = [], matchFields = [] }) => {
    if (matchExpressions.length + matchFields.length === 0) return false;
    const labels = node.metadata.labels ?? {};
    return (
      matchExpressions.every((r) => holds(r, labels[r.key])) &&
      // The only field that the API knows here.
      matchFields.every((r) => r.key === 'metadata.name' && holds(r, node.metadata.name))
    );
  });
}

function holds({ operator, values = [] }: NodeSelectorRequirement, value: string | undefined): boolean {
  if (operator !== 'Gt' && operator !== 'Lt') return meetsOperator(operator, values, value);
  const [left, right] = [wholeNumber(value), wholeNumber(values[0])];
  if (left === undefined || right === undefined) return false;
  return operator === 'Gt' ? left > right : left < right;
}

const wholeNumber = (text: string | undefined): bigint | undefined =>
  text !== undefined && /^[+-]?\d+$/.test(text) ? BigInt(text.replace('+', '')) : undefined;
