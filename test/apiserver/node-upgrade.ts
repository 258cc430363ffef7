import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { NODES, PODS } from './kinds.ts';
import type { NodeConnections } from './node-connections.ts';
import { listAt, valueAt } from './objects.ts';
import type { Registry } from './registry.ts';
import type { ResourceRequest } from './request-info.ts';
import { badRequest, failure, unknownResource } from './status.ts';

/** Where a request that leads to a node goes there. */
interface NodeTarget {
  readonly node: string;
  readonly path: string;
}

const STREAMED = ['exec', 'attach', 'portforward'];
const FEATURE = 'ExtendWebSocketsToKubelet';

/** The path on the node for a request that asks for another protocol. Throws a StatusError when it leads nowhere. */
function targetOf(registry: Registry, info: ResourceRequest, url: URL): NodeTarget {
  const { kind, subresource, namespace = '', name, query } = info;
  if (kind === NODES && subresource === 'proxy') {
    const path = url.pathname.replace(/^.*?\/proxy/, '') || '/';
    return { node: name, path: `${path}${url.search}` };
  }
  if (kind !== PODS || !STREAMED.includes(subresource)) throw unknownResource();
  const pod = registry.get(PODS, namespace, name);
  const node = valueAt(pod, 'spec.nodeName');
  if (typeof node !== 'string' || node === '') throw badRequest(`pod ${name} does not have a host assigned`);
  if (subresource === 'portforward') {
    const ports = query.getAll('ports');
    return { node, path: `/portForward/${namespace}/${name}${ports.length ? `?port=${ports.join(',')}` : ''}` };
  }
  const container = containerOf(pod.spec, name, query.get('container') ?? '');
  return { node, path: `/${subresource}/${namespace}/${name}/${container}?${streamParams(query)}` };
}

function containerOf(spec: Parameters<typeof listAt>[0], pod: string, asked: string): string {
  const names = (key: string) => listAt(spec, key).map(({ name }) => String(name));
  const all = [...names('containers'), ...names('initContainers'), ...names('ephemeralContainers')];
  if (asked) {
    if (!all.includes(asked)) throw badRequest(`container ${asked} is not valid for pod ${pod}`);
    return asked;
  }
  const [only, ...others] = names('containers');
  if (only !== undefined && others.length === 0) return only;
  throw badRequest(`a container name must be specified for pod ${pod}, choose one of: [${all.join(' ')}]`);
}

/** The same options under the names that nodes know. */
function streamParams(query: URLSearchParams): URLSearchParams {
  const params = new URLSearchParams();
  for (const word of query.getAll('command')) params.append('command', word);
  const names = { stdin: 'input', stdout: 'output', stderr: 'error', tty: 'tty' };
  for (const [ours, theirs] of Object.entries(names)) {
    if (['true', '1'].includes(query.get(ours) ?? '')) params.set(theirs, '1');
  }
  return params;
}

/**
 * Passes a request for another protocol to the node, and from then on every byte both ways, the node's
 * answer first. WebSockets go through to a node that declared it can take them; to others they would have
 * to be translated, which this server does not do: it refuses, and kubectl asks again with SPDY.
 */
export async function passUpgrade(
  { registry, nodes }: { readonly registry: Registry; readonly nodes: NodeConnections },
  info: ResourceRequest,
  url: URL,
  request: IncomingMessage,
  client: { readonly socket: Duplex; readonly head: Buffer },
): Promise<void> {
  const target = targetOf(registry, info, url);
  const webSocket = request.headers.upgrade?.toLowerCase() === 'websocket';
  if (webSocket && !nodes.declares(target.node, FEATURE)) {
    throw failure(501, 'NotImplemented', `node ${target.node} takes no WebSockets`, {});
  }
  const { address, port } = nodes.hostOf(target.node);
  const node = await nodes.open(target.node);
  const lines = [`${webSocket ? 'GET' : 'POST'} ${target.path} HTTP/1.1`, `Host: ${address}:${port}`];
  const { rawHeaders } = request;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    // The caller's identity stays here: to the node, the API server itself asks.
    if (!/^(host|authorization|content-length)$/i.test(rawHeaders[i] ?? '')) {
      lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
    }
  }
  if (!webSocket) lines.push('Content-Length: 0');
  node.write(`${lines.join('\r\n')}\r\n\r\n`);
  const { socket, head } = client;
  if (head.length > 0) socket.unshift(head);
  await join(socket, node);
}

/** Resolves when both are closed; the end of one is the end of the other. */
function join(a: Duplex, b: Duplex): Promise<void> {
  const closed = (socket: Duplex, other: Duplex) =>
    new Promise<void>((resolve) => {
      socket.on('error', () => other.destroy());
      socket.once('close', () => {
        other.end();
        resolve();
      });
      socket.pipe(other);
    });
  return Promise.all([closed(a, b), closed(b, a)]).then(() => undefined);
}
