import type { ExecError } from '../../host/exec.ts';
import { isProgramMissing } from '../../host/exec.ts';
import type { Follow } from '../../host/follow-program.ts';
import { aborted } from '../../lib/aborted.ts';
import { backoffDelay } from '../../lib/backoff.ts';
import type { Clock } from '../../lib/clock.ts';
import { errorFields } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import { readRulesetEvent } from './ruleset-event.ts';

/**
 * The tables (`ip keelson`) that another program changed for sure; undefined: something changed, or may have
 * been missed, and only a look tells whether it matters.
 */
export type ForeignChange = ReadonlySet<string> | undefined;

interface Follower {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
}

/**
 * Programs that follow the ruleset, the cheapest first; figures are of a table of 10,000 Services with 5 endpoints.
 * xtables-monitor needs 2 MiB and no time to speak of, but does not say what becomes of elements. It ends when a
 * transaction of more than a thousand elements overruns it, and (1.8.9) after it has named the table when a rule
 * changes that it does not understand, as most of ours. `nft monitor` does neither, but reads the whole ruleset at its
 * start, whatever filter it is given (0.4 s), keeps it (110 MiB), and takes 20 µs for each element we write.
 */
const followers: readonly Follower[] = [
  { name: 'xtables-monitor', file: 'stdbuf', args: ['-oL', 'xtables-monitor', '--event'] },
  { name: 'nft monitor', file: 'nft', args: ['monitor'] },
];

interface OwnTransaction {
  /** It does more than add and remove elements. */
  readonly changesRules: boolean;
  readonly beganAt: number;
  /** When nft was done with it; undefined: it is under way. */
  doneAt: number | undefined;
}

/** What stdbuf ends with when it does not find what it shall run. */
const notFoundStatus = 127;
/** Programs like a firewall make many transactions in a row: one look for all of them. */
const gatherMs = 300;
const backoff = { initialMs: 200, maxMs: 30_000 };
/** A follower that lived so long has worked; what ended it is another matter than what ended it before. */
const workedMs = 250;
/** The end of a transaction of ours is heard well within this after nft is done, or never. */
const heardMs = 2_000;
/** What began so soon after the start of a follower may not have been heard by it; less than `gatherMs`. */
const startingMs = 150;
/** So many ends without that are worth a word. */
const tolerated = 8;

/**
 * Tells of changes that other programs make to the ruleset, as they happen. Our own are known by their number: each
 * transaction of ours ends one generation of a program named nft. What is mistaken that way, when another nft runs at
 * the same moment, is only ever taken for a foreign change too many. Shared by all who write, so that each knows the
 * other's.
 */
export class RulesetWatch {
  readonly #follow: Follow;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #listeners = new Set<(change: ForeignChange) => void>();
  /** Our transactions whose end has not been heard yet. */
  #own: OwnTransaction[] = [];
  #startedAt = 0;
  /** Tables of which something was heard since the last end. */
  #rules = new Set<string>();
  #elements = new Set<string>();
  #gathering: Disposable | undefined;

