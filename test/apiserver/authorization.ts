import type { User } from './authentication.ts';
import { CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES } from './kinds.ts';
import { decideForNode } from './node-authorizer.ts';
import { type ApiObject, type Fields, listAt, stringAt } from './objects.ts';
import type { Requirement } from './selectors.ts';
import type { Store } from './store.ts';

/** A request as the authoriser sees it. */
export type Attributes = ResourceAttributes | { readonly user: User; readonly verb: string; readonly path: string };

export interface ResourceAttributes {
  readonly user: User;
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly fields?: readonly Requirement[];
}

export interface Verdict {
  readonly allowed: boolean;
  /** Ends the sentence of a refusal. */
  readonly reason: string;
}

/** The node authoriser first, then RBAC over the roles and bindings in the store. */
export function authorize(store: Store, attributes: Attributes): Verdict {
  const { user } = attributes;
  if (user.groups.includes('system:masters')) return { allowed: true, reason: '' };
  const node = nodeNameOf(user);
  const forNode = node !== undefined && 'resource' in attributes ? decideForNode(store, node, attributes) : undefined;
  if (forNode?.allowed) return forNode;
  if (allowedByRoles(store, attributes)) return { allowed: true, reason: '' };
  return { allowed: false, reason: forNode?.reason ?? '' };
}

/** The node a user is, by the name and group a node's certificate carries. */
export const nodeNameOf = (user: User): string | undefined =>
  user.name.startsWith('system:node:') && user.groups.includes('system:nodes')
    ? user.name.slice('system:node:'.length)
    : undefined;

function allowedByRoles(store: Store, attributes: Attributes): boolean {
  for (const binding of store.values(CLUSTER_ROLE_BINDINGS)) {
    if (binds(binding, attributes.user) && grants(roleOf(store, binding), attributes)) return true;
  }
  if (!('resource' in attributes) || !attributes.namespace) return false;
  for (const binding of store.values(ROLE_BINDINGS)) {
    if (binding.metadata.namespace !== attributes.namespace) continue;
    if (binds(binding, attributes.user) && grants(roleOf(store, binding), attributes)) return true;
  }
  return false;
}

function roleOf(store: Store, binding: ApiObject): ApiObject | undefined {
  const name = stringAt(binding, 'roleRef.name');
  return stringAt(binding, 'roleRef.kind') === 'Role'
    ? store.get(ROLES, binding.metadata.namespace, name)
    : store.get(CLUSTER_ROLES, undefined, name);
}

function binds(binding: ApiObject, user: User): boolean {
  return listAt(binding, 'subjects').some((subject) => {
    const name = stringAt(subject, 'name');
    if (subject['kind'] === 'User') return name === user.name;
    if (subject['kind'] === 'Group') return user.groups.includes(name);
    return user.name === `system:serviceaccount:${stringAt(subject, 'namespace')}:${name}`;
  });
}

const grants = (role: ApiObject | undefined, attributes: Attributes): boolean =>
  listAt(role, 'rules').some((rule) => ruleGrants(rule, attributes));

function ruleGrants(rule: Fields, attributes: Attributes): boolean {
  if (!has(rule['verbs'], attributes.verb)) return false;
  if (!('resource' in attributes)) {
    return strings(rule['nonResourceURLs']).some((pattern) =>
      pattern.endsWith('*') ? attributes.path.startsWith(pattern.slice(0, -1)) : attributes.path === pattern,
    );
  }
  const resource = attributes.subresource ? `${attributes.resource}/${attributes.subresource}` : attributes.resource;
  const names = strings(rule['resourceNames']);
  return (
    has(rule['apiGroups'], attributes.group) &&
    has(rule['resources'], resource) &&
    (names.length === 0 || names.includes(attributes.name))
  );
}

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);

const has = (list: unknown, value: string): boolean => {
  const values = strings(list);
  return values.includes('*') || values.includes(value);
};
