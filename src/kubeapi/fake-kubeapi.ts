import { randomUUID } from 'node:crypto';
import type { KubeObject, Status } from '../api/meta-v1.ts';
import type { Clock } from '../lib/clock.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { type FakeWatch, openFakeWatch } from './fake-watch.ts';
import { applyJsonPatch } from './json-patch.ts';
import {
  ApiError,
  type DeleteOptions,
  type KubeApi,
  type ListQuery,
  type ObjectList,
  type ObjectName,
  type Patch,
  type WatchEvent,
  type WatchQuery,
} from './kube-api.ts';
import { mergeSchemaOf } from './merge-schema.ts';
import { keyOf } from './object-store.ts';
import { pods, type Resource, serviceAccounts } from './resources.ts';
import { matchesQuery } from './selectors.ts';
import { applyMergePatch, applyStrategicMerge, type JsonObject } from './strategic-merge.ts';

export type Verb = 'get' | 'list' | 'create' | 'update' | 'patch' | 'delete' | 'watch';

/** One change, as every watch of the resource sees it. */
export interface Change {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
  /** The object before, so that a watch can tell what enters or leaves its selectors. */
  readonly previous: KubeObject | undefined;
}

interface Collection {
  readonly objects: Map<string, KubeObject>;
  readonly history: Change[];
  readonly watches: Set<FakeWatch>;
}

/** Kinds whose status can be written through the status subresource only. */
const withStatus = new Set(['Pod', 'Node', 'Service']);

/**
 * An API server in memory for tests: versions, conflicts, selectors, paging, watches with history,
 * bookmarks and expiry, streamed lists, graceful deletion of pods, patches of all three kinds,
 * TokenRequest. Objects it hands out are copies.
 */
export class FakeKubeApi implements KubeApi {
  /** Every request so far, such as 'patch pods default/web status'. */
  readonly calls: string[] = [];
  /** Set to false for a server that refuses streamed lists as 1.36 does with the feature off. */
  streamingLists = true;
  /** By plural: what lists hold beside the objects, whatever it is. */
  readonly strays = new Map<string, readonly unknown[]>();
  readonly #clock: Clock;
  readonly #collections = new Map<string, Collection>();
  readonly #injected: { verb: Verb; plural: string; error: Error; left: number }[] = [];
  #version = 1;
  #oldest = 0;

  constructor(clock: Clock = new FakeClock()) {
    this.#clock = clock;
  }

  // --- for tests ---------------------------------------------------------------------------------

  /** The next `times` calls of this verb on this resource fail with the error. */
  injectError(verb: Verb, plural: string, error: Error, times = 1): void {
    this.#injected.push({ verb, plural, error, left: times });
  }

