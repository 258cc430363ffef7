import type { Service } from '../api/core-v1.ts';
import type { Endpoint, EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { headlessLabel, proxyNameLabel } from './read-service.ts';
import { triggerTimeAnnotation } from './trigger-times.ts';

/*
 * What of an object is kept. There may be hundreds of thousands of endpoints, and most of what the API server says of
 * each is read by nobody here. An object that is not what the API defines is left as it is: whoever reads it complains.
 */

/** More texts than a cluster has nodes and namespaces; when there are more the oldest are forgotten with the rest. */
const maxShared = 20_000;
const shared = new Map<string, string>();

const readLabels: ReadonlySet<string> = new Set([serviceNameLabel, headlessLabel, proxyNameLabel]);
const readAnnotations: ReadonlySet<string> = new Set([triggerTimeAnnotation]);

/** A Service without its selector, and without labels, annotations and owners that nobody reads. */
export function serviceWithoutUnread(service: Service): Service {
  if (!isRecord(service.metadata) || !isRecord(service.spec)) return service;
  const { selector: _, ...spec } = service.spec;
  return { ...service, ...typeOf(service), metadata: readOf(service.metadata), spec };
}

/** A slice with the names, addresses, conditions and hints of its endpoints, and the pods' UIDs of those on this node. */
export function sliceWithoutUnread(slice: EndpointSlice, nodeName: string): EndpointSlice {
  if (!isRecord(slice.metadata)) return slice;
  const kept = { ...slice, ...typeOf(slice), metadata: readOf(slice.metadata) };
  const { endpoints } = slice;
  return Array.isArray(endpoints) ? { ...kept, endpoints: endpoints.map((one) => endpointOf(one, nodeName)) } : kept;
}

function endpointOf(endpoint: Endpoint, here: string): Endpoint {
  if (!isRecord(endpoint)) return endpoint;
  const { addresses, conditions, nodeName, targetRef, hints } = endpoint;
  return {
    addresses,
    ...(conditions === undefined ? {} : { conditions: sameConditions(conditions) }),
    ...(nodeName === undefined ? {} : { nodeName: share(nodeName) }),
    ...(isRecord(targetRef) ? { targetRef: targetOf(targetRef, nodeName === here) } : {}),
    ...(hints === undefined ? {} : { hints }),
  };
}

type Reference = NonNullable<Endpoint['targetRef']>;

const targetOf = ({ kind, namespace, name, uid }: Reference, isLocal: boolean): Reference => ({
  ...(kind === undefined ? {} : { kind: share(kind) }),
  ...(namespace === undefined ? {} : { namespace: share(namespace) }),
  ...(name === undefined ? {} : { name }),
  ...(isLocal && uid !== undefined ? { uid } : {}),
});

const usual: NonNullable<Endpoint['conditions']> = Object.freeze({ ready: true, serving: true, terminating: false });

/** What nearly all endpoints say is kept once. */
function sameConditions(conditions: NonNullable<Endpoint['conditions']>): NonNullable<Endpoint['conditions']> {
  if (!isRecord(conditions)) return conditions;
  const { ready, serving, terminating } = conditions;
  return ready === true && serving === true && terminating === false ? usual : conditions;
}

const typeOf = ({ apiVersion, kind }: Pick<Service, 'apiVersion' | 'kind'>): Pick<Service, 'apiVersion' | 'kind'> => ({
  ...(apiVersion === undefined ? {} : { apiVersion: share(apiVersion) }),
  ...(kind === undefined ? {} : { kind: share(kind) }),
});

type Metadata = Service['metadata'];

function readOf(metadata: Metadata): Metadata {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = metadata;
  const labels = pick(metadata.labels, readLabels);
  const annotations = pick(metadata.annotations, readAnnotations);
  return {
    name,
    ...(namespace === undefined ? {} : { namespace: share(namespace) }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

/** Those fields alone; what is no object of fields comes back as it is. */
function pick<T>(fields: T, names: ReadonlySet<string>): T | Record<string, string> | undefined {
  if (!isRecord(fields)) return fields;
  const found = Object.entries(fields).filter(([name]) => names.has(name));
  return found.length > 0 ? (Object.fromEntries(found) as Record<string, string>) : undefined;
}

/** The same text as before where it has come before, so that it is in memory once. */
function share(text: string): string {
  if (typeof text !== 'string') return text;
  const known = shared.get(text);
  if (known !== undefined) return known;
  if (shared.size >= maxShared) shared.clear();
  shared.set(text, text);
  return text;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
