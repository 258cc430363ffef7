import type { HeldChain, Write } from './diff-tables.ts';
import type { KernelTables } from './kernel-tables.ts';
import { canonicalRule } from './rule-text.ts';

/** The remedy for a chain of ours that has to stay. `program`: the one whose table it is in. */
export const removeHolder = ({ by }: HeldChain, program: string): string =>
  `remove the rule that leads there: ${program} -t ${by.table} -D ${by.chain} ${by.rule}`;

/** A write as lines for operators: `+ nat -A CHAIN rule` is missing, `- …` is there and should not be. */
export function writeLines(write: Write, kernel: KernelTables): readonly string[] {
  const { kind, table, chain } = write;
  const found = kernel[table].get(chain);
  switch (kind) {
    case 'insert':
    case 'append':
      return [`+ ${table} -A ${chain} ${write.rule}`];
    case 'delete':
      return [`- ${table} -A ${chain} ${write.rule}`];
    case 'remove':
      return [`- ${table} ${chain}`];
    case 'chain': {
      const had = new Set(found?.map(canonicalRule));
      const wants = new Set(write.rules.map(canonicalRule));
      const gone = (found ?? []).filter((rule) => !wants.has(canonicalRule(rule)));
      const added = write.rules.filter((rule) => !had.has(canonicalRule(rule)));
      const isNew = found === undefined;
      const lines = [
        ...(isNew ? [`+ ${table} ${chain}`] : []),
        ...gone.map((rule) => `- ${table} -A ${chain} ${rule}`),
        ...added.map((rule) => `+ ${table} -A ${chain} ${rule}`),
      ];
      // The same rules in another order, or twice.
      return lines.length > 0 || write.rules.length === 0
        ? lines
        : write.rules.map((rule) => `+ ${table} -A ${chain} ${rule}`);
    }
    default:
      return kind satisfies never;
  }
}
