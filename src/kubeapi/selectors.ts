import type { KubeObject } from '../api/meta-v1.ts';
import type { ListQuery, WatchQuery } from './kube-api.ts';

/** Label and field selectors in their query-string form, as the API server reads them. */

type Requirement = (labels: Readonly<Record<string, string>>) => boolean;

/** Whether labels satisfy a selector such as `app=web,tier in (a, b),!legacy`. Throws SyntaxError for a malformed one. */
export function matchesLabelSelector(selector: string | undefined, labels: Readonly<Record<string, string>>): boolean {
  return splitTerms(selector ?? '').every((term) => parseLabelTerm(term)(labels));
}

/** Whether an object satisfies a selector such as `spec.nodeName=a,status.phase!=Failed`. */
export function matchesFieldSelector(selector: string | undefined, object: KubeObject): boolean {
  return splitTerms(selector ?? '').every((term) => {
    const match = /^([^=!]+)(!=|==?)(.*)$/.exec(term);
    if (!match) throw new SyntaxError(`invalid field selector: ${term}`);
    const [, path = '', operator, value = ''] = match;
    return (readField(object, path.trim()) === value.trim()) === (operator !== '!=');
  });
}

/** Whether a list or watch with this query shows the object. */
export function matchesQuery(object: KubeObject, query: ListQuery | WatchQuery): boolean {
  const { namespace, labels = {} } = object.metadata;
  return (
    (query.namespace === undefined || namespace === query.namespace) &&
    matchesLabelSelector(query.labelSelector, labels) &&
    matchesFieldSelector(query.fieldSelector, object)
  );
}

function readField(object: unknown, path: string): string {
  let at = object;
  for (const part of path.split('.')) at = (at as Record<string, unknown> | undefined)?.[part];
  return at === undefined || at === null ? '' : String(at);
}

/** Splits at commas that are not inside parentheses. */
function splitTerms(selector: string): string[] {
  return selector
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter((term) => term !== '');
}

function parseLabelTerm(term: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(term);
  if (set) {
    const [, key = '', operator, list = ''] = set;
    const values = list.split(',').map((value) => value.trim());
    return operator === 'in'
      ? (labels) => labels[key] !== undefined && values.includes(labels[key])
      : (labels) => labels[key] === undefined || !values.includes(labels[key]);
  }
  const equality = /^([^=!\s]+)\s*(!=|==?)\s*(\S*)$/.exec(term);
  if (equality) {
    const [, key = '', operator, value] = equality;
    return operator === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const exists = /^(!?)\s*([A-Za-z0-9][\w./-]*)$/.exec(term);
  if (!exists) throw new SyntaxError(`unable to parse requirement: ${term}`);
  const [, negated, key = ''] = exists;
  return (labels) => (labels[key] !== undefined) === (negated === '');
}
