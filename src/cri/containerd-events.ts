import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { GrpcChannel, rpcsOf } from './grpc-channel.ts';
import { loadProto } from './proto-files.ts';

/** What containerd says about a container or sandbox: something to look at again, not a state to believe. */
export interface ContainerdEvent {
  /** '/tasks/start', '/tasks/oom', '/tasks/exit', or '/tasks/delete': the same end again, when it has been tidied up. */
  readonly topic: string;
  /** Of a container or of a sandbox; absent when the event could not be read. */
  readonly containerId?: string;
}

export interface ContainerdEventsOptions {
  /** The CRI socket: containerd serves both. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** The containerd namespace in which its CRI plugin keeps everything. */
const NAMESPACE = 'k8s.io';
const TOPICS = ['/tasks/exit', '/tasks/start', '/tasks/oom', '/tasks/delete'] as const;

interface Envelope {
  readonly topic?: string;
  readonly event?: { readonly value?: Uint8Array } | null;
}

interface TaskEvent {
  readonly containerId?: string;
  readonly id?: string;
}

/**
 * containerd's own event stream, for runtimes whose CRI has no GetContainerEvents (before containerd 1.7).
 * Yields starts, exits and OOM kills of containers and sandboxes; the end of a process that was only
 * exec'ed into a container is left out.
 *
 * A hint is ahead of ContainerStatus: the CRI plugin hears an exit from the same stream, deletes the task
 * and only then says "exited". Measured with containerd 1.6: 25 to 35 ms after /tasks/exit, 10 to 20 ms
 * after /tasks/delete, several times that on a loaded machine. Whoever looks sooner has to look again.
 *
 * One connection and one call; ends with a CriError when the connection is lost or refused (UNIMPLEMENTED:
 * not containerd), and with the signal's reason when aborted. Events in between two calls are lost.
 */
export async function* subscribeContainerdEvents(
  options: ContainerdEventsOptions,
  signal: AbortSignal,
): AsyncGenerator<ContainerdEvent, void, undefined> {
  const root = loadProto('containerd-events.proto');
  const subscribe = rpcsOf(root, 'containerd.services.events.v1.Events')('Subscribe');
  const decode = taskEventDecoder(root);
  const filters = TOPICS.map((topic) => `namespace==${NAMESPACE},topic=="${topic}"`);
  const channel = new GrpcChannel(options);
  try {
    const headers = { 'containerd-namespace': NAMESPACE };
    for await (const envelope of channel.serverStream(subscribe, { filters }, signal, headers)) {
      const event = decode(envelope as Envelope);
      if (event !== undefined) yield event;
    }
  } finally {
    channel.close();
  }
}

/** undefined for the exit of an exec'ed process. */
function taskEventDecoder(root: ReturnType<typeof loadProto>): (envelope: Envelope) => ContainerdEvent | undefined {
  const taskEvent = root.lookupType('containerd.services.events.v1.TaskEvent');
  const taskExit = root.lookupType('containerd.services.events.v1.TaskExit');
  return ({ topic = '', event }) => {
    const type = topic === '/tasks/exit' ? taskExit : taskEvent;
    try {
      const { containerId, id } = type.decode(event?.value ?? new Uint8Array()) as TaskEvent;
      if (id && containerId && id !== containerId) return undefined;
      return containerId ? { topic, containerId } : { topic };
    } catch {
      return { topic };
    }
  };
}
