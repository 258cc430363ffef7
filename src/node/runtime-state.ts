import type { RuntimeFeatures, RuntimeHandler, RuntimeStatus } from '../api/cri.ts';
import { CriError, type RuntimeService } from '../cri/services.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/** What the runtime last said about itself. */
export interface RuntimeState {
  /** Monotonic milliseconds of the last answer; undefined before the first. */
  readonly answeredAt: number | undefined;
  /** Why the last question was not answered; undefined when it was. */
  readonly failure?: string | undefined;
  readonly name: string;
  readonly version: string;
  readonly status: RuntimeStatus | undefined;
  readonly handlers: readonly RuntimeHandler[];
  readonly features: RuntimeFeatures | undefined;
}

export const unknownRuntime: RuntimeState = {
  answeredAt: undefined,
  name: '',
  version: '',
  status: undefined,
  handlers: [],
  features: undefined,
};

/** A runtime may be silent for so long, as while it restarts, before the node is not ready. */
const toleratedSilenceMs = 30_000;

/** Why pods cannot be started, in upstream's words; empty when they can. `now` is monotonic. */
export function runtimeProblems(state: RuntimeState, now: number): string[] {
  const { answeredAt, failure } = state;
  if (answeredAt === undefined && failure === undefined) {
    return ['container runtime status check may not have completed yet'];
  }
  if (answeredAt === undefined || now - answeredAt > toleratedSilenceMs) {
    return [`container runtime is down${failure === undefined ? '' : `: ${failure}`}`];
  }
  const problem = (type: string, words: string): string[] => {
    const condition = state.status?.conditions?.find((c) => c.type === type);
    if (condition?.status) return [];
    const said = condition
      ? `${type}=false reason:${condition.reason ?? ''} message:${condition.message ?? ''}`
      : `${type} is missing in the status`;
    return [`${words}: ${said}`];
  };
  return [
    ...problem('RuntimeReady', 'container runtime not ready'),
    ...problem('NetworkReady', 'container runtime network not ready'),
  ];
}

const periodMs = 5_000;
/** While there is something wrong we look again sooner: pods wait for it. */
const impatientPeriodMs = 1_000;

/** Asks the runtime how it fares and tells when the answer means something else for the node. */
export class RuntimeMonitor {
  readonly #runtime: Pick<RuntimeService, 'status' | 'version'>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onChange: () => void;
  #state: RuntimeState = unknownRuntime;
  #published = '';
  #failing = false;
  /** Each way of failing is said once until the runtime answers again. */
  readonly #said = new Set<string>();

  constructor(parts: {
    runtime: Pick<RuntimeService, 'status' | 'version'>;
    clock: Clock;
    log: Log;
    onChange: () => void;
  }) {
    this.#runtime = parts.runtime;
    this.#clock = parts.clock;
    this.#log = parts.log;
    this.#onChange = parts.onChange;
  }

  state(): RuntimeState {
    return this.#state;
  }

  problems(): readonly string[] {
    return runtimeProblems(this.#state, this.#clock.monotonic());
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.check(signal);
      const period = this.#failing || this.problems().length ? impatientPeriodMs : periodMs;
      await this.#clock.sleep(period, signal).catch(() => {});
    }
  }

  /** One question. Never fails: no answer is a state too. */
  async check(signal: AbortSignal): Promise<void> {
    try {
      const response = await this.#runtime.status(signal);
      // Asked again after a silence: it may be another version that came back.
      if (this.#failing || !this.#state.version) await this.#readVersion(signal);
      this.#state = {
        ...this.#state,
        answeredAt: this.#clock.monotonic(),
        failure: undefined,
        status: response.status ?? undefined,
        handlers: response.runtimeHandlers ?? [],
        features: response.features ?? undefined,
      };
      if (this.#failing) this.#log.info({ runtime: this.#state.name }, 'container runtime answers again');
      this.#failing = false;
      this.#said.clear();
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      const failure = error instanceof CriError ? error.details : messageOf(error);
      if (!this.#said.has(failure)) this.#log.warn(errorFields(error), 'container runtime does not answer');
      else this.#log.debug({ err: failure }, 'container runtime still does not answer');
      this.#said.add(failure);
      this.#failing = true;
      this.#state = { ...this.#state, failure };
    }
    this.#publish();
  }

  async #readVersion(signal: AbortSignal): Promise<void> {
    const { runtimeName, runtimeVersion } = await this.#runtime.version(signal);
    this.#state = { ...this.#state, name: runtimeName ?? '', version: runtimeVersion ?? '' };
  }

  #publish(): void {
    const now = JSON.stringify([this.problems(), this.#state.name, this.#state.version]);
    if (now === this.#published) return;
    this.#published = now;
    this.#onChange();
  }
}
