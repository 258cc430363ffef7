import { isDeepStrictEqual } from 'node:util';
import type { Exec } from '../../host/exec.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import { errorFields } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, SyncOutcome, TrafficRules, Wish } from '../backend.ts';
import type { IptablesMetrics } from '../proxy-metrics.ts';
import type { IpFamily } from '../read-service.ts';
import { frontendKey } from '../route-services.ts';
import { ownerChain, servicesChain } from './chain-names.ts';
import { compileService } from './compile-service.ts';
import { addCounts, countAll, countWritten, noRules } from './count-rules.ts';
import type { Footprint, HeldChain, Write } from './diff-tables.ts';
import { diffService, FullDiff, footprintOf } from './diff-tables.ts';
import { explainRules } from './explain-rules.ts';
import { fixedRules } from './fixed-chains.ts';
import type { Variant } from './iptables-programs.ts';
import { IptablesError, IptablesPrograms, isUnreadable } from './iptables-programs.ts';
import { removeOurs } from './iptables-remains.ts';
import type { KernelTables } from './kernel-tables.ts';
import { readTables, unreadableTables } from './kernel-tables.ts';
import { OtherVariant } from './other-variant.ts';
import { restoreScript, ScriptWriter, scriptLimits } from './restore-script.ts';
import { removeHolder, writeLines } from './write-lines.ts';

export interface IptablesBackendOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly log: Log;
  readonly family: IpFamily;
  /** Default: the one that the host calls iptables. */
  readonly variant?: Variant;
  readonly metrics?: IptablesMetrics | undefined;
}

/** Reading back takes 0.2 s with so many Services; more than these are read at every tenth check only. */
const smallTable = 1_000;
const checksPerFullRead = 10;
/** From here on nftables is the better choice: every packet of a new connection passes all of these rules. */
const manyServices = 1_000;

type Known =
  /** Nothing is in the kernel, and nothing needs to be. */
  | 'absent'
  /** By Service key. */
  | Map<string, Footprint>;

/** Services as chains of iptables, by the names that kube-proxy gives them: compile, diff, restore, remember. */
export class IptablesBackend implements Backend {
  readonly mode = 'iptables';
  readonly #exec: Pick<Exec, 'run'>;
  readonly #log: Log;
  readonly #programs: IptablesPrograms;
  readonly #metrics: IptablesMetrics | undefined;
  #written = noRules;
  #variant: Variant | undefined;
  #rules: TrafficRules | undefined;
  /** Undefined: read the kernel back. */
  #known: Known | undefined;
  readonly #otherVariant: OtherVariant;
  #saidHeld = '';
  #saidUnreadable = false;
  #checks = 0;
  #advised = false;

  constructor({ exec, log, family, variant, metrics }: IptablesBackendOptions) {
    this.#metrics = metrics;
    this.#exec = exec;
    this.#log = log;
    this.#programs = new IptablesPrograms(exec, family, variant);
    this.#otherVariant = new OtherVariant({ exec, log, family, remove: removeOurs });
  }

