import { isDeepStrictEqual } from 'node:util';
import type { Exec } from '../../host/exec.ts';
import { orAborted } from '../../lib/aborted.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import { errorFields } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, SyncOutcome, TrafficRules, Wish } from '../backend.ts';
import { NftTable } from './apply.ts';
import { compileRoute } from './compile.ts';
import { differencesOf, explainFrontend } from './describe.ts';
import { changesOf, everything } from './desired-changes.ts';
import { commit, planTransactions } from './diff.ts';
import { forgetClients } from './forget-clients.ts';
import { NftError, nftVersion } from './nft-program.ts';
import type { RulesetOptions } from './ruleset.ts';
import type { ForeignChange, RulesetWatch } from './ruleset-watch.ts';
import type { TableState } from './table-state.ts';
import { emptyState, keepsClients } from './table-state.ts';

/** A transaction of this many elements takes the kernel a few hundredths of a second. */
const maxWritesPerTransaction = 4_000;
/** Reading a table back takes nft about 25 µs an element; a larger one than this is read at every tenth check only. */
const smallTable = 1_000;
const checksPerFullRead = 10;
/** After so many listings in a row that led nowhere, none is asked for any more. */
const toleratedBadReads = 3;
/** The one table of ours, in each family. */
export const tableName = 'keelson';

export interface NftBackendOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly log: Log;
  /** Tells of foreign changes at once, to both families; without it they are noticed at the periodic look. */
  readonly watch?: RulesetWatch;
  /** Elements in one transaction, about; default 4,000. */
  readonly maxWrites?: number;
}

/**
 * Services as elements of one nftables table: compile, diff with what the table holds, run, commit.
 *
 * What another program does to our chains and rules is heard of and repaired at once. Every foreign transaction also
 * makes us look (`NftTable.looksIntact`), which finds a flush of any map; single elements that are lost from a table of
 * more than 200 frontends, and elements that somebody has added, are found when the whole table is read at the
 * periodic check.
 */
export class NftBackend implements Backend {
  readonly mode = 'nftables';
  readonly #exec: Pick<Exec, 'run'>;
  readonly #log: Log;
  readonly #watch: RulesetWatch | undefined;
  readonly #maxWrites: number;
  readonly #firstSync = Promise.withResolvers<void>();
  #rules: TrafficRules | undefined;
  /** Undefined: not known, read it back. */
  #state: TableState | undefined;
  /** What was read before the first sync; undefined where that failed. */
  #ahead: Promise<TableState | undefined> | undefined;
  #version: string | undefined;
  #checks = 0;
  /** What was heard since the last sync. `sure`: the table is not what it was. */
  #foreign: 'perhaps' | 'sure' | undefined;
  /** Listings in a row that could not be understood, or led to a transaction that was refused. */
  #badReads = 0;
  /** The table is replaced rather than read. */
  #isUnreadable = false;

  constructor({ exec, log, watch, maxWrites = maxWritesPerTransaction }: NftBackendOptions) {
    this.#exec = exec;
    this.#log = log;
    this.#watch = watch;
    this.#maxWrites = maxWrites;
  }

