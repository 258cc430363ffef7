import type { Container, Pod } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { criAnnotations, criLabels } from '../api/labels.ts';
import { eventReason } from '../api/reasons.ts';
import type { RuntimeService } from '../cri/services.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { HookRunner, HookTarget } from './hooks.ts';
import type { KillAction } from './pod-actions.ts';
import { containerReference } from './pod-reference.ts';

export interface ContainerStopperOptions {
  readonly runtime: RuntimeService;
  readonly hooks: HookRunner;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly log: Log;
}

/** One container to stop, with what its preStop hook needs. */
export interface StopRequest {
  /** Undefined when the pod is known from the runtime alone: nobody is told then. */
  readonly pod: Pod | undefined;
  readonly kill: KillAction;
  readonly target: HookTarget & { readonly container: Pick<Container, 'name' | 'ports' | 'lifecycle'> };
  /** When other containers have to end first. */
  readonly turn?: (() => Promise<void> | undefined) | undefined;
}

/** Upstream's: a container always gets a moment to end by itself. Seconds. */
const minGraceSeconds = 2;

/**
 * Stops containers: preStop, then the wait for its turn, then the stop signal, all within one grace period.
 * What is left of that when the signal is sent, and two seconds at least, the container has to end by itself.
 */
export class ContainerStopper {
  readonly #o: ContainerStopperOptions;
  /** Containers whose preStop is over: a stop that begins anew with a shorter grace does not run it twice. */
  readonly #prepared = new Set<string>();

  constructor(options: ContainerStopperOptions) {
    this.#o = options;
  }

  async stop(request: StopRequest, signal: AbortSignal): Promise<void> {
    const { clock, events, log, runtime } = this.#o;
    const { kill, pod, target, turn } = request;
    const { id, name, gracePeriodSeconds: grace } = kill;
    if (pod) events.event(containerReference(pod, name), 'Normal', eventReason.killing, kill.message);
    log.info({ podUid: target.pod.metadata.uid, container: name, id, grace, reason: kill.reason }, 'killing container');
    const began = clock.monotonic();
    const left = () => grace - Math.floor((clock.monotonic() - began) / 1000);
    if (grace > 0) await this.#preStop(request, signal);
    const before = left() > 0 ? turn?.() : undefined;
    if (before) await withinMs(before, left() * 1000, clock, signal);
    await runtime.stopContainer(id, Math.max(left(), minGraceSeconds), signal);
    this.#prepared.delete(id);
  }

  async #preStop({ pod, kill, target }: StopRequest, signal: AbortSignal): Promise<void> {
    const { clock, events, hooks, log } = this.#o;
    const handler = target.container.lifecycle?.preStop;
    if (!handler || this.#prepared.has(kill.id)) return;
    const fields = { podUid: target.pod.metadata.uid, container: kill.name, id: kill.id };
    const limit = new AbortController();
    const hook = hooks.run(handler, target, AbortSignal.any([signal, limit.signal])).catch((error: unknown) => {
      signal.throwIfAborted();
      // A sleep that is cut short has failed nobody; what a hook printed may be secret and stays in the log.
      if (limit.signal.aborted && handler.sleep) return;
      log.warn({ ...fields, ...(isAbort(error) ? {} : errorFields(error)) }, 'preStop hook failed');
      if (pod)
        events.event(
          containerReference(pod, kill.name),
          'Warning',
          eventReason.failedPreStopHook,
          'PreStopHook failed',
        );
    });
    await withinMs(hook, kill.gracePeriodSeconds * 1000, clock, signal);
    limit.abort();
    await hook;
    this.#prepared.add(kill.id);
  }
}

/** Resolves when the work is over or the time is up, whichever comes first. */
async function withinMs(work: Promise<void>, ms: number, clock: Clock, signal: AbortSignal): Promise<void> {
  const timer = new AbortController();
  try {
    await Promise.race([work, clock.sleep(ms, AbortSignal.any([signal, timer.signal]))]);
  } finally {
    timer.abort();
  }
}

/** What a stop needs of a container whose pod nobody knows any more, from what was stored with it in the runtime. */
export function storedTarget(status: cri.ContainerStatus, podIP: string | undefined): StopRequest['target'] {
  const { labels = {}, annotations = {} } = status;
  const ports = parsed<Container['ports']>(annotations[criAnnotations.ports]);
  const preStop = parsed<NonNullable<Container['lifecycle']>['preStop']>(annotations[criAnnotations.preStopHandler]);
  const metadata = {
    name: labels[criLabels.podName] ?? '',
    namespace: labels[criLabels.podNamespace] ?? '',
    uid: labels[criLabels.podUid] ?? '',
  };
  return {
    pod: { metadata, spec: { containers: [] } },
    container: {
      name: labels[criLabels.containerName] ?? '',
      ...(ports ? { ports } : {}),
      ...(preStop ? { lifecycle: { preStop } } : {}),
    },
    id: status.id ?? '',
    podIP,
  };
}

function parsed<T>(json: string | undefined): T | undefined {
  if (!json) return undefined;
  try {
    return JSON.parse(json) as T;
  } catch {
    return undefined;
  }
}
