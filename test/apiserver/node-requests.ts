import { request as httpRequest, type IncomingMessage } from 'node:http';
import { PODS } from './kinds.ts';
import type { NodeConnections } from './node-connections.ts';
import { listAt, valueAt } from './objects.ts';
import type { Registry } from './registry.ts';
import type { Reply } from './reply.ts';
import type { ResourceRequest } from './request-info.ts';
import { badRequest, failure, internalError, invalid, type StatusError } from './status.ts';

/** What leads to a node as an ordinary request: logs of pods, and whatever is behind nodes/proxy. */
export const isNodeRequest = ({ kind, subresource }: ResourceRequest): boolean =>
  (kind === PODS && subresource === 'log') || (kind.plural === 'nodes' && subresource === 'proxy');

interface Parts {
  readonly registry: Registry;
  readonly nodes: NodeConnections;
}

/** Asks the node, and passes its answer on as it comes. Throws a StatusError. */
export async function passRequest(
  parts: Parts,
  info: ResourceRequest,
  url: URL,
  request: IncomingMessage,
  reply: Reply,
): Promise<void> {
  if (info.kind === PODS) await passLog(parts, info, reply);
  else await passProxied(parts, info, url, request, reply);
}

async function passLog({ registry, nodes }: Parts, info: ResourceRequest, reply: Reply): Promise<void> {
  const { namespace = '', name, query } = info;
  const wrong = wrongOptions(query, name);
  if (wrong) throw wrong;
  const pod = registry.get(PODS, namespace, name);
  const container = containerOf(pod.spec, name, query.get('container') ?? '');
  const node = valueAt(pod, 'spec.nodeName');
  // As upstream: a pod that has no node yet has an empty log.
  if (typeof node !== 'string' || node === '') return reply.text(200, '');
  const params = new URLSearchParams();
  for (const flag of ['follow', 'previous', 'timestamps']) {
    if (['true', '1'].includes(query.get(flag) ?? '')) params.set(flag, 'true');
  }
  for (const option of ['sinceSeconds', 'sinceTime', 'tailLines', 'limitBytes', 'stream']) {
    const value = query.get(option);
    if (value !== null) params.set(option, value);
  }
  params.sort();
  const path = `/containerLogs/${namespace}/${name}/${container}${params.size ? `?${params}` : ''}`;
  const answer = await ask(
    nodes,
    node,
    { method: 'GET', path, headers: { 'user-agent': 'Go-http-client/1.1' } },
    reply,
  );
  const status = answer.statusCode ?? 500;
  if (status >= 200 && status <= 206) return reply.pass(200, { 'content-type': 'text/plain' }, answer);
  const text = await textOf(answer);
  if (status === 500) throw internalError(text);
  if (status === 400) throw badRequest(text);
  throw failure(status, '', `the server responded with the status code ${status} but did not return more information`, {
    name,
    kind: PODS.plural,
    causes: [{ reason: 'UnexpectedServerResponse', message: text }],
  });
}

async function passProxied(
  { nodes }: Parts,
  info: ResourceRequest,
  url: URL,
  request: IncomingMessage,
  reply: Reply,
): Promise<void> {
  const path = url.pathname.replace(/^.*?\/proxy/, '') || '/';
  const headers: Record<string, string | string[]> = { 'x-forwarded-uri': url.pathname };
  for (const [name, value] of Object.entries(request.headers)) {
    const ours = ['host', 'authorization', 'connection', 'transfer-encoding'].includes(name) || name.startsWith(':');
    if (!ours && value !== undefined) headers[name] = value;
  }
  const call = { method: request.method ?? 'GET', path: `${path}${url.search}`, headers, body: request };
  const answer = await ask(nodes, info.name, call, reply);
  const { connection: _c, 'keep-alive': _k, 'transfer-encoding': _t, ...passed } = answer.headers;
  return reply.pass(answer.statusCode ?? 500, passed, answer);
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: IncomingMessage;
}

/** The node's answer, as soon as its head is here. The connection ends with the client's. */
async function ask(nodes: NodeConnections, node: string, call: Call, reply: Reply): Promise<IncomingMessage> {
  const { address, port } = nodes.hostOf(node);
  const socket = await nodes.open(node);
  return new Promise((resolve, reject) => {
    const { method, path, body } = call;
    const headers = { 'accept-encoding': 'gzip', ...call.headers, host: `${address}:${port}` };
    const toNode = httpRequest({ method, path, headers, createConnection: () => socket });
    toNode.once('response', resolve);
    toNode.once('error', (error) => reject(internalError(`error trying to reach service: ${error.message}`)));
    reply.onClose(() => socket.destroy());
    if (body && method !== 'GET' && method !== 'HEAD') body.pipe(toNode);
    else toNode.end();
  });
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  return text;
}

function containerOf(spec: Parameters<typeof listAt>[0], pod: string, asked: string): string {
  const names = (key: string) => listAt(spec, key).map(({ name }) => String(name));
  const [containers, init] = [names('containers'), names('initContainers')];
  if (asked) {
    if ([...containers, ...init, ...names('ephemeralContainers')].includes(asked)) return asked;
    throw badRequest(`container ${asked} is not valid for pod ${pod}`);
  }
  if (containers.length === 1) return containers[0] ?? '';
  const others = init.length ? ` or one of the init containers: [${init.join(' ')}]` : '';
  throw badRequest(
    `a container name must be specified for pod ${pod}, choose one of: [${containers.join(' ')}]${others}`,
  );
}

function wrongOptions(query: URLSearchParams, name: string): StatusError | undefined {
  const invalidValue = (field: string, why: string) => ({
    field,
    reason: 'FieldValueInvalid',
    message: `Invalid value: ${query.get(field)}: ${why}`,
  });
  const below = (field: string, least: number) => query.has(field) && Number(query.get(field)) < least;
  const causes = [
    ...(below('tailLines', 0) ? [invalidValue('tailLines', 'must be greater than or equal to 0')] : []),
    ...(below('limitBytes', 1) ? [invalidValue('limitBytes', 'must be greater than 0')] : []),
    ...(below('sinceSeconds', 1) ? [invalidValue('sinceSeconds', 'must be greater than 0')] : []),
  ];
  return causes.length
    ? invalid({ kind: 'PodLogOptions', group: '', plural: 'PodLogOptions' } as never, name, causes)
    : undefined;
}
