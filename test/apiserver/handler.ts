import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { authenticate, type PeerIdentity, type TokenTable, type User } from './authentication.ts';
import { authorize, type Verdict } from './authorization.ts';
import { discover } from './discovery.ts';
import type { FaultRule, Faults, RequestFacts } from './faults.ts';
import { BINDINGS, PODS, type ResourceKind, SERVICE_ACCOUNTS } from './kinds.ts';
import { listJson } from './listing.ts';
import type { NodeConnections } from './node-connections.ts';
import { isNodeRequest, passRequest } from './node-requests.ts';
import { restrictNode, restrictTokenRequest } from './node-restriction.ts';
import { passUpgrade } from './node-upgrade.ts';
import { type DraftObject, isFields, valueAt } from './objects.ts';
import { PATCH_TYPES } from './patch.ts';
import { decodeProtobuf, PROTOBUF } from './protobuf-body.ts';
import type { DeleteOptions, Registry } from './registry.ts';
import type { Reply } from './reply.ts';
import { isResourceRequest, parseRequest, type RequestInfo, type ResourceRequest } from './request-info.ts';
import { answerReview } from './reviews.ts';
import { matches, parseLabelSelector, type Selection } from './selectors.ts';
import {
  badRequest,
  expired,
  failure,
  forbidden,
  internalError,
  methodNotAllowed,
  notImplemented,
  qualified,
  StatusError,
  success,
  unknownResource,
  unsupportedMediaType,
} from './status.ts';
import { jsonOf } from './store.ts';
import type { TokenIssuer } from './tokens.ts';
import type { WatchHub } from './watch.ts';

export interface HandlerParts {
  readonly registry: Registry;
  readonly hub: WatchHub;
  readonly faults: Faults;
  readonly issuer: TokenIssuer;
  readonly tokens: TokenTable;
  readonly nodes: NodeConnections;
  /** The endpoint for whoever runs the server: returns whether the path was one of its own. */
  readonly control: (method: string, path: string, body: unknown, reply: Reply) => boolean;
  readonly delay: (ms: number) => Promise<void>;
  /** Told about every request when its answer begins, watches included. */
  readonly record: (facts: RequestFacts, query: URLSearchParams, status: number) => void;
}

/** One request, from the identity of its connection to its answer. */
export class Handler {
  readonly #parts: HandlerParts;

  constructor(parts: HandlerParts) {
    this.#parts = parts;
  }

