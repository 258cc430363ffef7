import type { FieldRule, MergeSchema } from './merge-schema.ts';

/**
 * Kubernetes' strategic merge patch, RFC 7386 merge patch: pure, the inputs are never changed.
 * Directives of the strategic kind, as sig-api-machinery/strategic-merge-patch.md describes them:
 * `$patch` (merge, replace, delete), `$retainKeys`, `$deleteFromPrimitiveList/<field>` and
 * `$setElementOrder/<field>`.
 */
export type JsonObject = { readonly [key: string]: unknown };

/** The patch cannot be applied to anything: an API server answers 400 to it. */
export class PatchError extends Error {
  override readonly name = 'PatchError';
}

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value);

const orderPrefix = '$setElementOrder/';
const deletePrefix = '$deleteFromPrimitiveList/';

/** RFC 7386: null removes, objects merge, everything else replaces. */
export function applyMergePatch(original: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch;
  const result: Record<string, unknown> = isJsonObject(original) ? { ...original } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = applyMergePatch(result[key], value);
  }
  return result;
}

/** Applies a strategic merge patch to an object of the kind that `schema` describes. Throws PatchError. */
export function applyStrategicMerge(original: JsonObject, patch: JsonObject, schema: MergeSchema): JsonObject {
  const directive = patch['$patch'];
  if (directive === 'replace') return withoutKey(patch, '$patch');
  if (directive === 'delete') return {};
  if (directive !== undefined && directive !== 'merge') {
    throw new PatchError(`Unknown directive $patch: ${String(directive)}, expected merge, replace or delete`);
  }
  const result: Record<string, unknown> = retainKeys(original, patch);
  for (const field of listFieldsOf(patch)) mergeListField(result, patch, field, schema[field]);
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$') || isList(value)) continue;
    if (value === null) delete result[key];
    else if (isJsonObject(value)) {
      const before = result[key];
      result[key] = applyStrategicMerge(isJsonObject(before) ? before : {}, value, schema[key]?.fields ?? {});
    } else result[key] = value;
  }
  return result;
}

/** The fields that the patch treats as lists: by a value, a `$setElementOrder/` or a `$deleteFromPrimitiveList/`. */
function listFieldsOf(patch: JsonObject): Set<string> {
  const fields = new Set<string>();
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith(orderPrefix) || key.startsWith(deletePrefix)) fields.add(key.slice(key.indexOf('/') + 1));
    else if (isList(value) && !key.startsWith('$')) fields.add(key);
  }
  return fields;
}

function withoutKey(object: JsonObject, key: string): JsonObject {
  const { [key]: _, ...rest } = object;
  return rest;
}

function retainKeys(original: JsonObject, patch: JsonObject): Record<string, unknown> {
  const keep = patch['$retainKeys'];
  if (keep === undefined) return { ...original };
  if (!isList(keep)) throw new PatchError('$retainKeys must be a list of field names');
  for (const key of Object.keys(patch)) {
    if (!key.startsWith('$') && !keep.includes(key)) {
      throw new PatchError(`Field ${key} is in the patch but not in its $retainKeys`);
    }
  }
  return Object.fromEntries(Object.entries(original).filter(([key]) => keep.includes(key)));
}

/** Merges one list field with all the directives that go with it. */
function mergeListField(
  result: Record<string, unknown>,
  patch: JsonObject,
  field: string,
  rule: FieldRule | undefined,
): void {
  const given = patch[field];
  if (given === null || (given === undefined && result[field] === undefined)) return;
  if (!rule?.mergeKey && !rule?.set) {
    if (given !== undefined) result[field] = given;
    return;
  }
  const additions = isList(given) ? given : [];
  const original = listOr(result[field]);
  const { merged, replaced } = rule.set
    ? { merged: mergeSet(original, additions, listOr(patch[deletePrefix + field])), replaced: false }
    : mergeElements(result[field] === undefined ? undefined : original, additions, rule);
  const order = patch[orderPrefix + field];
  const keyOf = (element: unknown) => elementKey(element, rule);
  result[field] = isList(order) && !replaced ? reorder(merged, order.map(keyOf), original.map(keyOf), keyOf) : merged;
}

const listOr = (value: unknown): readonly unknown[] => (isList(value) ? value : []);

function mergeSet(
  original: readonly unknown[],
  additions: readonly unknown[],
  removals: readonly unknown[],
): unknown[] {
  return [...new Set([...original.filter((value) => !removals.includes(value)), ...additions])];
}

function mergeElements(
  original: readonly unknown[] | undefined,
  additions: readonly unknown[],
  rule: FieldRule,
): { merged: unknown[]; replaced: boolean } {
  const elements = additions.filter(
    (element) => directiveOf(element) === undefined || directiveOf(element) === 'merge',
  );
  // Where the server has no such list the patch's own is taken as it stands, repeated keys included.
  if (!original) return { merged: elements.map((element) => mergeElement({}, element, rule)), replaced: false };
  if (additions.some((element) => directiveOf(element) === 'replace')) return { merged: elements, replaced: true };
  const deleted = new Set(
    additions.filter((element) => directiveOf(element) === 'delete').map((element) => elementKey(element, rule)),
  );
  const merged = original.filter((element) => !deleted.has(elementKey(element, rule)));
  for (const element of elements) {
    const key = elementKey(element, rule);
    const at = merged.findIndex((other) => elementKey(other, rule) === key);
    const next = mergeElement(at < 0 ? {} : merged[at], element, rule);
    if (at < 0) merged.push(next);
    else merged[at] = next;
  }
  return { merged, replaced: false };
}

function mergeElement(base: unknown, element: unknown, rule: FieldRule): unknown {
  elementKey(element, rule);
  return applyStrategicMerge(isJsonObject(base) ? base : {}, element as JsonObject, rule.fields ?? {});
}

const directiveOf = (element: unknown): unknown => (isJsonObject(element) ? element['$patch'] : undefined);

function elementKey(element: unknown, rule: FieldRule): unknown {
  if (rule.set || !rule.mergeKey) return element;
  if (!isJsonObject(element))
    throw new PatchError(`An element of a list that merges by ${rule.mergeKey} is not an object`);
  const key = element[rule.mergeKey];
  if (key === undefined && element['$patch'] !== 'replace') {
    throw new PatchError(`map: ${JSON.stringify(element)} does not contain declared merge key: ${rule.mergeKey}`);
  }
  return key;
}

/**
 * The elements that the patch's author knew come in his order; those only the server has keep their
 * place: each is put before the first of the author's elements that stood behind it on the server.
 */
function reorder(
  merged: readonly unknown[],
  order: readonly unknown[],
  serverOrder: readonly unknown[],
  keyOf: (element: unknown) => unknown,
): unknown[] {
  const known = merged.filter((element) => order.includes(keyOf(element)));
  known.sort((a, b) => order.indexOf(keyOf(a)) - order.indexOf(keyOf(b)));
  const serverOnly = merged.filter((element) => !order.includes(keyOf(element)));
  const result = [...known];
  let from = 0;
  for (const element of serverOnly) {
    const rank = serverOrder.indexOf(keyOf(element));
    let at = from;
    while (at < result.length && serverOrder.indexOf(keyOf(result[at])) <= rank) at++;
    result.splice(at, 0, element);
    from = at + 1;
  }
  return result;
}
