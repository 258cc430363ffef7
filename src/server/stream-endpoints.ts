import type { Duplex } from 'node:stream';
import { containersOf } from '../api/pod.ts';
import type { RuntimeService } from '../cri/services.ts';
import type { Clock } from '../lib/clock.ts';
import type { PodManager } from '../pod/pod-manager.ts';
import { type Endpoint, HttpError, type ServedRequest } from './endpoint.ts';
import { channelProtocol, type StreamOptions, translateChannels } from './exec-translator.ts';
import { runEndpoints } from './run.ts';
import { forwardedPorts, streamOptions } from './stream-options.ts';
import type { SessionOptions } from './stream-session.ts';
import { StreamTargets, streamRefusal } from './stream-targets.ts';
import { tunnel, tunnelledProtocol, tunnelMessages, type UpgradingClient } from './stream-tunnel.ts';
import { isWebSocketRequest, offeredProtocols } from './websocket.ts';

export interface StreamParts {
  readonly runtime: RuntimeService;
  readonly manager: PodManager;
  /** The kubelet's streamingConnectionIdleTimeout; 0 lets sessions stand for ever. */
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
}

/** Where the runtime serves what was asked for, and which streams the other side expects. */
type FindUrl<T> = (request: ServedRequest) => Promise<{ readonly url: URL } & T>;

/** Passes an upgraded connection on, until it is over. */
type Carry<T> = (found: { readonly url: URL } & T, client: UpgradingClient, options: SessionOptions) => Promise<void>;

/**
 * /exec, /attach, /portForward and /run: a pod's container or sandbox is found, the runtime is asked where
 * it serves the streams, and the client's connection is carried over to there.
 */
export function streamEndpoints(parts: StreamParts): Endpoint[] {
  const targets = new StreamTargets(parts);
  const exec = (request: ServedRequest) => execUrl(parts.runtime, targets, request);
  const attach = (request: ServedRequest) => attachUrl(parts.runtime, targets, request);
  const forward = (request: ServedRequest) => portForwardUrl(parts.runtime, targets, request);
  return [
    ...upgradeEndpoints(parts, ['/exec/{namespace}/{pod}/{container}', uidPath('/exec')], exec, carryChannels),
    ...upgradeEndpoints(parts, ['/attach/{namespace}/{pod}/{container}', uidPath('/attach')], attach, carryChannels),
    ...upgradeEndpoints(
      parts,
      ['/portForward/{namespace}/{pod}', '/portForward/{namespace}/{pod}/{uid}'],
      forward,
      carryPorts,
    ),
    ...runEndpoints(parts.runtime, targets),
  ];
}

const uidPath = (prefix: string): string => `${prefix}/{namespace}/{pod}/{uid}/{container}`;

function upgradeEndpoints<T>(
  { clock, idleTimeoutMs }: StreamParts,
  paths: readonly string[],
  find: FindUrl<T>,
  carry: Carry<T>,
): Endpoint[] {
  const upgrade = async (request: ServedRequest, socket: Duplex, head: Buffer) => {
    const { raw, signal } = request;
    await carry(await find(request), { raw, socket, head }, { clock, idleTimeoutMs, signal });
  };
  const handle = async (request: ServedRequest) => {
    await find(request);
    throw new HttpError(500, 'Upgrade request required');
  };
  return paths.map((path) => ({ path, methods: ['GET', 'POST'], handle, upgrade }));
}

async function carryChannels(
  { url, streams }: { readonly url: URL; readonly streams: StreamOptions },
  client: UpgradingClient,
  options: SessionOptions,
): Promise<void> {
  // Runtimes speak the older protocols themselves; the one in which a side can be closed they need not know.
  const translated = isWebSocketRequest(client.raw) && offeredProtocols(client.raw).includes(channelProtocol);
  if (translated) await translateChannels(url, { ...client, streams }, options);
  else await tunnel(url, client, options);
}

async function carryPorts({ url }: { readonly url: URL }, client: UpgradingClient, options: SessionOptions) {
  const protocol = tunnelledProtocol(offeredProtocols(client.raw));
  if (protocol !== undefined) await tunnelMessages(url, protocol, client, options);
  else await tunnel(url, client, options);
}

async function execUrl(runtime: RuntimeService, targets: StreamTargets, request: ServedRequest) {
  const { url, params, signal } = request;
  const { namespace = '', pod: name = '', uid, container = '' } = params;
  const streams = streamOptions(url.searchParams);
  const pod = targets.pod(namespace, name);
  const cmd = url.searchParams.getAll('command');
  return orRefuse(async () => {
    const containerId = await targets.runningContainer(pod, uid, container, signal);
    if (containerId === undefined) throw new HttpError(500, `container not found (${JSON.stringify(container)})`);
    return { url: new URL(await runtime.exec({ containerId, cmd, ...streams }, signal)), streams };
  });
}

async function attachUrl(runtime: RuntimeService, targets: StreamTargets, request: ServedRequest) {
  const { url, params, signal } = request;
  const { namespace = '', pod: name = '', uid, container = '' } = params;
  const asked = streamOptions(url.searchParams);
  const pod = targets.pod(namespace, name);
  return orRefuse(async () => {
    const containerId = await targets.runningContainer(pod, uid, container, signal);
    const spec = containersOf(pod).find((one) => one.container.name === container)?.container;
    if (containerId === undefined || spec === undefined) {
      throw new HttpError(500, `container ${container} not found in pod ${name}_${namespace}`);
    }
    // Whether a process has a terminal was settled when it started.
    const streams = { ...asked, tty: spec.tty ?? false };
    return { url: new URL(await runtime.attach({ containerId, ...streams }, signal)), streams };
  });
}

async function portForwardUrl(runtime: RuntimeService, targets: StreamTargets, request: ServedRequest) {
  const { raw, url, params, signal } = request;
  const { namespace = '', pod: name = '', uid } = params;
  const bySpdy = !isWebSocketRequest(raw) || tunnelledProtocol(offeredProtocols(raw)) !== undefined;
  const port = bySpdy ? [] : forwardedPorts(url.searchParams);
  const pod = targets.pod(namespace, name);
  if (uid !== undefined && uid !== pod.metadata.uid) throw new HttpError(404, 'pod not found');
  return orRefuse(async () => {
    const podSandboxId = await targets.readySandbox(pod, undefined, signal);
    if (podSandboxId === undefined)
      throw new HttpError(500, `pod not found (${JSON.stringify(`${name}_${namespace}`)})`);
    return { url: new URL(await runtime.portForward({ podSandboxId, port }, signal)) };
  });
}

async function orRefuse<T>(find: () => Promise<T>): Promise<T> {
  try {
    return await find();
  } catch (error) {
    throw streamRefusal(error);
  }
}
