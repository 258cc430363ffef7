import type { DesiredFrontend } from './compile.ts';
import { diffFrontend } from './diff-frontend.ts';
import type { ChainSpec, RulesetOptions } from './ruleset.ts';
import {
  addChain,
  addRules,
  chainFor,
  hairpinSet,
  isMadeOnDemand,
  ownChains,
  ruleTag,
  staticChains,
  staticSets,
} from './ruleset.ts';
import type { ChainState, FrontendState, TableState } from './table-state.ts';
import { countVerdicts, keepsClients, putFrontend, verdictsOf } from './table-state.ts';
import { TransactionScript } from './transaction-script.ts';

/** One atomic `nft -f -`, and what is true of the table once it has succeeded. */
export interface Transaction {
  readonly script: string;
  /** How many elements it adds and removes. */
  readonly writes: number;
  /** Whether it does more than add and remove elements. */
  readonly changesRules: boolean;
  /** Drops all that was known before the rest of the effects applies. */
  readonly replacesTable: boolean;
  readonly sets: readonly string[];
  readonly chains: ReadonlyMap<string, ChainState | undefined>;
  readonly frontends: ReadonlyMap<string, FrontendState | undefined>;
  readonly hairpins: ReadonlyMap<string, boolean>;
  readonly removesStrays: boolean;
  /** Whether clients may be kept with an endpoint that their frontend does not have any more. */
  readonly forgets: boolean;
}

export interface DesiredChanges {
  /** Frontends to look at, by element; undefined: it shall be gone. Those that matter first come first. */
  readonly frontends: Iterable<readonly [string, DesiredFrontend | undefined]>;
  /** Addresses to look at, and whether they shall be in the hairpin set. */
  readonly hairpins: Iterable<readonly [string, boolean]>;
}

/**
 * Transactions that lead from the committed state to the desired one, none when nothing differs. Each is worked out
 * when it is asked for, from the state as it is then: the caller runs one, commits it, and asks for the next.
 * A frontend is never split over two, so no packet sees a hole. `maxWrites` elements and rules in one, a frontend more at
 * most;
 * only a table of an older layout is replaced in a single transaction of any size, for the same reason.
 */
export function* planTransactions(
  state: TableState,
  desired: DesiredChanges,
  options: RulesetOptions,
  maxWrites: number,
): Generator<Transaction, void, void> {
  const limit = state.layout === 'foreign' ? Number.POSITIVE_INFINITY : maxWrites;
  let plan = new Plan(state, options);
  plan.repairStatic();
  const removals: string[] = [];
  for (const [ip, wanted] of desired.hairpins) {
    if (!wanted) removals.push(ip);
    else plan.setHairpin(ip, true);
    if (plan.size < limit) continue;
    yield plan.finish();
    plan = new Plan(state, options);
  }
  for (const [element, frontend] of desired.frontends) {
    plan.setFrontend(element, frontend);
    if (plan.size < limit) continue;
    yield plan.finish();
    plan = new Plan(state, options);
  }
  for (const ip of removals) plan.setHairpin(ip, false);
  plan.dropUnusedChains();
  if (!plan.isEmpty) yield plan.finish();
}

/** Applies to the model what a transaction has done to the kernel. */
export function commit(state: TableState, done: Transaction): void {
  if (done.replacesTable) {
    for (const part of [state.sets, state.chains, state.frontends, state.picks, state.hairpins]) part.clear();
  }
  if (done.replacesTable || done.removesStrays) state.strays.length = 0;
  state.layout = 'ours';
  for (const name of done.sets) state.sets.add(name);
  for (const [name, chain] of done.chains) {
    if (chain) state.chains.set(name, chain);
    else state.chains.delete(name);
  }
  for (const [element, next] of done.frontends) putFrontend(state, element, next);
  for (const [ip, present] of done.hairpins) {
    if (present) state.hairpins.add(ip);
    else state.hairpins.delete(ip);
  }
}

/** One transaction in the making: reads the state, collects lines and effects, changes nothing. */
class Plan {
  readonly #state: TableState;
  readonly #options: RulesetOptions;
  readonly #script: TransactionScript;
  readonly #replaces: boolean;
  readonly #sets: string[] = [];
  readonly #chains = new Map<string, ChainState | undefined>();
  readonly #frontends = new Map<string, FrontendState | undefined>();
  readonly #hairpins = new Map<string, boolean>();
  /** By how much this transaction changes how many frontends lead to a verdict. */
  readonly #picks = new Map<string, number>();
  #removesStrays = false;
  #forgets = false;