  async handle(request: IncomingMessage, url: URL, peer: PeerIdentity, reply: Reply): Promise<void> {
    const method = request.method ?? 'GET';
    let facts: RequestFacts = NO_FACTS;
    try {
      const user = authenticate(peer, request.headers.authorization, this.#parts.tokens, this.#parts.issuer);
      facts = { ...NO_FACTS, verb: method.toLowerCase(), user: user.name };
      if (url.pathname.startsWith('/_')) {
        await this.#controlled(request, method, url.pathname, user, reply);
        return;
      }
      const info = parseRequest(method, url);
      facts = factsOf(info, user);
      if (await this.#hitByFault(info, facts, reply)) return;
      this.#requireRight(info, user);
      if (isResourceRequest(info) && isNodeRequest(info)) await passRequest(this.#parts, info, url, request, reply);
      else if (isResourceRequest(info)) await this.#serve(info, user, facts, request, reply);
      else plainPath(info.path, reply);
    } catch (error) {
      if (request.destroyed && !request.complete) return;
      const refusal = error instanceof StatusError ? error : internalError(String(error));
      if (!(error instanceof StatusError))
        process.emitWarning(error instanceof Error ? error : new Error(String(error)));
      if (reply.status === 0) reply.json(refusal.code, refusal.body, refusal.headers);
    } finally {
      if (reply.status !== 0) this.#parts.record(facts, url.searchParams, reply.status);
    }
  }

  /** A request for another protocol: a stream to a pod's containers or ports. Resolves when it is over. */
  async upgrade(request: IncomingMessage, url: URL, peer: PeerIdentity, socket: Duplex, head: Buffer): Promise<void> {
    let facts: RequestFacts = NO_FACTS;
    try {
      const user = authenticate(peer, request.headers.authorization, this.#parts.tokens, this.#parts.issuer);
      const info = parseRequest(request.method ?? 'GET', url);
      facts = factsOf(info, user);
      this.#requireRight(info, user);
      if (!isResourceRequest(info)) throw unknownResource();
      this.#parts.record(facts, url.searchParams, 101);
      await passUpgrade(this.#parts, info, url, request, { socket, head });
    } catch (error) {
      const refusal = error instanceof StatusError ? error : internalError(String(error));
      this.#parts.record(facts, url.searchParams, refusal.code);
      const body = JSON.stringify(refusal.body);
      const headers = `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close`;
      socket.end(`HTTP/1.1 ${refusal.code} ${STATUS_CODES[refusal.code]}\r\n${headers}\r\n\r\n${body}`);
    }
  }

  async #controlled(request: IncomingMessage, method: string, path: string, user: User, reply: Reply): Promise<void> {
    if (!user.groups.includes('system:masters')) {
      throw failure(403, 'Forbidden', `User "${user.name}" cannot ${method} path "${path}"`, {});
    }
    const body = method === 'POST' ? await readJson(request) : undefined;
    if (!this.#parts.control(method, path, body, reply)) reply.text(404, '404 page not found\n');
  }

  /** Carries a fault out; true when that was the answer. */
  async #hitByFault(info: RequestInfo, facts: RequestFacts, reply: Reply): Promise<boolean> {
    const rule = this.#parts.faults.take(facts);
    if (!rule) return false;
    switch (rule.action) {
      case 'drop':
        reply.destroy();
        return true;
      case 'delay':
        await this.#parts.delay(rule.delayMs ?? 1000);
        return false;
      case 'stall':
        if (facts.verb === 'watch') reply.stream();
        return true;
      case 'expire':
        this.#expire(info, facts, reply);
        return true;
      default:
        fail(rule, rule.action, reply);
        return true;
    }
  }

  #expire(info: RequestInfo, facts: RequestFacts, reply: Reply): void {
    const { body } = expired(Number(info.query.get('resourceVersion') ?? 0) || 0, this.#parts.registry.store.version);
    if (facts.verb !== 'watch') {
      reply.json(410, body);
      return;
    }
    const sink = reply.stream();
    sink.write(`{"type":"ERROR","object":${JSON.stringify(body)}}\n`);
    sink.end();
  }

  #requireRight(info: RequestInfo, user: User): void {
    const { store } = this.#parts.registry;
    if (!isResourceRequest(info)) {
      const { allowed } = authorize(store, { user, verb: info.verb, path: info.path });
      if (allowed) return;
      throw failure(
        403,
        'Forbidden',
        `forbidden: User "${user.name}" cannot ${info.verb} path "${info.path}"`,
        {},
        NOSNIFF,
      );
    }
    const { kind, verb, name, subresource, fields, namespace } = info;
    const verdict = authorize(store, {
      user,
      verb,
      group: kind.group,
      resource: kind.plural,
      subresource,
      namespace: namespace ?? '',
      name,
      fields,
    });
    if (!verdict.allowed) throw notAllowed(info, user, verdict);
  }

  async #serve(
    info: ResourceRequest,
    user: User,
    facts: RequestFacts,
    request: IncomingMessage,
    reply: Reply,
  ): Promise<void> {
    const { registry, hub } = this.#parts;
    const { kind, verb, namespace, name, subresource, query } = info;
    if (query.has('dryRun')) throw notImplemented('this server does not know dryRun');
    switch (verb) {
      case 'get':
        checkSubresource(kind, subresource, verb);
        reply.jsonText(200, jsonOf(registry.get(kind, namespace, name)));
        return;
      case 'list':
        reply.jsonText(200, listJson(registry.store, kind, selectionOf(info), query));
        return;
      case 'watch': {
        const selection = selectionOf(info);
        hub.serve({ kind, selection, facts, query }, reply.stream());
        return;
      }
      case 'create':
        await this.#create(info, user, request, reply);
        return;
      case 'update': {
        checkSubresource(kind, subresource, verb);
        const draft = asDraft(await readJson(request));
        reply.jsonText(200, jsonOf(registry.update(kind, namespace, name, draft, { subresource, user })));
        return;
      }
      case 'patch':
        await this.#patch(info, user, request, reply);
        return;
      case 'delete':
        this.#delete(info, user, await readJson(request), reply);
        return;
      case 'deletecollection':
        this.#deleteAll(info, user, await readJson(request), reply);
        return;
      default:
        throw methodNotAllowed();
    }
  }

  async #create(info: ResourceRequest, user: User, request: IncomingMessage, reply: Reply): Promise<void> {
    const { registry, issuer, tokens } = this.#parts;
    const { kind, namespace = '', name, subresource } = info;
    if (name && !subresource) throw methodNotAllowed();
    checkSubresource(kind, subresource, 'create');
    const draft = asDraft(await readJson(request));
    if (kind === SERVICE_ACCOUNTS && subresource === 'token') {
      restrictTokenRequest(user, registry.store, namespace, name, draft);
      reply.json(201, issuer.issue(namespace, name, draft));
    } else if (kind === BINDINGS || subresource === 'binding') {
      registry.bind(namespace, name || (draft.metadata?.name ?? ''), draft);
      reply.json(201, success(undefined, 201));
    } else if (subresource === 'eviction') {
      const object = registry.get(PODS, namespace, name);
      restrictNode(user, registry.store, { verb: 'create', kind, subresource, object });
      registry.delete(PODS, namespace, name, deleteOptionsOf(valueAt(draft, 'deleteOptions'), info.query));
      reply.json(201, success(undefined, 201));
    } else if (kind.virtual) {
      reply.json(201, answerReview(kind, draft, { store: registry.store, tokens, issuer, user }));
    } else {
      const scope = kind.namespaced ? (info.namespace ?? 'default') : undefined;
      reply.jsonText(201, jsonOf(registry.create(kind, scope, draft, user)));
    }
  }

  async #patch(info: ResourceRequest, user: User, request: IncomingMessage, reply: Reply): Promise<void> {
    const { kind, namespace, name, subresource } = info;
    checkSubresource(kind, subresource, 'patch');
    const mediaType = (request.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';
    const type = PATCH_TYPES[mediaType];
    if (!type) throw unsupportedMediaType(Object.keys(PATCH_TYPES));
    const patch = { type, body: await readJson(request, [mediaType]) };
    reply.jsonText(200, jsonOf(this.#parts.registry.patch(kind, namespace, name, patch, { subresource, user })));
  }

  #deleteAll(info: ResourceRequest, user: User, body: unknown, reply: Reply): void {
    const { registry } = this.#parts;
    const selection = selectionOf(info);
    const list = listJson(registry.store, info.kind, selection, new URLSearchParams());
    const options = deleteOptionsOf(body, info.query);
    for (const object of registry.store.list(info.kind)) {
      const { namespace, name } = object.metadata;
      if (matches(object, selection)) registry.delete(info.kind, namespace, name, options, user);
    }
    reply.jsonText(200, list);
  }

  #delete(info: ResourceRequest, user: User, body: unknown, reply: Reply): void {
    const { kind, namespace, name, subresource, query } = info;
    if (subresource) throw methodNotAllowed();
    const options = deleteOptionsOf(body, query);
    const { object, gone } = this.#parts.registry.delete(kind, namespace, name, options, user);
    if (kind.returnsDeleted || !gone) {
      reply.jsonText(200, jsonOf(object));
      return;
    }
    const group = kind.group ? { group: kind.group } : {};
    reply.json(200, success({ name, ...group, kind: kind.plural, uid: object.metadata.uid }));
  }
}

const NOSNIFF = { 'x-content-type-options': 'nosniff' };
const NO_FACTS: RequestFacts = { verb: '', resource: '', subresource: '', namespace: '', name: '', user: '' };

const factsOf = (info: RequestInfo, user: User): RequestFacts =>
  isResourceRequest(info)
    ? {
        verb: info.verb,
        resource: info.kind.plural,
        subresource: info.subresource,
        namespace: info.namespace ?? '',
        name: info.name,
        user: user.name,
      }
    : { ...NO_FACTS, verb: info.verb, resource: info.path, user: user.name };

function notAllowed(info: ResourceRequest, user: User, { reason }: Verdict): StatusError {
  const { kind, verb, name, subresource, namespace } = info;
  const resource = subresource ? `${kind.plural}/${subresource}` : kind.plural;
  const where = namespace ? `in the namespace "${namespace}"` : 'at the cluster scope';
  const why = `User "${user.name}" cannot ${verb} resource "${resource}" in API group "${kind.group}" ${where}`;
  return forbidden(kind, name, reason ? `${why}: ${reason}` : why);
}

/** 429 and 503 as the server's own filters send them, before any handler. */
function fail(rule: FaultRule, action: '429' | '500' | '503', reply: Reply): void {
  const retry = { 'retry-after': `${rule.retryAfterSeconds ?? 1}` };
  if (action === '429') {
    reply.text(429, 'Too many requests, please try again later.\n', { ...retry, ...NOSNIFF });
    return;
  }
  const { body } =
    action === '500'
      ? internalError('etcdserver: request timed out')
      : failure(503, 'ServiceUnavailable', 'the server is currently unable to handle the request', {
          ...(rule.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: rule.retryAfterSeconds }),
        });
  reply.json(Number(action), body, rule.retryAfterSeconds === undefined ? {} : retry);
}