  constructor(options: { readonly follow: Follow; readonly clock: Clock; readonly log: Log }) {
    this.#follow = options.follow;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Runs one transaction of our own; `changesRules`: it does more than add and remove elements. */
  async own<T>(changesRules: boolean, run: () => Promise<T>): Promise<T> {
    // Also while nobody follows: whoever begins to may hear its end.
    const mine: OwnTransaction = { changesRules, beganAt: this.#clock.monotonic(), doneAt: undefined };
    this.#dropUnheard();
    this.#own.push(mine);
    try {
      const result = await run();
      mine.doneAt = this.#clock.monotonic();
      return result;
    } catch (error) {
      this.#own = this.#own.filter((one) => one !== mine);
      throw error;
    }
  }

  /** Calls `listener` with every foreign change until the signal aborts. */
  async listen(signal: AbortSignal, listener: (change: ForeignChange) => void): Promise<void> {
    this.#listeners.add(listener);
    try {
      if (this.#listeners.size === 1) await this.#run(signal);
      else await aborted(signal);
    } finally {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#gathering?.[Symbol.dispose]();
    }
  }

  /** All who listen stop together, so that the first may run the program for all. */
  async #run(signal: AbortSignal): Promise<void> {
    let choice = 0;
    for (let failures = 0; !signal.aborted; ) {
      const follower = followers[choice];
      if (!follower) {
        this.#log.warn(
          { hint: 'install it: apt-get install iptables' },
          'changes of the ruleset by other programs are noticed at the next periodic look only: there is no xtables-monitor',
        );
        return aborted(signal);
      }
      const startedAt = this.#clock.monotonic();
      // Whatever happened before it runs, nobody has heard of.
      this.#gather();
      const error = await this.#followOnce(follower, signal);
      if (signal.aborted) return;
      if (isMissing(error)) {
        choice += 1;
        continue;
      }
      failures = this.#clock.monotonic() - startedAt > workedMs ? 1 : failures + 1;
      this.#died();
      if (failures === tolerated) {
        this.#log.warn(
          { program: follower.name, ...errorFields(error) },
          'changes of the ruleset cannot be followed; trying again',
        );
      }
      await this.#clock.sleep(backoffDelay(failures, backoff), signal).catch(() => {});
    }
  }

  async #followOnce({ file, args }: Follower, signal: AbortSignal): Promise<unknown> {
    this.#startedAt = this.#clock.monotonic();
    try {
      await this.#follow(file, args, { signal, onLine: (line) => this.#hear(line) });
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #hear(line: string): void {
    const event = readRulesetEvent(line);
    if (!event) return;
    if (event.kind === 'lost') this.#gather();
    else if (event.kind === 'end') this.#end(event.program);
    else (event.what === 'rules' ? this.#rules : this.#elements).add(event.table);
  }

  #end(program: string): void {
    const { rules, elements } = this.#takeHeard();
    this.#dropUnheard();
    // One of ours that writes elements alone says nothing of rules: then this is another's, and ours is to come, or it
    // is a later one of ours, and the end of the earlier was not heard.
    const at = this.#own.findIndex((one) => one.changesRules || rules.size === 0);
    if (program === 'nft' && at >= 0) {
      this.#own = this.#own.slice(at + 1);
      return;
    }
    const changed = new Set([...rules, ...elements]);
    if (changed.size > 0) this.#tell(changed);
    // Of elements the one program says nothing, and the other not always something.
    this.#gather();
  }

  /** It may have died of what it could not understand, in the middle of a transaction. */
  #died(): void {
    const { rules } = this.#takeHeard();
    if (rules.size > 0 && !this.#own.some((one) => one.changesRules)) this.#tell(rules);
    // The end of what is under way may be heard by the next.
    this.#own = this.#own.filter(({ doneAt }) => doneAt === undefined);
  }

  #takeHeard(): { readonly rules: ReadonlySet<string>; readonly elements: ReadonlySet<string> } {
    const heard = { rules: this.#rules, elements: this.#elements };
    this.#rules = new Set();
    this.#elements = new Set();
    return heard;
  }

  #dropUnheard(): void {
    const now = this.#clock.monotonic();
    const isLate = now >= this.#startedAt + gatherMs;
    this.#own = this.#own.filter(({ beganAt, doneAt = now }) => {
      const isDoubtful = isLate && beganAt < this.#startedAt + startingMs;
      return doneAt > now - heardMs && !isDoubtful;
    });
  }

  #gather(): void {
    this.#gathering ??= this.#clock.after(gatherMs, () => {
      this.#gathering = undefined;
      this.#tell(undefined);
    });
  }

  #tell(change: ForeignChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}

const isMissing = (error: unknown): boolean =>
  isProgramMissing(error) || (error as ExecError | undefined)?.exitCode === notFoundStatus;