  async sync(wish: Wish, context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome> {
    const known = this.#known;
    this.#known = undefined;
    return await this.#sync(wish, known, context);
  }

  async run(): Promise<void> {}

  plan(wish: Wish): string {
    const empty = readTables('');
    return restoreScript([...fullWrites(wish, new FullDiff(empty, fixedRules(wish.rules)))].flat());
  }

  async diff(wish: Wish, signal: AbortSignal): Promise<readonly string[]> {
    const kernel = await this.#read(wish, signal);
    if (!kernel) return [];
    const writes = [...fullWrites(wish, new FullDiff(kernel, fixedRules(wish.rules)))].flat();
    return writes.flatMap((write) => writeLines(write, kernel));
  }

  explain(frontend: string, { routes, rules }: Wish): readonly string[] {
    const owner = routes.ownerOf(frontend);
    const own = owner === undefined ? [] : routes.routesOf(owner);
    const route = own.find((one) => frontendKey(one.frontend) === frontend);
    return route ? explainRules(route, compileService(own, rules)) : [];
  }

  async #sync(
    wish: Wish,
    before: Known | undefined,
    { cause, signal }: { readonly cause: RunCause; readonly signal: AbortSignal },
  ): Promise<SyncOutcome> {
    const { routes, rules, changed } = wish;
    try {
      this.#variant ??= await this.#programs.variant(signal);
    } catch (error) {
      // Most clusters have no IPv6 Service, and many hosts no ip6tables.
      if (rules.family === 'IPv4' || !routes.isEmpty || !isMissing(error)) throw error;
      return { isFull: true, writes: 0 };
    }
    const isChanged = !isDeepStrictEqual(rules, this.#rules);
    const mayDiffer =
      isChanged ||
      (before === 'absent' && !routes.isEmpty) ||
      (cause === 'periodic' && before instanceof Map && (await this.#mayHaveChanged(before, signal)));
    const known = mayDiffer ? undefined : before;
    this.#rules = rules;
    if (known === 'absent') {
      this.#known = known;
      return { isFull: false, writes: 0 };
    }
    this.#written = noRules;
    const outcome = known
      ? { isFull: false, writes: await this.#change(wish, known, changed.services, signal) }
      : await this.#compareAll(wish, signal).catch((error: unknown) => {
          if (isChanged || !(before instanceof Map) || !isUnreadable(error)) throw error;
          return this.#goOn(wish, before, error, signal);
        });
    if (cause === 'periodic' && outcome.writes > 0 && before !== undefined) {
      this.#log.warn({ program: this.#programs.name }, 'another program changed the rules of iptables; repaired');
    }
    this.#count(rules);
    await this.#advise(signal);
    return outcome;
  }

  /** Writes what differs of some Services. */
  async #change(
    { routes, rules }: Wish,
    known: Map<string, Footprint>,
    services: Iterable<string>,
    signal: AbortSignal,
  ): Promise<number> {
    const next = new Map<string, Footprint>();
    const writes = (function* () {
      for (const key of services) {
        const compiled = compileService(routes.routesOf(key), rules);
        next.set(key, footprintOf(compiled));
        yield diffService(known.get(key), compiled);
      }
    })();
    const count = await this.#run(writes, signal).catch((error: unknown) => {
      if (!signal.aborted) this.#metrics?.partialFailures.inc(rules.family);
      throw error;
    });
    for (const [key, footprint] of next) {
      if (footprint.chains.size + footprint.entries.size > 0) known.set(key, footprint);
      else known.delete(key);
    }
    this.#known = known;
    return count;
  }

  /** Reads the kernel back and writes what differs. */
  async #compareAll(wish: Wish, signal: AbortSignal): Promise<SyncOutcome> {
    const writes = await this.#adopt(wish, signal);
    if (this.#variant) await this.#otherVariant.leave(this.#variant, signal);
    this.#saidUnreadable = false;
    return { isFull: true, writes };
  }

  /** The kernel cannot be read back: changes are written as if it had what it was given, which has been logged once. */
  async #goOn(wish: Wish, before: Map<string, Footprint>, error: unknown, signal: AbortSignal): Promise<SyncOutcome> {
    if (!this.#saidUnreadable) this.#log.warn(errorFields(error), 'what others do to the rules cannot be seen');
    this.#saidUnreadable = true;
    return { isFull: false, writes: await this.#change(wish, before, wish.changed.services, signal) };
  }

  /** Undefined: nothing is there, and nothing needs to be. */
  async #read(wish: Wish, signal: AbortSignal): Promise<KernelTables | undefined> {
    const saved = await this.#programs.save(signal);
    const kernel = readTables(saved);
    if (isNeedless(wish, kernel)) return undefined;
    const [hidden] = unreadableTables(saved);
    if (hidden) throw this.#programs.unreadable(hidden);
    return kernel;
  }

  async #adopt(wish: Wish, signal: AbortSignal): Promise<number> {
    const kernel = await this.#read(wish, signal);
    if (!kernel) {
      this.#known = 'absent';
      return 0;
    }
    const next = new Map<string, Footprint>();
    const full = new FullDiff(kernel, fixedRules(wish.rules));
    const count = await this.#run(fullWrites(wish, full, next), signal);
    this.#known = next;
    this.#sayHeld(full.held);
    return count;
  }

  /** Says so once of chains that are of no use any more, and that the kernel does not let us remove. */
  #sayHeld(held: readonly HeldChain[]): void {
    const [first] = held;
    const said = held.map(({ table, chain }) => `${table} ${chain}`).join('; ');
    if (first && said !== this.#saidHeld) {
      const hint = removeHolder(first, this.#programs.name);
      const fields = { table: first.table, chain: first.chain, count: held.length, hint };
      this.#log.warn(fields, 'an empty chain of ours stays, because a rule that is not ours leads to it');
    }
    this.#saidHeld = said;
  }

  /** Runs writes in their order, while they are made; returns how many there were. */
  async #run(writes: Iterable<readonly Write[]>, signal: AbortSignal): Promise<number> {
    const writer = new ScriptWriter(scriptLimits[this.#variant ?? 'legacy']);
    let count = 0;
    for (const some of writes) {
      count += some.length;
      if (this.#metrics) this.#written = addCounts(this.#written, countWritten(some));
      for (const script of writer.add(some)) await this.#programs.restore(script, signal);
    }
    for (const script of writer.end()) await this.#programs.restore(script, signal);
    return count;
  }

  #count(rules: TrafficRules): void {
    if (!this.#metrics) return;
    const known = this.#known;
    const total = known instanceof Map ? countAll(fixedRules(rules), known.values()) : noRules;
    for (const table of ['nat', 'filter'] as const) {
      this.#metrics.rules.set(total[table], rules.family, table);
      this.#metrics.written.set(this.#written[table], rules.family, table);
    }
  }

  /** Whether to read everything back: our rules are gone from where packets enter, or it is time to look closely. */
  async #mayHaveChanged(known: ReadonlyMap<string, Footprint>, signal: AbortSignal): Promise<boolean> {
    this.#checks += 1;
    if (known.size < smallTable || this.#checks % checksPerFullRead === 0) return true;
    for (const [table, chain] of [['nat', 'PREROUTING'] as const, ['filter', 'FORWARD'] as const]) {
      const rules = await this.#programs.list(table, chain, signal);
      if (!rules?.includes(`-j ${servicesChain}`)) return true;
    }
    return (await this.#programs.list('nat', ownerChain, signal)) === undefined;
  }

  async #advise(signal: AbortSignal): Promise<void> {
    const services = this.#known instanceof Map ? this.#known.size : 0;
    if (this.#advised || services <= manyServices) return;
    this.#advised = true;
    try {
      await this.#exec.run('nft', ['--version'], { signal, timeoutMs: 5_000 });
      const hint = 'set mode: nftables in the KubeProxyConfiguration';
      this.#log.warn({ services, hint }, 'iptables slows down with so many Services, and nftables does not');
    } catch {
      // There is no other mode to name.
    }
  }
}

const isMissing = (error: unknown): boolean => error instanceof IptablesError && error.code === 'IptablesMissing';

/** Most clusters have no IPv6 Service, and their packets need not pass through rules for it. */
const isNeedless = ({ routes, rules }: Wish, kernel: KernelTables): boolean =>
  rules.family === 'IPv6' && routes.isEmpty && !kernel.nat.has(ownerChain);

/** All writes of a full comparison, a few at a time; notes in `footprints` what each Service has once they are done. */
function* fullWrites(
  { routes, rules }: Wish,
  full: FullDiff,
  footprints: Map<string, Footprint> = new Map(),
): Iterable<readonly Write[]> {
  yield full.begin();
  for (const key of routes.servicesWithRoutes()) {
    const compiled = compileService(routes.routesOf(key), rules);
    footprints.set(key, footprintOf(compiled));
    yield full.service(compiled);
  }
  yield full.end();
}
