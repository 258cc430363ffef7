import type { Event, ObjectReference } from '../api/core-v1.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { TokenBucket } from '../lib/token-bucket.ts';
import { EventCorrelator } from './event-correlator.ts';
import type { EventSink } from './event-sink.ts';
import { ApiError, isAlreadyExists, isForbidden, isNotFound, type KubeApi } from './kube-api.ts';
import { failureLevel } from './outage-log.ts';
import { events } from './resources.ts';

export interface EventRecorderOptions {
  readonly api: KubeApi;
  /** 'kubelet' or 'kube-proxy': what tools look for in an event's source. */
  readonly component: string;
  /** The node's name. */
  readonly host: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Events per second on average (eventRecordQPS); 0 or less: no limit. */
  readonly qps?: number;
  readonly burst?: number;
  /**
   * How long the first event after a quiet time waits, milliseconds; 0 by default. What happens has precedence over
   * telling of it: a pod that starts is Ready sooner when its three events are posted afterwards.
   */
  readonly lingerMs?: number;
}

const queueLimit = 1000;
/** As client-go: a server that cannot be reached is tried so often, with so long a pause. */
const maxTries = 12;
const retryPauseMs = 10_000;
/** Names of API objects end here; the time stamp needs 17 characters of it. */
const maxNameLength = 253 - 17;

/**
 * Posts Events to the API server in the background. `event` only queues; `run` sends one after the
 * other. When the server is away long the oldest events are dropped, for they are of least use.
 */
export class EventRecorder implements EventSink {
  readonly #options: EventRecorderOptions;
  readonly #correlator: EventCorrelator;
  readonly #rate: TokenBucket;
  readonly #queue: Event[] = [];
  #wake = (): void => {};
  #sequence = 0;
  #dropping = false;
  #failing = '';

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#correlator = new EventCorrelator(options.clock);
    this.#rate = new TokenBucket({ clock: options.clock, perSecond: options.qps ?? 50, burst: options.burst ?? 100 });
  }

  event(about: ObjectReference, type: 'Normal' | 'Warning', reason: string, message: string): void {
    if (this.#queue.length >= queueLimit) {
      this.#queue.shift();
      if (!this.#dropping) this.#options.log.warn({ queueLimit }, 'too many events are waiting; dropping the oldest');
      this.#dropping = true;
    }
    this.#queue.push(this.#makeEvent(about, type, reason, message));
    this.#wake();
  }

  /** Sends what is queued, now and later, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = () => this.#wake();
    signal.addEventListener('abort', stop, { once: true });
    while (!signal.aborted) {
      const event = this.#queue.shift();
      if (event) await this.#send(event, signal);
      else {
        this.#dropping = false;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        const { clock, lingerMs = 0 } = this.#options;
        if (lingerMs > 0) await clock.sleep(lingerMs, signal).catch(() => {});
      }
    }
  }

  async #send(event: Event, signal: AbortSignal): Promise<void> {
    const correlated = this.#correlator.correlate(event);
    if (correlated.action === 'drop') return;
    const { clock } = this.#options;
    for (let attempt = 1; attempt <= maxTries && !signal.aborted; attempt++) {
      try {
        await this.#rate.take(signal);
        const stored = await this.#write(correlated, signal);
        this.#correlator.posted(correlated.key, stored);
        this.#failing = '';
        return;
      } catch (error) {
        if (signal.aborted || !this.#isWorthRetrying(error)) return;
        // The first pause is of random length, so that nodes do not come back all at once.
        const pause = attempt === 1 ? retryPauseMs * Math.random() : retryPauseMs;
        await clock.sleep(pause, signal).catch(() => {});
      }
    }
  }

  async #write(correlated: Exclude<ReturnType<EventCorrelator['correlate']>, { action: 'drop' }>, signal: AbortSignal) {
    const { api } = this.#options;
    const { event } = correlated;
    if (correlated.action === 'create') return this.#create(event, signal);
    try {
      await api.patch(events, refOfEvent(event), { type: 'strategic', body: correlated.patch }, signal);
      return event;
    } catch (error) {
      // Events live an hour by default: the one to count up is gone.
      if (!isNotFound(error)) throw error;
      const metadata = { ...event.metadata, name: this.#nameFor(event.involvedObject) };
      return this.#create({ ...event, metadata }, signal);
    }
  }

  async #create(event: Event, signal: AbortSignal): Promise<Event> {
    try {
      await this.#options.api.create(events, event, signal);
    } catch (error) {
      // An earlier try got through although its answer did not.
      if (!isAlreadyExists(error)) throw error;
    }
    return event;
  }

  /** Whether the server may take the event later; says once what is wrong. */
  #isWorthRetrying(error: unknown): boolean {
    const { log } = this.#options;
    const retry = !(error instanceof ApiError) || error.status === 429 || error.status >= 500;
    const fields = errorFields(error);
    const kind = fields.code ?? 'unknown';
    // An event about something whose namespace is being deleted is refused, and no loss.
    if (isForbidden(error) && /being terminated/.test(error.message)) return false;
    if (isNotFound(error)) return false;
    if (kind !== this.#failing) {
      log[failureLevel(error)](fields, retry ? 'cannot post events; trying on' : 'the API server refused an event');
    }
    this.#failing = kind;
    return retry;
  }

  #makeEvent(about: ObjectReference, type: 'Normal' | 'Warning', reason: string, message: string): Event {
    const { clock, component, host } = this.#options;
    const stamp = new Date(clock.now()).toISOString().replace(/\.\d+Z/, 'Z');
    return {
      metadata: { name: this.#nameFor(about), namespace: about.namespace || 'default' },
      involvedObject: about,
      reason,
      message,
      type,
      source: { component, host },
      firstTimestamp: stamp,
      lastTimestamp: stamp,
      count: 1,
      reportingComponent: component,
      reportingInstance: host,
    };
  }

  /** `web.18a1b2c3d4e5f607`: the object's name and the time in nanoseconds, unique within this process. */
  #nameFor(about: ObjectReference): string {
    this.#sequence = (this.#sequence + 1) % 1_000_000;
    const nanoseconds = BigInt(this.#options.clock.now()) * 1_000_000n + BigInt(this.#sequence);
    return `${(about.name ?? 'unknown').slice(0, maxNameLength)}.${nanoseconds.toString(16)}`;
  }
}

const refOfEvent = ({ metadata }: Event) => ({ name: metadata.name, namespace: metadata.namespace ?? 'default' });

/** Where there is no API server: events become log lines. */
export class LogEventSink implements EventSink {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  event(about: ObjectReference, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const { kind, namespace, name, uid, fieldPath } = about;
    const fields = { kind, namespace, name, uid, fieldPath, reason, detail: message };
    if (type === 'Warning') this.#log.warn(fields, 'event');
    else this.#log.info(fields, 'event');
  }
}