  /** Forgets the history, as etcd does: watches from an older resourceVersion get 410, open ones go on. */
  compact(): void {
    this.#oldest = this.#version;
    for (const { history } of this.#collections.values()) history.length = 0;
  }

  /** Sends a bookmark to every watch that asked for them. */
  bookmark(): void {
    for (const { watches } of this.#collections.values()) for (const watch of watches) watch.bookmark(this.#version);
  }

  /** Breaks every open watch, as a lost connection does; without an error they end as by their timeout. */
  dropWatches(error?: Error): void {
    for (const { watches } of this.#collections.values()) for (const watch of [...watches]) watch.end(error);
  }

  /** Sends an event, whatever it is, to every watch of the resource. */
  sendRaw(resource: Resource<KubeObject>, event: unknown): void {
    for (const watch of this.#of(resource).watches) watch.raw(event);
  }

  /** How many watches are open on a resource. */
  watchCount(resource: Resource<KubeObject>): number {
    return this.#of(resource).watches.size;
  }

  // --- KubeApi -----------------------------------------------------------------------------------

  async get<T extends KubeObject>(resource: Resource<T>, ref: ObjectName, signal: AbortSignal): Promise<T> {
    this.#enter('get', resource, keyOfRef(ref), signal);
    return copy(this.#find(resource, ref));
  }

  async list<T extends KubeObject>(
    resource: Resource<T>,
    query: ListQuery,
    signal: AbortSignal,
  ): Promise<ObjectList<T>> {
    this.#enter('list', resource, query.namespace ?? '', signal);
    const [from = 0, version = this.#version] = (query.continue ?? '').split('@').filter(Boolean).map(Number);
    if (query.continue && version < this.#oldest) throw expired(version, this.#version);
    const all = this.#matching(resource, query);
    const end = query.limit ? from + query.limit : all.length;
    const items = all.slice(from, end).map((object) => copy(object) as T);
    const more = end < all.length ? { continue: `${end}@${version}` } : {};
    return { resourceVersion: String(version), items, ...more };
  }

  async create<T extends KubeObject>(resource: Resource<T>, object: T, signal: AbortSignal): Promise<T> {
    this.#enter('create', resource, keyOf(object), signal);
    const key = keyOf(object);
    const found = this.#of(resource).objects.has(key);
    if (found) throw failure(409, 'AlreadyExists', `${resource.plural} "${object.metadata.name}" already exists`);
    const { resourceVersion: _, ...metadata } = object.metadata;
    const stored = {
      ...object,
      apiVersion: resource.apiVersion,
      kind: resource.kind,
      metadata: { ...metadata, uid: metadata.uid ?? randomUUID(), creationTimestamp: this.#stamp() },
    };
    return copy(this.#commit(resource, 'ADDED', stored, undefined));
  }

  async createSubresource<B, R>(
    resource: Resource<KubeObject>,
    ref: ObjectName,
    subresource: string,
    body: B,
    signal: AbortSignal,
  ): Promise<R> {
    this.#enter('create', resource, `${keyOfRef(ref)} ${subresource}`, signal);
    if (resource.plural !== serviceAccounts.plural || subresource !== 'token') {
      throw failure(404, 'NotFound', 'the server could not find the requested resource');
    }
    const { spec } = body as { spec?: { expirationSeconds?: number } };
    const seconds = spec?.expirationSeconds ?? 3600;
    const expirationTimestamp = new Date(this.#clock.now() + seconds * 1000).toISOString();
    const status = { token: `token-of-${ref.name}-${randomUUID()}`, expirationTimestamp };
    return { ...(copy(body) as object), kind: 'TokenRequest', apiVersion: 'authentication.k8s.io/v1', status } as R;
  }

  async update<T extends KubeObject>(resource: Resource<T>, object: T, signal: AbortSignal): Promise<T> {
    this.#enter('update', resource, keyOf(object), signal);
    const before = this.#find(resource, object.metadata);
    const { resourceVersion } = object.metadata;
    if (resourceVersion && resourceVersion !== before.metadata.resourceVersion) throw conflict(resource, before);
    if (object.metadata.uid !== undefined && object.metadata.uid !== before.metadata.uid)
      throw conflict(resource, before);
    const after = withStatus.has(resource.kind) ? withStatusOf(object, before) : object;
    return copy(this.#commit(resource, 'MODIFIED', after, before));
  }

  async patch<T extends KubeObject>(
    resource: Resource<T>,
    ref: ObjectName,
    patch: Patch,
    signal: AbortSignal,
  ): Promise<T> {
    this.#enter('patch', resource, keyOfRef(ref) + (patch.subresource ? ` ${patch.subresource}` : ''), signal);
    const before = this.#find(resource, ref);
    const patched = copy(applyPatch(before, patch, resource.kind)) as T;
    if (patched.metadata.uid !== before.metadata.uid) throw immutableUid(resource, patched);
    if (patched.metadata.resourceVersion !== before.metadata.resourceVersion) throw conflict(resource, before);
    // The status subresource writes status and metadata, the main resource everything but the status.
    const after = patch.subresource
      ? { ...withStatusOf(before, patched), metadata: patched.metadata }
      : withStatus.has(resource.kind)
        ? withStatusOf(patched, before)
        : patched;
    return copy(this.#commit(resource, 'MODIFIED', after, before));
  }

  async delete(
    resource: Resource<KubeObject>,
    ref: ObjectName,
    options: DeleteOptions,
    signal: AbortSignal,
  ): Promise<void> {
    this.#enter('delete', resource, keyOfRef(ref), signal);
    const before = this.#find(resource, ref);
    if (options.uid !== undefined && options.uid !== before.metadata.uid) throw conflict(resource, before);
    const grace = graceOf(resource, before, options);
    if (grace === 0) {
      this.#commit(resource, 'DELETED', before, before);
      return;
    }
    const { deletionGracePeriodSeconds = Number.POSITIVE_INFINITY } = before.metadata;
    // A grace period under way only ever shrinks.
    if (grace >= deletionGracePeriodSeconds) return;
    const deletionTimestamp = new Date(this.#clock.now() + grace * 1000).toISOString().replace(/\.\d+Z/, 'Z');
    const metadata = { ...before.metadata, deletionTimestamp, deletionGracePeriodSeconds: grace };
    this.#commit(resource, 'MODIFIED', { ...before, metadata }, before);
  }

  async *watch<T extends KubeObject>(
    resource: Resource<T>,
    query: WatchQuery,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>> {
    this.#enter('watch', resource, query.resourceVersion ?? '', signal);
    if (query.sendInitialEvents && !this.streamingLists) {
      throw failure(
        500,
        'InternalError',
        'a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled',
      );
    }
    const version = query.resourceVersion ? Number(query.resourceVersion) : undefined;
    if (version !== undefined && version > 0 && version < this.#oldest) throw expired(version, this.#oldest);
    const { watches, history } = this.#of(resource);
    const watch = openFakeWatch(query, (set) => watches.delete(set));
    watches.add(watch);
    if (!version || query.sendInitialEvents) watch.initial(this.#matching(resource, query), this.#version);
    else for (const change of history.filter((past) => past.version > version)) watch.change(change);
    const { timeoutSeconds } = query;
    using _timeout = timeoutSeconds ? this.#clock.after(timeoutSeconds * 1000, () => watch.end()) : undefined;
    yield* watch.events(signal) as AsyncGenerator<WatchEvent<T>>;
  }

  // --- inside ------------------------------------------------------------------------------------

  #enter(verb: Verb, resource: Resource<KubeObject>, what: string, signal: AbortSignal): void {
    signal.throwIfAborted();
    this.calls.push(`${verb} ${resource.plural} ${what}`.trim());
    const at = this.#injected.findIndex((entry) => entry.verb === verb && entry.plural === resource.plural);
    const entry = this.#injected[at];
    if (!entry) return;
    entry.left -= 1;
    if (entry.left <= 0) this.#injected.splice(at, 1);
    throw entry.error;
  }

  #of(resource: Resource<KubeObject>): Collection {
    const id = `${resource.apiVersion}/${resource.plural}`;
    const found = this.#collections.get(id) ?? { objects: new Map(), history: [], watches: new Set() };
    this.#collections.set(id, found);
    return found;
  }

  #find<T extends KubeObject>(resource: Resource<T>, ref: ObjectName): T {
    const found = this.#of(resource).objects.get(keyOfRef(ref));
    if (found) return found as T;
    throw failure(404, 'NotFound', `${resource.plural} "${ref.name}" not found`, {
      name: ref.name,
      kind: resource.plural,
    });
  }

  #matching(resource: Resource<KubeObject>, query: ListQuery | WatchQuery): KubeObject[] {
    const all = [...this.#of(resource).objects.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
    const strays = (this.strays.get(resource.plural) ?? []) as readonly KubeObject[];
    return [...strays, ...all.map(([, object]) => object).filter((object) => matchesQuery(object, query))];
  }

  #commit<T extends KubeObject>(resource: Resource<T>, type: Change['type'], object: T, previous: T | undefined): T {
    const { objects, history, watches } = this.#of(resource);
    // A write that changes nothing makes no new version.
    if (type === 'MODIFIED' && JSON.stringify(object) === JSON.stringify(previous)) return object;
    this.#version += 1;
    const metadata = { ...object.metadata, resourceVersion: String(this.#version) };
    const stored = copy({ ...object, metadata });
    if (type === 'DELETED') objects.delete(keyOf(stored));
    else objects.set(keyOf(stored), stored);
    const change: Change = { version: this.#version, type, object: stored, previous };
    history.push(change);
    for (const watch of watches) watch.change(change);
    return stored;
  }

  #stamp(): string {
    return new Date(this.#clock.now()).toISOString().replace(/\.\d+Z/, 'Z');
  }
}

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

const keyOfRef = (ref: ObjectName): string => (ref.namespace ? `${ref.namespace}/${ref.name}` : ref.name);

const statusOf = (object: KubeObject): unknown => (object as { status?: unknown }).status;

/** The first object with the status of the second, or without one. */
function withStatusOf<T extends KubeObject>(object: T, other: T): T {
  const { status: _, ...rest } = object as T & { status?: unknown };
  const status = statusOf(other);
  return (status === undefined ? rest : { ...rest, status }) as unknown as T;
}

function applyPatch(before: KubeObject, patch: Patch, kind: string): KubeObject {
  try {
    if (patch.type === 'merge') return applyMergePatch(before, patch.body) as KubeObject;
    if (patch.type === 'json') return applyJsonPatch(before, patch.body as unknown[]) as KubeObject;
    const merged = applyStrategicMerge(before as unknown as JsonObject, patch.body as JsonObject, mergeSchemaOf(kind));
    return merged as unknown as KubeObject;
  } catch (error) {
    throw failure(400, 'BadRequest', error instanceof Error ? error.message : String(error));
  }
}

/** Pods that run on a node get the time they ask for; everything else goes at once. */
function graceOf(resource: Resource<KubeObject>, object: KubeObject, options: DeleteOptions): number {
  if (resource.plural !== pods.plural) return 0;
  const { spec } = object as { spec?: { nodeName?: string; terminationGracePeriodSeconds?: number } };
  const { phase } = (statusOf(object) ?? {}) as { phase?: string };
  if (!spec?.nodeName || phase === 'Succeeded' || phase === 'Failed') return 0;
  return options.gracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30;
}

function failure(status: number, reason: string, message: string, details?: Status['details']): ApiError {
  return new ApiError(status, { reason, message, ...(details ? { details } : {}) });
}

const conflict = (resource: Resource<KubeObject>, { metadata }: KubeObject): ApiError =>
  failure(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${resource.plural} "${metadata.name}": the object has been modified; please apply your changes to the latest version and try again`,
    { name: metadata.name, kind: resource.plural },
  );

const immutableUid = (resource: Resource<KubeObject>, { metadata }: KubeObject): ApiError => {
  const problem = `Invalid value: "${metadata.uid}": field is immutable`;
  const causes = [{ reason: 'FieldValueInvalid', message: problem, field: 'metadata.uid' }];
  const message = `${resource.kind} "${metadata.name}" is invalid: metadata.uid: ${problem}`;
  return failure(422, 'Invalid', message, { name: metadata.name, kind: resource.kind, causes });
};

const expired = (version: number, oldest: number): ApiError =>
  failure(410, 'Expired', `too old resource version: ${version} (${oldest})`);