  constructor(state: TableState, options: RulesetOptions) {
    this.#state = state;
    this.#options = options;
    this.#replaces = state.layout !== 'ours';
    this.#script = new TransactionScript(options.family, options.table);
    if (this.#replaces) this.#script.recreateTable(state.layout === 'foreign');
  }

  get size(): number {
    return this.#script.size;
  }

  get isEmpty(): boolean {
    return this.#script.isEmpty;
  }

  /** Sets, chains and rules that do not depend on Services, and elements that belong nowhere. */
  repairStatic(): void {
    for (const set of staticSets(this.#options)) {
      if (this.#has(this.#state.sets, set.name)) continue;
      this.#script.declare(set);
      this.#sets.push(set.name);
    }
    for (const chain of staticChains(this.#options)) this.#ensureChain(chain);
    if (this.#replaces) return;
    for (const name of this.#state.chains.keys()) {
      const wanted = chainFor(name, this.#options);
      if (wanted) this.#ensureChain(wanted);
    }
    const { strays } = this.#state;
    for (const stray of strays) this.#script.remove(stray.set, stray.element);
    this.#removesStrays = strays.length > 0;
  }

  setHairpin(ip: string, wanted: boolean): void {
    if (this.#has(this.#state.hairpins, ip) === wanted) return;
    if (wanted) this.#script.add(hairpinSet, `${ip} . ${ip}`);
    else this.#script.remove(hairpinSet, `${ip} . ${ip}`);
    this.#hairpins.set(ip, wanted);
  }

  setFrontend(element: string, desired: DesiredFrontend | undefined): void {
    const current = this.#replaces ? undefined : this.#state.frontends.get(element);
    // Their names do not tell their rules, so that a foreign change of them is noticed here alone.
    if (desired) for (const chain of ownChains(desired, this.#options)) this.#ensureChain(chain);
    const change = diffFrontend(current, desired);
    if (!change) return;
    for (const verdict of verdictsOf(change.next)) this.#ensureLedTo(targetOf(verdict));
    for (const { set, element: key } of change.remove) this.#script.remove(set, key);
    for (const { set, element: key, value } of change.add) this.#script.add(set, key, value);
    countVerdicts(this.#picks, current, -1);
    countVerdicts(this.#picks, change.next, 1);
    this.#frontends.set(element, change.next);
    this.#forgets ||= keepsClients(current);
  }

  /** Chains made on demand that no frontend leads to once everything planned so far is done. */
  dropUnusedChains(): void {
    const names = new Set(this.#replaces ? [] : this.#state.chains.keys());
    for (const name of this.#chains.keys()) names.add(name);
    for (const name of names) {
      if (!isMadeOnDemand(name) || this.#leadTo(`goto ${name}`) + this.#leadTo(`jump ${name}`) > 0) continue;
      this.#script.deleteChain(name);
      this.#chains.set(name, undefined);
    }
  }

  finish(): Transaction {
    return {
      script: this.#script.text(),
      writes: this.#script.writes,
      changesRules: this.#script.changesRules,
      replacesTable: this.#replaces,
      sets: this.#sets,
      chains: this.#chains,
      frontends: this.#frontends,
      hairpins: this.#hairpins,
      removesStrays: this.#removesStrays,
      forgets: this.#forgets,
    };
  }

  /** A chain whose name says what is in it. One that is there has been compared by `repairStatic`. */
  #ensureLedTo(name: string): void {
    if (this.#chains.has(name) || this.#has(this.#state.chains, name)) return;
    const wanted = chainFor(name, this.#options);
    if (wanted) this.#ensureChain(wanted);
  }

  #ensureChain(wanted: ChainSpec): void {
    if (this.#chains.has(wanted.name)) return;
    const current = this.#replaces ? undefined : this.#state.chains.get(wanted.name);
    const tags = wanted.rules.map(ruleTag);
    if (current && String(current.tags) === String(tags)) return;
    if (current) this.#script.flushChain(wanted.name);
    else this.#script.addLine(addChain(this.#options, wanted));
    for (const line of addRules(this.#options, wanted)) this.#script.addRule(line);
    this.#chains.set(wanted.name, { base: wanted.base, tags });
  }

  /** How many elements have this verdict once everything planned so far is done. */
  #leadTo(verdict: string): number {
    const before = this.#replaces ? 0 : (this.#state.picks.get(verdict) ?? 0);
    return before + (this.#picks.get(verdict) ?? 0);
  }

  #has(names: Pick<ReadonlySet<string>, 'has'>, name: string): boolean {
    return !this.#replaces && names.has(name);
  }
}

const targetOf = (verdict: string): string => verdict.slice(verdict.indexOf(' ') + 1);
