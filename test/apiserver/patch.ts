import { applyJsonPatch } from '../../src/kubeapi/json-patch.ts';
import { mergeSchemaOf } from '../../src/kubeapi/merge-schema.ts';
import { applyMergePatch, applyStrategicMerge, PatchError } from '../../src/kubeapi/strategic-merge.ts';
import type { ResourceKind } from './kinds.ts';
import { type ApiObject, isFields } from './objects.ts';
import { badRequest, failure } from './status.ts';

export type PatchType = 'strategic' | 'merge' | 'json';

/** The media types of a PATCH. */
export const PATCH_TYPES: Readonly<Record<string, PatchType>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
};

/** The object as it would be after the patch; 400 or 422 for a patch that cannot be applied. */
export function applyPatch(kind: ResourceKind, current: ApiObject, type: PatchType, body: unknown): ApiObject {
  try {
    const result = patched(kind, structuredClone(current), type, body);
    if (!isFields(result) || !isFields(result['metadata'])) throw new PatchError('the patch leaves no object');
    return result as ApiObject;
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
    if (type !== 'json') throw badRequest(error.message);
    throw failure(
      422,
      'Invalid',
      `the server rejected our request due to an error in our request: ${error.message}`,
      {},
    );
  }
}

function patched(kind: ResourceKind, current: ApiObject, type: PatchType, body: unknown): unknown {
  if (type === 'json') {
    if (!Array.isArray(body)) throw badRequest('json: cannot unmarshal object into Go value of type jsonpatch.Patch');
    return applyJsonPatch(current, body);
  }
  if (!isFields(body)) throw badRequest('a patch of this type has to be an object');
  return type === 'merge'
    ? applyMergePatch(current, body)
    : applyStrategicMerge(current, body, mergeSchemaOf(kind.kind));
}
