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
 * milliseconds: looks after these delays catch it. The last of them is the worst case; after that the relist does.
 */
const looksAfterMs = [0, 20, 150] as const;

type Stream = 'cri' | 'containerd' | 'none';

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
  readonly #looking = new Map<PodUid, { again: boolean }>();

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
    for await (const uid of this.#stream === 'cri' ? this.#criEnds(signal) : this.#containerdEnds(signal)) {
      this.#flowing = true;
      heard();
      if (uid) this.#look(uid, signal);
    }
  }

  /** For every event: the pod in which something ended, or undefined. */
  async *#criEnds(signal: AbortSignal): AsyncGenerator<PodUid | undefined> {
    for await (const event of this.#o.runtime.getContainerEvents(signal)) {
      const isEnd = event.containerEventType === cri.ContainerEventType.CONTAINER_STOPPED_EVENT;
      yield isEnd ? this.#podOf(event) : undefined;
    }
  }

  async *#containerdEnds(signal: AbortSignal): AsyncGenerator<PodUid | undefined> {
    for await (const { topic, containerId } of this.#o.containerdEvents(signal)) {
      yield topic === '/tasks/start' || containerId === undefined ? undefined : this.#o.pleg.ownerOf(containerId);
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

  #look(uid: PodUid, signal: AbortSignal): void {
    const running = this.#looking.get(uid);
    if (running) {
      running.again = true;
      return;
    }
    const state = { again: false };
    this.#looking.set(uid, state);
    void this.#lookRepeatedly(uid, state, signal).finally(() => this.#looking.delete(uid));
  }

  async #lookRepeatedly(uid: PodUid, state: { again: boolean }, signal: AbortSignal): Promise<void> {
    do {
      state.again = false;
      for (const delay of looksAfterMs) {
        try {
          await this.#o.clock.sleep(delay, signal);
          await this.#o.pleg.refresh(uid, signal);
        } catch {
          // The runtime is away or we are leaving; the relist finds what this look did not.
          return;
        }
      }
    } while (state.again && !signal.aborted);
  }
}