function plainPath(path: string, reply: Reply): void {
  const found = discover(path);
  if (found === undefined) reply.text(404, '404 page not found\n', NOSNIFF);
  else if (typeof found === 'string') reply.text(200, found, NOSNIFF);
  else reply.json(200, found);
}

const selectionOf = ({ namespace, fields, query }: ResourceRequest): Selection => ({
  ...(namespace === undefined ? {} : { namespace }),
  fields,
  labels: parseLabelSelector(query.get('labelSelector') ?? ''),
});

function checkSubresource(kind: ResourceKind, subresource: string, verb: string): void {
  if (!subresource) return;
  const verbs = kind.subresources[subresource];
  if (!verbs) throw unknownResource();
  if (['exec', 'attach', 'portforward', 'proxy'].includes(subresource)) {
    throw notImplemented(`${qualified(kind)}/${subresource} is not served here: it needs a connection to the node`);
  }
  if (!verbs.includes(verb)) throw methodNotAllowed();
}

const BODY_LIMIT = 3 * 1024 * 1024;

async function readJson(
  request: IncomingMessage,
  accepted: readonly string[] = ['application/json', PROTOBUF],
): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_LIMIT) throw failure(413, 'RequestEntityTooLarge', `limit is ${BODY_LIMIT}`, {});
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  const mediaType = (request.headers['content-type'] ?? 'application/json').split(';')[0]?.trim() ?? '';
  if (!accepted.includes(mediaType)) throw unsupportedMediaType(accepted);
  if (mediaType === PROTOBUF) return decodeProtobuf(Buffer.concat(chunks));
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch (error) {
    throw badRequest(`the object provided is unrecognized: couldn't get version/kind; json parse error: ${error}`);
  }
}

function asDraft(body: unknown): DraftObject {
  if (!isFields(body)) throw badRequest('the object provided is unrecognized (must be a JSON object)');
  return body;
}

function deleteOptionsOf(body: unknown, query: URLSearchParams): DeleteOptions {
  const options = isFields(body) ? body : {};
  const seconds = options['gracePeriodSeconds'] ?? query.get('gracePeriodSeconds');
  const preconditions = options['preconditions'];
  return {
    ...(seconds === undefined || seconds === null ? {} : { gracePeriodSeconds: Number(seconds) }),
    ...(isFields(preconditions) ? { preconditions: preconditions as { uid?: string; resourceVersion?: string } } : {}),
  };
}
