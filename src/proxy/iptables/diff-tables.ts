import { hash } from 'node:crypto';
import type { TableName } from './chain-names.ts';
import { isOurs, isServiceChain, ownerChain, tableNames } from './chain-names.ts';
import type { CompiledService, Entry } from './compile-service.ts';
import type { RuleCounts } from './count-rules.ts';
import { countOfService, noRules } from './count-rules.ts';
import type { Chain, FixedRules, SharedChain } from './fixed-chains.ts';
import type { KernelTable, KernelTables } from './kernel-tables.ts';
import { targetOf } from './kernel-tables.ts';
import { canonicalRule } from './rule-text.ts';

/** One write. `chain` makes or empties a chain and fills it; `insert` puts a rule first. */
export type Write =
  | { readonly kind: 'chain'; readonly table: TableName; readonly chain: string; readonly rules: readonly string[] }
  | {
      readonly kind: 'insert' | 'append' | 'delete';
      readonly table: TableName;
      readonly chain: string;
      readonly rule: string;
    }
  | { readonly kind: 'remove'; readonly table: TableName; readonly chain: string };

/** What one Service has in the kernel. */
export interface Footprint {
  /** `table name` to a digest of the chain's rules. */
  readonly chains: ReadonlyMap<string, string>;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly rules: RuleCounts;
}

const chainKey = ({ table, name }: Pick<Chain, 'table' | 'name'>): string => `${table} ${name}`;
const entryKey = ({ table, chain, rule }: Entry): string => `${table} ${chain} ${rule}`;
const digest = (rules: readonly string[]): string => hash('sha256', rules.join('\n'), 'base64').slice(0, 20);

export const footprintOf = (service: CompiledService): Footprint => ({
  chains: new Map(service.chains.map((chain) => [chainKey(chain), digest(chain.rules)])),
  entries: new Map(service.entries.map((entry) => [entryKey(entry), entry])),
  rules: countOfService(service),
});

const nothing: Footprint = { chains: new Map(), entries: new Map(), rules: noRules };

/** What leads from what a Service has in the kernel to what it shall have. */
export function diffService(before: Footprint = nothing, wanted: CompiledService): readonly Write[] {
  const after = footprintOf(wanted);
  const changed = wanted.chains.filter(
    (chain) => before.chains.get(chainKey(chain)) !== after.chains.get(chainKey(chain)),
  );
  const added = wanted.entries.filter((entry) => !before.entries.has(entryKey(entry)));
  const gone = [...before.entries.values()].filter((entry) => !after.entries.has(entryKey(entry)));
  // Those first that lead to the others.
  const unused = [...before.chains.keys()].filter((key) => !after.chains.has(key)).reverse();
  return [
    ...changed.map(fill),
    ...added.map((entry): Write => ({ kind: 'insert', ...entry })),
    ...gone.map((entry): Write => ({ kind: 'delete', ...entry })),
    ...unused.map((key): Write => {
      const [table, chain = ''] = key.split(' ');
      return { kind: 'remove', table: table as TableName, chain };
    }),
  ];
}

const fill = ({ table, name, rules }: Chain): Write => ({ kind: 'chain', table, chain: name, rules });

const builtIn: readonly string[] = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'];

const sameRule = (a: string, b: string | undefined): boolean =>
  b !== undefined && (a === b || canonicalRule(a) === canonicalRule(b));
const sameRules = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((rule, i) => sameRule(rule, b[i]));

/**
 * Compares everything with what was read from the kernel, one part after the other: first `begin`, then `service` for
 * each of them, then `end`. In that order the writes can be run a few at a time: no rule leads to a chain that is not
 * there, and packets get to new rules last.
 */
export class FullDiff {
  readonly #kernel: KernelTables;
  readonly #fixed: FixedRules;
  /** By `table chain`: rules of the shared chains that nobody has wanted yet, each with how often it is there. */
  readonly #unwanted = new Map<string, Map<string, number>>();
  /** By `table chain`: the same by canonical text; made when a rule is not found as it is spelled. */
  readonly #canonical = new Map<string, Map<string, string>>();
  readonly #wanted = new Set<string>();
  readonly #held: HeldChain[] = [];

