import type { KubeObject } from '../api/meta-v1.ts';
import type { ListQuery, ObjectName, WatchQuery } from './kube-api.ts';
import type { Resource } from './resources.ts';

/** `/api/v1/namespaces/default/pods/web/status` and the like; without a name, the collection. */
export function resourcePath(
  resource: Resource<KubeObject>,
  ref: { readonly namespace?: string; readonly name?: string },
  subresource?: string,
): string {
  const group = resource.apiVersion.includes('/') ? `/apis/${resource.apiVersion}` : `/api/${resource.apiVersion}`;
  const scope = resource.namespaced && ref.namespace ? `/namespaces/${encodeURIComponent(ref.namespace)}` : '';
  const name = ref.name === undefined ? '' : `/${encodeURIComponent(ref.name)}`;
  return `${group}${scope}/${resource.plural}${name}${subresource ? `/${subresource}` : ''}`;
}

/** Query parameters of a list or watch, those that are absent left out. */
export function queryString(query: ListQuery | WatchQuery, more: Record<string, string> = {}): string {
  const { namespace: _, ...given } = query;
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...given, ...more })) {
    if (value !== undefined) parameters.set(key, String(value));
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

export const refOf = (object: KubeObject): ObjectName => ({
  name: object.metadata.name,
  ...(object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace }),
});

/** 'pods default/web' for messages. */
export const describeRef = (resource: Resource<KubeObject>, ref: { namespace?: string; name?: string }): string =>
  `${resource.plural} ${ref.namespace ? `${ref.namespace}/` : ''}${ref.name ?? ''}`.trim();
