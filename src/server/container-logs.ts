import type { ServerResponse } from 'node:http';
import type { Pod, PodStatus } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { containersOf } from '../api/pod.ts';
import { type LogSource, readLog } from '../kuberuntime/log-reader.ts';
import { UnknownLogFormat } from '../kuberuntime/log-renderer.ts';
import { podLogDirectory } from '../kuberuntime/sandbox-config.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { isAlive } from '../pod/observed.ts';
import type { PodCache } from '../pod/pod-cache.ts';
import type { PodManager } from '../pod/pod-manager.ts';
import { chooseLogContainer } from './choose-log-container.ts';
import { type Endpoint, HttpError, type ServedRequest } from './endpoint.ts';
import { readPodLogOptions } from './pod-log-options.ts';

export interface ContainerLogsOptions {
  readonly manager: PodManager;
  readonly cache: PodCache;
  readonly status: (uid: PodUid) => PodStatus | undefined;
  /** Calls back when the runtime has something new to say of the pod. */
  readonly onPodChange: (uid: PodUid, wake: () => void) => Disposable;
  readonly podLogsDir: string;
  /** The feature gate PodLogsQuerySplitStreams. */
  readonly splitStreams: boolean;
  readonly clock: Clock;
}

/** `kubectl logs`. */
export function containerLogs(options: ContainerLogsOptions): Endpoint[] {
  const logs = new ContainerLogs(options);
  return [
    {
      path: '/containerLogs/{namespace}/{pod}/{container}',
      methods: ['GET'],
      handle: (request, response) => logs.handle(request, response),
    },
  ];
}

class ContainerLogs {
  readonly #o: ContainerLogsOptions;

  constructor(options: ContainerLogsOptions) {
    this.#o = options;
  }

  async handle(request: ServedRequest, response: ServerResponse): Promise<void> {
    const { clock, splitStreams } = this.#o;
    const options = readPodLogOptions(request.url.searchParams, clock.now(), splitStreams);
    const { namespace = '', pod: podName = '', container = '' } = request.params;
    const { uid, pod } = this.#find(namespace, podName);
    if (!containersOf(pod).some((c) => c.container.name === container)) {
      throw new HttpError(404, `container ${JSON.stringify(container)} not found in pod ${JSON.stringify(podName)}`);
    }
    const status = this.#o.status(uid) ?? pod.status ?? {};
    const id = chooseLogContainer(podName, status, container, options.previous);
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
    response.flushHeaders();
    await this.#send(this.#source(uid, pod, id), options, request.signal, response);
  }

  async #send(
    source: LogSource | string,
    options: Parameters<typeof readLog>[0]['options'],
    signal: AbortSignal,
    response: ServerResponse,
  ): Promise<void> {
    const write = (bytes: Buffer) => writeTo(response, bytes, signal);
    try {
      if (typeof source === 'string') response.write(source);
      else await readLog({ source, options, write, clock: this.#o.clock, signal });
    } catch (error) {
      if (signal.aborted) return;
      // The answer has begun: its end is the only place left, and where upstream's readers know it from.
      response.write(error instanceof UnknownLogFormat ? error.message : messageOf(error));
    }
    response.end();
  }

  #find(namespace: string, name: string): { uid: PodUid; pod: Pod } {
    for (const { uid, pod } of this.#o.manager.all()) {
      if (pod.metadata.name === name && (pod.metadata.namespace ?? 'default') === namespace) return { uid, pod };
    }
    throw new HttpError(404, `pod ${JSON.stringify(name)} does not exist`);
  }

  /** Where the container writes; the words for the reader when the runtime does not know it any more. */
  #source(uid: PodUid, pod: Pod, id: string): LogSource | string {
    const { cache, podLogsDir, onPodChange } = this.#o;
    const container = () => cache.get(uid)?.containers.find((c) => id.endsWith(`//${c.id}`));
    const known = container();
    if (!known) return `unable to retrieve container logs for ${id}`;
    return {
      path: `${podLogDirectory(podLogsDir, pod)}/${known.name}/${known.attempt}.log`,
      alive: () => {
        const now = container();
        return now !== undefined && isAlive(now);
      },
      onChange: (wake) => onPodChange(uid, wake),
    };
  }
}

/** Resolves when the bytes are on their way to the client: one that reads slowly is waited for. */
async function writeTo(response: ServerResponse, bytes: Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  response.write(bytes, (error) => (error ? reject(error) : resolve()));
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