  prepare(rules: TrafficRules, signal: AbortSignal): void {
    const table = new NftTable(this.#exec, rulesetOptions(rules));
    // Whatever the reason is, the first sync meets it again.
    this.#ahead = table.read(signal).catch(() => undefined);
  }

  async sync(wish: Wish, context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome> {
    const reads = { done: false };
    try {
      const outcome = await this.#sync(wish, context, reads);
      if (reads.done) this.#badReads = 0;
      this.#isUnreadable = this.#badReads >= toleratedBadReads;
      this.#firstSync.resolve();
      return outcome;
    } catch (error) {
      this.#state = undefined;
      const isBad = error instanceof NftError && (error.code === 'NftFailed' || error.code === 'NftUnreadable');
      if (reads.done && isBad) this.#countBadRead(error);
      throw error;
    }
  }

  async run(signal: AbortSignal, needsSync: () => void): Promise<void> {
    if (!this.#watch) return;
    // The first load is so large that it overruns who follows it, and nobody else's change matters before.
    await orAborted(this.#firstSync.promise, signal);
    if (signal.aborted) return;
    await this.#watch.listen(signal, (change) => {
      if (this.#noteForeign(change)) needsSync();
    });
  }

  plan(wish: Wish): string {
    const state = emptyState();
    const transactions = planTransactions(state, everything(wish.routes, state), rulesetOptions(wish.rules), Infinity);
    return [...transactions].map((one) => one.script).join('');
  }

  async diff(wish: Wish, signal: AbortSignal): Promise<readonly string[]> {
    const options = rulesetOptions(wish.rules);
    const state = await new NftTable(this.#exec, options).read(signal);
    if (isNeedless(wish, state)) return [];
    const transactions = planTransactions(state, everything(wish.routes, state), options, Infinity);
    return [...transactions].flatMap((one) => differencesOf(one.script));
  }

  explain(frontend: string, { routes, rules }: Wish): readonly string[] {
    const route = routes.get(frontend);
    return route ? explainFrontend(compileRoute(route), rulesetOptions(rules)) : [];
  }

  async #sync(
    wish: Wish,
    { cause, signal }: { readonly cause: RunCause; readonly signal: AbortSignal },
    reads: { done: boolean },
  ): Promise<SyncOutcome> {
    const { routes, rules, changed, changedTargets } = wish;
    const options = rulesetOptions(rules);
    const table = new NftTable(this.#exec, options, this.#watch);
    this.#version ??= await nftVersion(this.#exec, signal);
    // The rules are compared with what is wanted when the table is read back.
    if (!isDeepStrictEqual(rules, this.#rules)) this.#state = undefined;
    const isLost = this.#state !== undefined && (await this.#mayHaveChanged(table, this.#state, cause, signal));
    if (isLost) this.#state = undefined;
    const known = this.#state;
    // What is heard from here on may not be in the reading any more.
    if (!known) this.#foreign = undefined;
    const state = known ?? (await this.#read(table, reads, signal));
    this.#state = state;
    this.#rules = rules;
    const isFull = state !== known || state.layout !== 'ours';
    if (isNeedless(wish, state)) return { isFull, writes: 0 };
    const desired = isFull ? everything(routes, state) : changesOf(routes, changed.frontends, changedTargets);
    let writes = 0;
    let transactions = 0;
    // Notes may have been left by a run that was ended before it dropped them, or come since the table was read ahead.
    let forgets = !known && (state.hadNotes || [...state.frontends.values()].some(keepsClients));
    for (const transaction of planTransactions(state, desired, options, this.#maxWrites)) {
      await table.run(transaction, signal);
      commit(state, transaction);
      writes += transaction.writes;
      transactions += 1;
      forgets ||= transaction.forgets;
    }
    if (isLost && transactions > 0) {
      this.#log.warn({ table: options.table, family: options.family }, 'another program changed the ruleset; repaired');
    }
    if (forgets) await forgetClients(table, routes, signal);
    return { isFull, writes };
  }

  /** Whether a sync has something to look at. */
  #noteForeign(change: ForeignChange): boolean {
    if (this.#state?.layout === 'absent' || !this.#rules) return false;
    const { family, table } = rulesetOptions(this.#rules);
    if (change && !change.has(`${family} ${table}`)) return false;
    this.#foreign = change ? 'sure' : (this.#foreign ?? 'perhaps');
    return true;
  }

  /** The table as it is, or, where listings are of no use, one that nothing is taken over from. */
  async #read(table: NftTable, reads: { done: boolean }, signal: AbortSignal): Promise<TableState> {
    if (this.#isUnreadable) return { ...emptyState(), layout: 'foreign' };
    const ahead = await this.#ahead;
    this.#ahead = undefined;
    reads.done = true;
    const isStillSo = ahead?.layout === 'ours' && (await table.looksIntact(ahead, signal));
    return isStillSo ? ahead : await table.read(signal);
  }

  /** The next sync replaces the table, whatever it holds: it must not fail for ever by what it cannot understand. */
  #countBadRead(error: unknown): void {
    this.#badReads += 1;
    this.#isUnreadable = true;
    const fields = { nft: this.#version, ...errorFields(error) };
    this.#log.warn(fields, 'the table cannot be brought in step from what nft lists; it is replaced');
  }

  /** Whether to read the table back: it lost something, or it is due for a look at every element. */
  async #mayHaveChanged(table: NftTable, state: TableState, cause: RunCause, signal: AbortSignal): Promise<boolean> {
    const foreign = this.#foreign;
    this.#foreign = undefined;
    if (state.layout === 'absent') return false;
    if (foreign === 'sure') return true;
    if (cause !== 'periodic' && foreign === undefined) return false;
    if (cause === 'periodic' && !this.#isUnreadable) {
      this.#checks += 1;
      if (state.frontends.size < smallTable || this.#checks % checksPerFullRead === 0) return true;
    }
    return !(await table.looksIntact(state, signal));
  }
}

/** Most clusters have no IPv6 Service, and their packets need not pass through rules for it. */
const isNeedless = ({ rules, routes }: Wish, state: TableState): boolean =>
  rules.family === 'IPv6' && state.layout === 'absent' && routes.isEmpty;

const rulesetOptions = ({ family, ...rules }: TrafficRules): RulesetOptions => ({
  ...rules,
  family: family === 'IPv4' ? 'ip' : 'ip6',
  table: tableName,
});
