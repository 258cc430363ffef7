/** What a request is in the words of authorization: a verb on a subresource of this node. */
export interface RequestAttributes {
  /** Empty for methods that have no verb. */
  readonly verb: string;
  /** Any one of them is enough; asked for in this order. */
  readonly subresources: readonly string[];
}

const verbs: Readonly<Record<string, string>> = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/** By the first segment of the path. What was part of nodes/proxy once may still be had through it. */
const subresources: Readonly<Record<string, readonly string[]>> = {
  stats: ['stats'],
  metrics: ['metrics'],
  logs: ['log'],
  checkpoint: ['checkpoint'],
  pods: ['pods', 'proxy'],
  runningpods: ['pods', 'proxy'],
  healthz: ['healthz', 'proxy'],
  configz: ['configz', 'proxy'],
  statusz: ['statusz', 'proxy'],
  flagz: ['flagz', 'proxy'],
};

/** `path` begins with a slash, as in an endpoint. */
export function requestAttributes(method: string, path: string): RequestAttributes {
  const root = path.split('/')[1] ?? '';
  return {
    verb: verbs[method] ?? '',
    subresources: Object.hasOwn(subresources, root) ? (subresources[root] ?? []) : ['proxy'],
  };
}