  constructor(kernel: KernelTables, fixed: FixedRules) {
    this.#kernel = kernel;
    this.#fixed = fixed;
  }

  begin(): readonly Write[] {
    const { chains, shared } = this.#fixed;
    return [...chains.flatMap((chain) => this.#chain(chain)), ...shared.flatMap((chain) => this.#share(chain))];
  }

  service({ chains, entries }: CompiledService): readonly Write[] {
    const missing = entries.filter((entry) => !this.#take(entry));
    return [
      ...chains.flatMap((chain) => this.#chain(chain)),
      ...missing.map((entry): Write => ({ kind: 'insert', ...entry })),
    ];
  }

  end(): readonly Write[] {
    const stale = [...this.#unwanted].flatMap(([key, rules]) => {
      const [table, chain = ''] = key.split(' ');
      return [...rules].flatMap(([rule, count]) =>
        Array.from({ length: count }, (): Write => ({ kind: 'delete', table: table as TableName, chain, rule })),
      );
    });
    return [...this.#jumps(), ...stale, ...this.#unused()];
  }

  /** After `end`: the chains that nobody wants any more and that have to stay. */
  get held(): readonly HeldChain[] {
    return this.#held;
  }

  #chain(chain: Chain): readonly Write[] {
    this.#wanted.add(chainKey(chain));
    const found = this.#kernel[chain.table].get(chain.name);
    return found && sameRules(chain.rules, found) ? [] : [fill(chain)];
  }

  #share({ table, name, tail }: SharedChain): readonly Write[] {
    this.#wanted.add(chainKey({ table, name }));
    const found = this.#kernel[table].get(name);
    if (!found) return [fill({ table, name, rules: tail })];
    const counts = new Map<string, number>();
    this.#unwanted.set(`${table} ${name}`, counts);
    const isInPlace = sameRules(tail, found.slice(found.length - tail.length));
    for (const rule of isInPlace ? found.slice(0, found.length - tail.length) : found) {
      counts.set(rule, (counts.get(rule) ?? 0) + 1);
    }
    return isInPlace ? [] : tail.map((rule): Write => ({ kind: 'append', table, chain: name, rule }));
  }

  /** Whether the kernel has this entry; what is taken counts as wanted. */
  #take({ table, chain, rule }: Entry): boolean {
    const key = `${table} ${chain}`;
    const counts = this.#unwanted.get(key);
    if (!counts || counts.size === 0) return false;
    const found = counts.has(rule) ? rule : this.#canonicalOf(key, counts).get(canonicalRule(rule));
    const count = found === undefined ? undefined : counts.get(found);
    if (found === undefined || count === undefined) return false;
    if (count > 1) counts.set(found, count - 1);
    else counts.delete(found);
    return true;
  }

  #canonicalOf(key: string, counts: ReadonlyMap<string, number>): ReadonlyMap<string, string> {
    let spelled = this.#canonical.get(key);
    if (!spelled) {
      spelled = new Map([...counts.keys()].map((rule) => [canonicalRule(rule), rule]));
      this.#canonical.set(key, spelled);
    }
    return spelled;
  }

  /** Our rules at the head of the kernel's chains: as wanted, or all of them anew. */
  #jumps(): readonly Write[] {
    return tableNames.flatMap((table) =>
      builtIn.flatMap((chain): readonly Write[] => {
        const found = ourJumps(this.#kernel[table], table).flatMap((jump) => (jump.chain === chain ? [jump.rule] : []));
        const wanted = this.#fixed.jumps.find((one) => one.table === table && one.name === chain)?.rules ?? [];
        if (sameRules(wanted, found)) return [];
        return [
          ...found.map((rule): Write => ({ kind: 'delete', table, chain, rule })),
          ...[...wanted].reverse().map((rule): Write => ({ kind: 'insert', table, chain, rule })),
        ];
      }),
    );
  }

