import type { ResourceKind } from './kinds.ts';
import { type ApiObject, stringAt } from './objects.ts';
import { badRequest } from './status.ts';

/** One term of a label or field selector. */
export interface Requirement {
  readonly key: string;
  readonly operator: '=' | '!=' | 'in' | 'notin' | 'exists' | 'absent';
  readonly values: readonly string[];
}

export interface Selection {
  readonly namespace?: string;
  readonly labels: readonly Requirement[];
  readonly fields: readonly Requirement[];
}

/** A label selector in its query form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. */
export function parseLabelSelector(text: string): Requirement[] {
  return splitTerms(text).map((term) => {
    const set = /^([^\s!=()]+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(term);
    if (set) {
      const [, key = '', operator, list = ''] = set;
      return { key, operator: operator as 'in' | 'notin', values: list.split(',').map((value) => value.trim()) };
    }
    const absent = /^!\s*([^\s!=()]+)$/.exec(term);
    if (absent) return { key: absent[1] ?? '', operator: 'absent', values: [] };
    if (/^[^\s!=()]+$/.test(term)) return { key: term, operator: 'exists', values: [] };
    return equality(term) ?? unparsable(text);
  });
}

/** A field selector: equality only. Field names a kind does not offer are refused, as upstream does. */
export function parseFieldSelector(kind: ResourceKind, text: string): Requirement[] {
  const offered = ['metadata.name', ...(kind.namespaced ? ['metadata.namespace'] : []), ...(FIELDS[kind.kind] ?? [])];
  return splitTerms(text).map((term) => {
    const found = equality(term) ?? unparsable(text);
    if (!offered.includes(found.key)) throw badRequest(`field label not supported: ${found.key}`);
    return found;
  });
}

const FIELDS: Readonly<Record<string, readonly string[]>> = {
  Pod: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.nominatedNodeName',
  ],
  Node: ['spec.unschedulable'],
  Namespace: ['status.phase'],
  Secret: ['type'],
  Service: ['spec.clusterIP', 'spec.type'],
  Event: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
  CertificateSigningRequest: ['spec.signerName'],
  ClusterTrustBundle: ['spec.signerName'],
};

function equality(term: string): Requirement | undefined {
  const match = /^([^\s!=]+)\s*(==|=|!=)\s*([^=]*)$/.exec(term);
  if (!match) return undefined;
  const [, key = '', operator, value = ''] = match;
  return { key, operator: operator === '!=' ? '!=' : '=', values: [value.trim()] };
}

/** Splits at commas outside parentheses. */
const splitTerms = (text: string): string[] =>
  text
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter(Boolean);

function unparsable(text: string): never {
  throw badRequest(`unable to parse requirement: found '${text}', expected: identifier`);
}

export function matches(object: ApiObject, selection: Selection): boolean {
  if (selection.namespace !== undefined && object.metadata.namespace !== selection.namespace) return false;
  return (
    matchesLabels(object.metadata.labels ?? {}, selection.labels) &&
    selection.fields.every((field) => meets(fieldOf(object, field.key), field))
  );
}

export const matchesLabels = (labels: Readonly<Record<string, string>>, terms: readonly Requirement[]): boolean =>
  terms.every((term) => meets(labels[term.key], term));

function fieldOf(object: ApiObject, key: string): string {
  const value = stringAt(object, key);
  return value || (key === 'spec.unschedulable' || key === 'spec.hostNetwork' ? 'false' : '');
}

function meets(value: string | undefined, term: Requirement): boolean {
  switch (term.operator) {
    case '=':
    case 'in':
      return value !== undefined && term.values.includes(value);
    case '!=':
    case 'notin':
      return value === undefined || !term.values.includes(value);
    case 'exists':
      return value !== undefined;
    case 'absent':
      return value === undefined;
    default:
      return term.operator satisfies never;
  }
}

/** The name a field selector pins down with metadata.name=…; what the authoriser takes as the request's name. */
export const nameSelectedBy = (fields: readonly Requirement[]): string | undefined =>
  fields.find((field) => field.key === 'metadata.name' && field.operator === '=')?.values[0];
