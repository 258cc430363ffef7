import type { TableName } from './chain-names.ts';
import type { CompiledService } from './compile-service.ts';
import type { Footprint, Write } from './diff-tables.ts';
import type { FixedRules } from './fixed-chains.ts';

/** Rules by table. */
export type RuleCounts = Readonly<Record<TableName, number>>;

export const noRules: RuleCounts = { mangle: 0, nat: 0, filter: 0 };

export const countOfService = ({ chains, entries }: CompiledService): RuleCounts =>
  sum([...chains, ...entries.map((entry) => ({ ...entry, rules: [entry.rule] }))]);

/** All rules that there are when nothing differs from what is wanted. */
export function countAll({ chains, shared, jumps }: FixedRules, footprints: Iterable<Footprint>): RuleCounts {
  const tails = shared.map(({ table, tail }) => ({ table, rules: tail }));
  const total = { ...sum([...chains, ...tails, ...jumps]) };
  for (const { rules } of footprints) {
    total.nat += rules.nat;
    total.filter += rules.filter;
  }
  return total;
}

/** Rules that are put in or taken out one by one, or with their chain. */
export const countWritten = (writes: readonly Write[]): RuleCounts =>
  sum(
    writes.map((write) => ({
      table: write.table,
      rules: write.kind === 'chain' ? write.rules : write.kind === 'remove' ? [] : [write.rule],
    })),
  );

export const addCounts = (a: RuleCounts, b: RuleCounts): RuleCounts => ({
  mangle: a.mangle + b.mangle,
  nat: a.nat + b.nat,
  filter: a.filter + b.filter,
});

function sum(parts: readonly { readonly table: TableName; readonly rules: readonly string[] }[]): RuleCounts {
  const counts = { ...noRules };
  for (const { table, rules } of parts) counts[table] += rules.length;
  return counts;
}