  /** Chains of ours that nobody wants any more. */
  #unused(): readonly Write[] {
    return tableNames.flatMap((table) => {
      const kernel = this.#kernel[table];
      const names = [...kernel.keys()].filter((name) => isOurs(table, name));
      const unused = names.filter((name) => !this.#wanted.has(chainKey({ table, name })));
      const held = heldAmong(unused, kernel, table);
      this.#held.push(...held);
      return leaveChains(table, unused, kernel, held);
    });
  }
}

/** A chain of ours that a rule of others leads to: the kernel lets nobody remove it. */
export interface HeldChain {
  readonly table: TableName;
  readonly chain: string;
  /** The rule, or one of them. */
  readonly by: Entry;
}

function heldAmong(names: readonly string[], kernel: KernelTable, table: TableName): readonly HeldChain[] {
  const asked = new Set(names);
  const held = new Map<string, HeldChain>();
  for (const [chain, rules] of kernel) {
    if (isOurs(table, chain) || builtIn.includes(chain)) continue;
    for (const rule of rules) {
      const target = targetOf(rule) ?? '';
      if (asked.has(target)) held.set(target, { table, chain: target, by: { table, chain, rule } });
    }
  }
  return [...held.values()];
}

/** Removes chains; those that are held are emptied, and stay. */
function leaveChains(
  table: TableName,
  names: readonly string[],
  kernel: KernelTable,
  held: readonly HeldChain[],
): readonly Write[] {
  const kept = new Set(held.map(({ chain }) => chain));
  const filled = [...kept].filter((name) => (kernel.get(name) ?? []).length > 0);
  return [
    ...filled.map((chain): Write => ({ kind: 'chain', table, chain, rules: [] })),
    ...removeChains(
      table,
      names.filter((name) => !kept.has(name)),
    ),
  ];
}

/** Those that lead to others before those, so that the writes can be run a few at a time. */
function removeChains(table: TableName, names: readonly string[]): readonly Write[] {
  const roles = ['FW', 'EXT', 'SVC', 'SVL', 'SEP'];
  const rank = (name: string) => (isServiceChain(name) ? roles.indexOf(name.split('-')[1] ?? '') : roles.length);
  const fixed = names.filter((name) => !isServiceChain(name));
  const ordered = [...names].sort((a, b) => rank(a) - rank(b));
  return [
    ...fixed.map((chain): Write => ({ kind: 'chain', table, chain, rules: [] })),
    ...ordered.map((chain): Write => ({ kind: 'remove', table, chain })),
  ];
}

/** Rules of the kernel's own chains that lead to chains of ours. */
export const ourJumps = (kernel: KernelTable, table: TableName): readonly Entry[] =>
  builtIn.flatMap((chain) =>
    (kernel.get(chain) ?? [])
      .filter((rule) => isOurs(table, targetOf(rule) ?? ''))
      .map((rule): Entry => ({ table, chain, rule })),
  );

/**
 * What removes everything of ours from the tables that are marked as ours; the mark goes last, and stays as long as a
 * chain has to.
 */
export function removal(kernel: KernelTables): {
  readonly writes: readonly Write[];
  readonly held: readonly HeldChain[];
} {
  const parts = tableNames.map((table) => {
    const found = kernel[table];
    if (!found.has(ownerChain)) return { writes: [], held: [] };
    const names = [...found.keys()].filter((name) => isOurs(table, name) && name !== ownerChain);
    const held = heldAmong([...names, ownerChain], found, table);
    const jumps = ourJumps(found, table).map((jump): Write => ({ kind: 'delete', ...jump }));
    const mark = held.length > 0 ? [] : removeChains(table, [ownerChain]);
    return { writes: [...jumps, ...leaveChains(table, names, found, held), ...mark], held };
  });
  return { writes: parts.flatMap(({ writes }) => writes), held: parts.flatMap(({ held }) => held) };
}
