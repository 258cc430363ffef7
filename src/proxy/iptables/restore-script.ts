import type { TableName } from './chain-names.ts';
import { tableNames } from './chain-names.ts';
import type { Write } from './diff-tables.ts';
import type { Variant } from './iptables-programs.ts';

/**
 * Input of `iptables-restore --noflush` for some writes. Each table is a transaction of its own.
 *
 * iptables-nft-restore (1.8.9 at least) keeps the names of all chains that one transaction speaks of in a sorted list
 * and walks it from its head for every rule, so its time grows with the square of the chains: 10,000 Services of 5
 * endpoints in one transaction take 50 s, in transactions of 50 Services 5 s. It is quicker still when chains are
 * declared from the last name to the first. The legacy variant is the other way round: each transaction reads and
 * replaces the whole table, so it gets all in one.
 */
export function restoreScript(writes: readonly Write[]): string {
  const tables = Map.groupBy(writes, (write) => write.table);
  return tableNames.map((table) => tableScript(table, tables.get(table) ?? [])).join('');
}

function tableScript(table: TableName, writes: readonly Write[]): string {
  if (writes.length === 0) return '';
  // Declaring a chain empties it, which is needed before it can be removed.
  const declared = new Set(writes.flatMap(({ kind, chain }) => (kind === 'chain' || kind === 'remove' ? [chain] : [])));
  const lines = [
    `*${table}`,
    ...[...declared]
      .sort()
      .reverse()
      .map((chain) => `:${chain} - [0:0]`),
    ...writes.flatMap(ruleLines),
    ...writes.flatMap(({ kind, chain }) => (kind === 'remove' ? [`-X ${chain}`] : [])),
    'COMMIT',
  ];
  return `${lines.join('\n')}\n`;
}

function ruleLines(write: Write): readonly string[] {
  const { kind, chain } = write;
  switch (kind) {
    case 'chain':
      return write.rules.map((rule) => `-A ${chain} ${rule}`);
    case 'insert':
      return [`-I ${chain} ${write.rule}`];
    case 'append':
      return [`-A ${chain} ${write.rule}`];
    case 'delete':
      return [`-D ${chain} ${write.rule}`];
    case 'remove':
      return [];
    default:
      return kind satisfies never;
  }
}

/** How much of the writes goes into one transaction, and how much text into one run of the program. */
export interface ScriptLimits {
  readonly writesPerTransaction: number;
  readonly charactersPerRun: number;
}

/** Measured with 10,000 Services of 5 endpoints. */
export const scriptLimits: Readonly<Record<Variant, ScriptLimits>> = {
  nft: { writesPerTransaction: 400, charactersPerRun: 2_000_000 },
  legacy: { writesPerTransaction: Infinity, charactersPerRun: Infinity },
};

/** Splits writes, in their order, into inputs for one run each. */
export class ScriptWriter {
  readonly #limits: ScriptLimits;
  #writes: Write[] = [];
  #scripts: string[] = [];
  #characters = 0;

  constructor(limits: ScriptLimits) {
    this.#limits = limits;
  }

  /** Takes some writes; returns the inputs that are full by now. */
  add(writes: readonly Write[]): readonly string[] {
    const full: string[] = [];
    for (const write of writes) {
      this.#writes.push(write);
      if (this.#writes.length >= this.#limits.writesPerTransaction) this.#endTransaction();
      if (this.#characters >= this.#limits.charactersPerRun) full.push(this.#takeRun());
    }
    return full;
  }

  /** The rest; none when there is none. */
  end(): readonly string[] {
    this.#endTransaction();
    return this.#characters > 0 ? [this.#takeRun()] : [];
  }

  #endTransaction(): void {
    const script = restoreScript(this.#writes);
    this.#writes = [];
    this.#scripts.push(script);
    this.#characters += script.length;
  }

  #takeRun(): string {
    const run = this.#scripts.join('');
    this.#scripts = [];
    this.#characters = 0;
    return run;
  }
}
