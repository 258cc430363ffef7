import { findKind, type ResourceKind } from './kinds.ts';
import { nameSelectedBy, parseFieldSelector, type Requirement } from './selectors.ts';
import { unknownResource } from './status.ts';

/** A request line taken apart: either for a resource, or for some other path. */
export type RequestInfo =
  | ResourceRequest
  | { readonly path: string; readonly verb: string; readonly query: URLSearchParams };

export interface ResourceRequest {
  readonly kind: ResourceKind;
  readonly verb: string;
  readonly namespace: string | undefined;
  /** From the path, or from a field selector on metadata.name. */
  readonly name: string;
  readonly subresource: string;
  readonly fields: readonly Requirement[];
  readonly query: URLSearchParams;
}

const VERBS: Readonly<Record<string, readonly [collection: string, object: string]>> = {
  GET: ['list', 'get'],
  HEAD: ['list', 'get'],
  POST: ['create', 'create'],
  PUT: ['update', 'update'],
  PATCH: ['patch', 'patch'],
  DELETE: ['deletecollection', 'delete'],
};

export function parseRequest(method: string, url: URL): RequestInfo {
  const query = url.searchParams;
  const plain = { path: url.pathname, verb: method.toLowerCase(), query };
  const parts = url.pathname.split('/').filter(Boolean).map(decodeURIComponent);
  const [group, version, ...rest] = parts[0] === 'api' ? ['', ...parts.slice(1)] : parts.slice(1);
  if ((parts[0] !== 'api' && parts[0] !== 'apis') || group === undefined || !version || rest.length === 0) return plain;
  // /namespaces/NS/PLURAL… is inside a namespace; /namespaces/NS and its subresources are the namespace itself.
  const inside = rest[0] === 'namespaces' && rest.length > 2 && !['status', 'finalize'].includes(rest[2] ?? '');
  const [plural = '', name = '', ...sub] = inside ? rest.slice(2) : rest;
  const kind = findKind(group, version, plural);
  // What follows nodes/NAME/proxy is a path of the node's own.
  const tooLong = sub.length > 1 && sub[0] !== 'proxy';
  if (!kind || tooLong || (inside && !kind.namespaced)) throw unknownResource();
  const subresource = sub[0] ?? '';
  const [collection, object] = VERBS[method] ?? ['', ''];
  const watching = !name && collection === 'list' && ['1', 'true'].includes(query.get('watch') ?? '');
  const verb = name ? object : watching ? 'watch' : collection;
  const fields = parseFieldSelector(kind, query.get('fieldSelector') ?? '');
  return {
    kind,
    verb,
    namespace: inside ? rest[1] : undefined,
    name: name || (verb === 'create' ? '' : (nameSelectedBy(fields) ?? '')),
    subresource,
    fields,
    query,
  };
}

export const isResourceRequest = (info: RequestInfo): info is ResourceRequest => 'kind' in info;
