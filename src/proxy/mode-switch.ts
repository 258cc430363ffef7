import { isProgramMissing } from '../host/exec.ts';
import { type BackoffPolicy, backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ModeCheck, ProxyMode, Remains } from './backend.ts';
import { candidateModes, decideMode, type ModeDecision, type ModeVerdicts } from './choose-mode.ts';

/** What can be asked of a mode whether it is the chosen one or not. */
export interface ModePart {
  /** Undefined when it can work here. */
  readonly unusable: ModeCheck;
  readonly remains: Remains;
}

/** A check reads versions and tries things out; one that takes longer hangs on a lock or a file system. */
const checkPatienceMs = 10_000;
const removalPatienceMs = 120_000;
const retry: BackoffPolicy = { initialMs: 5_000, maxMs: 600_000 };
/** Somebody may start kube-proxy on this host at any time, but hardly anybody does. */
const conflictCheckMs = 3_600_000;
/** How many lines of a list stand in the log. */
const shownLines = 10;

/**
 * EXECUTOR of the choice of a mode: asks the host which modes can work, removes what the others have left once the
 * chosen one carries everything, and looks for the rules of a kube-proxy.
 */
export class ModeSwitch {
  readonly #modes: Readonly<Record<ProxyMode, ModePart>>;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(options: {
    readonly modes: Readonly<Record<ProxyMode, ModePart>>;
    readonly clock: Clock;
    readonly log: Log;
  }) {
    this.#modes = options.modes;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /**
   * The mode to use, which is logged; what cannot work is logged with its remedy. Modes are asked in order, and no
   * further than needed: asking may load kernel modules.
   */
  async choose(wanted: ProxyMode | '', fallbacks: readonly ProxyMode[], signal: AbortSignal): Promise<ModeDecision> {
    const candidates = candidateModes(wanted, fallbacks);
    const verdicts = new Map<ProxyMode, AgentError | undefined>();
    for (const mode of candidates) {
      const error = await this.#check(mode, signal);
      verdicts.set(mode, error);
      if (!error) break;
    }
    return this.#tell(wanted, candidates, verdicts);
  }

  /**
   * Removes the remains of all modes but `chosen`, trying on until it worked or the signal aborts. To be called when
   * the chosen mode carries all Services. That two modes are in place until then translates no packet twice: the
   * kernel gives a connection one destination, by the first rule that has one, and IPVS sees only what is still
   * addressed to a virtual address.
   */
  async removeOthers(chosen: ProxyMode, signal: AbortSignal): Promise<void> {
    let left = Object.values(this.#modes).flatMap(({ remains }) => (remains.mode === chosen ? [] : [remains]));
    const said = new Map<ProxyMode, string>();
    for (let tries = 1; !signal.aborted; tries++) {
      const failed: Remains[] = [];
      // One after the other: some modes share chains, and all who write iptables rules its lock.
      for (const remains of left) if (!(await this.#isRemoved(remains, said, signal))) failed.push(remains);
      left = failed;
      if (left.length === 0) return;
      await this.#clock.sleep(backoffDelay(tries, retry), signal).catch(() => {});
    }
  }

  /** Warns of the rules of a kube-proxy: at once, and again only when they have changed. Runs until the signal aborts. */
  async watchConflicts(signal: AbortSignal): Promise<void> {
    const found = new Map<ProxyMode, readonly string[]>();
    let said = '';
    while (!signal.aborted) {
      await this.#findConflicts(found, signal);
      if (!signal.aborted) said = this.#sayConflicts([...new Set([...found.values()].flat())], said);
      await this.#clock.sleep(conflictCheckMs, signal).catch(() => {});
    }
  }

  async #check(mode: ProxyMode, signal: AbortSignal): Promise<AgentError | undefined> {
    using limit = this.#limit(checkPatienceMs, signal);
    try {
      return await this.#modes[mode].unusable(limit.signal);
    } catch (cause) {
      signal.throwIfAborted();
      return new AgentError('ModeUnknown', `cannot tell whether the mode ${mode} works here`, { cause });
    }
  }

  #tell(wanted: ProxyMode | '', candidates: readonly ProxyMode[], verdicts: ModeVerdicts): ModeDecision {
    const decision = decideMode(candidates, verdicts);
    const { mode, refused, hopeless } = decision;
    for (const { mode: unusable, error } of refused) {
      const fields = { mode: unusable, ...errorFields(error) };
      if (hopeless) this.#log.error(fields, 'a proxy mode cannot work here, and there is no other to fall back to');
      else if (unusable === wanted) {
        this.#log.error({ ...fields, instead: mode }, 'the proxy mode cannot work here; another one is used');
      } else this.#log.warn({ ...fields, instead: mode }, 'a proxy mode cannot work here');
    }
    this.#log.info({ mode, ...(wanted && wanted !== mode ? { wanted } : {}) }, 'the proxy mode is chosen');
    return decision;
  }

  /** False, and why is said once, when it did not work. */
  async #isRemoved(remains: Remains, said: Map<ProxyMode, string>, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#remove(remains, signal);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      const fields = { mode: remains.mode, ...errorFields(error) };
      if (isProgramMissing(error)) {
        this.#log.debug(fields, 'no look for what another proxy mode may have left');
        return true;
      }
      if (said.get(remains.mode) !== fields.err) {
        this.#log.warn(fields, 'what another proxy mode has left cannot be removed yet');
      }
      said.set(remains.mode, fields.err);
      return false;
    }
  }

  async #remove(remains: Remains, signal: AbortSignal): Promise<void> {
    using limit = this.#limit(removalPatienceMs, signal);
    const found = await remains.found(limit.signal);
    if (found.length === 0) return;
    await remains.remove(limit.signal);
    const fields = { mode: remains.mode, count: found.length, removed: found.slice(0, shownLines) };
    this.#log.info(fields, 'removed what another proxy mode of keelson had left');
  }

  /** What cannot be looked for is taken to be as it was. */
  async #findConflicts(found: Map<ProxyMode, readonly string[]>, signal: AbortSignal): Promise<void> {
    for (const { remains } of Object.values(this.#modes)) {
      using limit = this.#limit(removalPatienceMs, signal);
      try {
        found.set(remains.mode, await remains.conflicts(limit.signal));
      } catch (error) {
        if (signal.aborted) return;
        this.#log.debug({ mode: remains.mode, ...errorFields(error) }, 'cannot look for rules of kube-proxy');
      }
    }
  }

  #sayConflicts(lines: readonly string[], said: string): string {
    const now = lines.join('\n');
    if (now === said) return said;
    if (now === '') this.#log.info({}, 'the rules of kube-proxy are gone');
    else {
      const hint = 'stop kube-proxy on this node (its DaemonSet, with a node selector), then run: kube-proxy --cleanup';
      const fields = { count: lines.length, found: lines.slice(0, shownLines), hint };
      this.#log.warn(fields, 'rules of kube-proxy are in place: they decide about the same packets');
    }
    return now;
  }

  /** The signal, and after a while an abort of its own. */
  #limit(ms: number, signal: AbortSignal): Disposable & { readonly signal: AbortSignal } {
    const late = new AbortController();
    const timer = this.#clock.after(ms, () =>
      late.abort(new AgentError('TookTooLong', `not done within ${ms} ms`, { retryable: true })),
    );
    return { signal: AbortSignal.any([signal, late.signal]), [Symbol.dispose]: () => timer[Symbol.dispose]() };
  }
}
