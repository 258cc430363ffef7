import * as cri from '../api/cri.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { criLabels } from '../api/labels.ts';
import type { ContainerdEvent } from '../cri/containerd-events.ts';
import { isCriCode, type RuntimeService } from '../cri/services.ts';
import { backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Pleg } from './pleg.ts';

export interface RuntimeEventsOptions {
  readonly runtime: RuntimeService;
  readonly pleg: Pleg;
  /** containerd's own stream, for versions whose CRI has none. */
  readonly containerdEvents: (signal: AbortSignal) => AsyncIterable<ContainerdEvent>;
  readonly clock: Clock;
  readonly log: Log;
}

const retry = { initialMs: 500, maxMs: 10_000 } as const;
/** What has no stream now may be replaced by a runtime that has one: asked again so often. */
const deafMs = 60_000;
/**
 * The runtime hears of an exit when we do, and its CRI side may still say "running" for some
 * milliseconds, thirty as a rule: it is looked at after these delays until it knows. The last of them is the
 * worst case; after that the relist finds it.
 */
const looksAfterMs = [0, 20, 10, 10, 10, 20, 30, 50, 100] as const;

type Stream = 'cri' | 'containerd' | 'none';

/** An end that was announced; the id is that of a container or a sandbox. */
interface End {
  readonly uid: PodUid;
  readonly id: string;
}

interface Look {
  readonly ids: Set<string>;
  /** More ends were announced since the last round began. */
  again: boolean;
}

/**
 * Listens to whichever event stream the runtime has and turns ends of containers and sandboxes into
 * looks of the PLEG. Starts are our own doing and looked at anyway. Where there is no stream, or while
 * it is interrupted, `flowing` is false and the PLEG relists on its own.
 */
export class RuntimeEvents {
  readonly #o: RuntimeEventsOptions;
  #stream: Stream = 'cri';
  #flowing = false;
  readonly #said = new Set<string>();
  /** Pods that are being looked at, each with the containers and sandboxes that are said to have ended. */
  readonly #looking = new Map<PodUid, Look>();

  constructor(options: RuntimeEventsOptions) {
    this.#o = options;
  }

  get flowing(): boolean {
    return this.#flowing;
  }

  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#listen(signal, () => {
          failures = 0;
        });
      } catch (error) {
        if (signal.aborted) return;
        if (isCriCode(error, 'UNIMPLEMENTED')) this.#fallBack();
        else this.#o.log.debug(errorFields(error), 'runtime event stream interrupted');
      } finally {
        this.#flowing = false;
      }
      const deaf = this.#stream === 'none';
      await this.#o.clock.sleep(deaf ? deafMs : backoffDelay(++failures, retry), signal).catch(() => {});
      if (deaf) this.#stream = 'cri';
    }
  }

  async #listen(signal: AbortSignal, heard: () => void): Promise<void> {
    // A subscription that was not refused at once stands: there is no greeting to wait for.
    using _subscribed = this.#o.clock.after(1000, () => {
      this.#flowing = true;
    });
    for await (const end of this.#stream === 'cri' ? this.#criEnds(signal) : this.#containerdEnds(signal)) {
      this.#flowing = true;
      heard();
      if (end) this.#look(end, signal);
    }
  }

  /** For every event: what ended, in which pod; or undefined. */
  async *#criEnds(signal: AbortSignal): AsyncGenerator<End | undefined> {
    for await (const event of this.#o.runtime.getContainerEvents(signal)) {
      const isEnd = event.containerEventType === cri.ContainerEventType.CONTAINER_STOPPED_EVENT;
      const uid = isEnd ? this.#podOf(event) : undefined;
      yield uid && { uid, id: event.containerId ?? '' };
    }
  }

  async *#containerdEnds(signal: AbortSignal): AsyncGenerator<End | undefined> {
    for await (const { topic, containerId: id } of this.#o.containerdEvents(signal)) {
      const uid = topic === '/tasks/start' || id === undefined ? undefined : this.#o.pleg.ownerOf(id);
      yield uid && { uid, id: id ?? '' };
    }
  }

  /** A sandbox that is already gone has no status in the event; then only what was seen before tells whose it was. */
  #podOf({ podSandboxStatus, containerId }: cri.ContainerEventResponse): PodUid | undefined {
    const uid = podSandboxStatus?.labels?.[criLabels.podUid] ?? podSandboxStatus?.metadata?.uid;
    if (uid) return podUid(uid);
    return containerId ? this.#o.pleg.ownerOf(containerId) : undefined;
  }

  #fallBack(): void {
    this.#stream = this.#stream === 'cri' ? 'containerd' : 'none';
    const how = this.#stream === 'none' ? 'by relisting every second' : 'from the event stream of containerd';
    if (this.#said.has(how)) return;
    this.#said.add(how);
    this.#o.log.info({ how }, 'runtime has no CRI event stream, container ends are learned otherwise');
  }

  #look({ uid, id }: End, signal: AbortSignal): void {
    const running = this.#looking.get(uid);
    if (running) {
      running.ids.add(id);
      running.again = true;
      return;
    }
    // Two events tell of one end.
    if (this.#o.pleg.fateOf(uid, id) === 'ended') return;
    const look: Look = { ids: new Set([id]), again: false };
    this.#looking.set(uid, look);
    void this.#lookRepeatedly(uid, look, signal).finally(() => this.#looking.delete(uid));
  }

  async #lookRepeatedly(uid: PodUid, look: Look, signal: AbortSignal): Promise<void> {
    do {
      look.again = false;
      for (const delay of looksAfterMs) {
        try {
          await this.#o.clock.sleep(delay, signal);
          await this.#o.pleg.refresh(uid, signal);
        } catch {
          // The runtime is away or we are leaving; the relist finds what this look did not.
          return;
        }
        if (!this.#anyAlive(uid, look)) return;
      }
    } while (look.again && !signal.aborted);
  }

  #anyAlive(uid: PodUid, { ids }: Look): boolean {
    return [...ids].some((id) => this.#o.pleg.fateOf(uid, id) === 'alive');
  }
}
