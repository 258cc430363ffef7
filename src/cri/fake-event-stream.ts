import { type ContainerEventResponse, ContainerEventType } from '../api/cri.ts';
import { CriError } from './services.ts';

interface TaskEvent {
  readonly topic: string;
  readonly containerId: string;
  readonly at: number;
}

interface Reader {
  readonly queue: TaskEvent[];
  wake: () => void;
}

/** A reader that does not read loses the oldest, as with any stream that nobody drains. */
const MAX_QUEUED = 1000;

/** The two event streams of a fake runtime: containerd's own, and CRI's where it is switched on. */
export class FakeEventStream {
  readonly #cri: boolean;
  readonly #readers = new Set<Reader>();

  constructor(cri: boolean) {
    this.#cri = cri;
  }

  emit(topic: string, containerId: string, at: number): void {
    for (const reader of this.#readers) {
      reader.queue.push({ topic, containerId, at });
      if (reader.queue.length > MAX_QUEUED) reader.queue.shift();
      reader.wake();
    }
  }

  tasks(signal: AbortSignal): AsyncIterable<TaskEvent> {
    // Subscribed at the call, not at the first read, so that a test misses nothing in between.
    const reader: Reader = { queue: [], wake: () => {} };
    this.#readers.add(reader);
    return this.#read(reader, signal);
  }

  containers(signal: AbortSignal): AsyncIterable<ContainerEventResponse> {
    return this.#cri ? toCriEvents(this.tasks(signal)) : refused();
  }

  async *#read(reader: Reader, signal: AbortSignal): AsyncGenerator<TaskEvent> {
    const onAbort = () => reader.wake();
    signal.addEventListener('abort', onAbort);
    try {
      for (;;) {
        signal.throwIfAborted();
        const event = reader.queue.shift();
        if (event) yield event;
        else {
          const { promise, resolve } = Promise.withResolvers<void>();
          reader.wake = resolve;
          await promise;
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#readers.delete(reader);
    }
  }
}

async function* toCriEvents(events: AsyncIterable<TaskEvent>): AsyncGenerator<ContainerEventResponse> {
  for await (const { topic, containerId, at } of events) {
    const { CONTAINER_STARTED_EVENT: started, CONTAINER_STOPPED_EVENT: stopped } = ContainerEventType;
    yield { containerId, containerEventType: topic === '/tasks/start' ? started : stopped, createdAt: at };
  }
}

// biome-ignore lint/correctness/useYield: a stream that fails before it yields anything.
async function* refused(): AsyncGenerator<ContainerEventResponse> {
  throw new CriError('GetContainerEvents', 'UNIMPLEMENTED', 'method GetContainerEvents not implemented');
}
