import { type FieldRule, type MergeSchema, mergeSchemaOf } from './merge-schema.ts';
import { isJsonObject, type JsonObject } from './strategic-merge.ts';

/**
 * The smallest patches from one state to another. A null field counts as absent: a patch cannot
 * tell them apart, and neither does the API.
 */

/** RFC 7386 merge patch; undefined when nothing differs. */
export function computeMergePatch(before: object, after: object): Record<string, unknown> | undefined {
  return diffObject(before as JsonObject, after as JsonObject, {}, 'merge');
}

/** Two-way strategic merge patch for an object with these rules; undefined when nothing differs. */
export function computeStrategicPatch(
  before: object,
  after: object,
  schema: MergeSchema,
): Record<string, unknown> | undefined {
  return diffObject(before as JsonObject, after as JsonObject, schema, 'strategic');
}

/**
 * The body for PATCH …/status that brings a Pod's or Node's status from `before` to `after`, or
 * undefined when there is nothing to say. With `uid`, the server answers a conflict (see
 * `isConflict`) instead of writing the status of a namesake.
 */
export function computeStrategicStatusPatch(
  kind: 'Pod' | 'Node',
  before: object | undefined,
  after: object,
  options: { readonly uid?: string } = {},
): { metadata?: { uid: string }; status: Record<string, unknown> } | undefined {
  const schema = mergeSchemaOf(kind)['status']?.fields ?? {};
  const status = computeStrategicPatch(before ?? {}, after, schema);
  if (!status) return undefined;
  return options.uid === undefined ? { status } : { metadata: { uid: options.uid }, status };
}

type Flavour = 'merge' | 'strategic';

function diffObject(
  before: JsonObject,
  after: JsonObject,
  schema: MergeSchema,
  flavour: Flavour,
): Record<string, unknown> | undefined {
  const patch: Record<string, unknown> = {};
  for (const key of Object.keys(before)) {
    if (isPresent(before[key]) && !isPresent(after[key])) patch[key] = null;
  }
  for (const [key, value] of Object.entries(after)) {
    if (!isPresent(value)) continue;
    const old = before[key];
    if (isJsonObject(value) && isJsonObject(old)) {
      const inner = diffObject(old, value, schema[key]?.fields ?? {}, flavour);
      if (inner) patch[key] = inner;
    } else if (sameJson(old, value)) continue;
    else if (Array.isArray(value) && Array.isArray(old))
      Object.assign(patch, diffList(key, old, value, schema[key], flavour));
    else patch[key] = value;
  }
  return Object.keys(patch).length === 0 ? undefined : patch;
}

/** Equality as the wire sees it: members that are null or undefined do not count. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a))
    return Array.isArray(b) && a.length === b.length && a.every((value, i) => sameJson(value, b[i]));
  if (!isJsonObject(a) || !isJsonObject(b)) return !isPresent(a) && !isPresent(b);
  for (const key of Object.keys(a)) if (!sameJson(a[key], b[key])) return false;
  for (const key of Object.keys(b)) if (!(key in a) && isPresent(b[key])) return false;
  return true;
}

const isPresent = (value: unknown): boolean => value !== undefined && value !== null;

function diffList(
  field: string,
  before: readonly unknown[],
  after: readonly unknown[],
  rule: FieldRule | undefined,
  flavour: Flavour,
): Record<string, unknown> {
  if (flavour === 'merge' || !(rule?.set || rule?.mergeKey)) return { [field]: after };
  if (rule.set) return diffSet(field, before, after);
  const { mergeKey = '' } = rule;
  const old = byKey(before, mergeKey);
  const now = byKey(after, mergeKey);
  if (rule.ambiguousKey || !old || !now) return { [field]: [...after, { $patch: 'replace' }] };
  const elements: unknown[] = [];
  for (const [key, element] of now) {
    const previous = old.get(key);
    const change = previous ? diffObject(previous, element, rule.fields ?? {}, 'strategic') : element;
    if (change) elements.push({ ...change, [mergeKey]: key });
  }
  for (const key of old.keys()) if (!now.has(key)) elements.push({ $patch: 'delete', [mergeKey]: key });
  return {
    ...(elements.length > 0 ? { [field]: elements } : {}),
    ...(now.size > 0 ? { [`$setElementOrder/${field}`]: [...now.keys()].map((key) => ({ [mergeKey]: key })) } : {}),
  };
}

function diffSet(field: string, before: readonly unknown[], after: readonly unknown[]): Record<string, unknown> {
  const added = after.filter((value) => !before.includes(value));
  const removed = before.filter((value) => !after.includes(value));
  return {
    ...(added.length > 0 ? { [field]: added } : {}),
    ...(removed.length > 0 ? { [`$deleteFromPrimitiveList/${field}`]: removed } : {}),
    ...(after.length > 0 ? { [`$setElementOrder/${field}`]: after } : {}),
  };
}

/** Undefined when the list cannot be told apart by the key: an element lacks it or two share it. */
function byKey(list: readonly unknown[], mergeKey: string): Map<unknown, JsonObject> | undefined {
  const map = new Map<unknown, JsonObject>();
  for (const element of list) {
    if (!isJsonObject(element)) return undefined;
    const key = element[mergeKey];
    if (!isPresent(key) || map.has(key)) return undefined;
    map.set(key, element);
  }
  return map;
}
