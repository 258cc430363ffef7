import type { Exec } from '../../host/exec.ts';
import type { Proto } from './compile.ts';
import type { Transaction } from './diff.ts';
import { affinitySet } from './keep-chain.ts';
import { isNothingThere, NftError, runNft } from './nft-program.ts';
import type { Note } from './read-table.ts';
import { readNotes, readTable } from './read-table.ts';
import type { RulesetOptions } from './ruleset.ts';
import type { RulesetWatch } from './ruleset-watch.ts';
import { sampleElements } from './sample-elements.ts';
import type { TableState } from './table-state.ts';
import { emptyState } from './table-state.ts';

/** EXECUTOR: the one table of ours in the kernel, through the nft program. Decides nothing. */
export class NftTable {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #options: RulesetOptions;
  readonly #watch: Pick<RulesetWatch, 'own'> | undefined;

  /** `watch`, where there is one, is told of every transaction, so that it does not take them for another's. */
  constructor(exec: Pick<Exec, 'run'>, options: RulesetOptions, watch?: Pick<RulesetWatch, 'own'>) {
    this.#exec = exec;
    this.#options = options;
    this.#watch = watch;
  }

  /** Reads the whole table: for the start, and for after a failure or a foreign change. */
  async read(signal: AbortSignal): Promise<TableState> {
    const { family, table } = this.#options;
    try {
      const output = await this.#nft(['-j', 'list', 'table', family, table], '', 60_000, signal);
      return readable(() => readTable(output, this.#options));
    } catch (error) {
      if (isNothingThere(error)) return emptyState();
      throw error;
    }
  }

  /**
   * Whether the table still has its chains with all their rules, and some elements of every set and map, all of them
   * where they are few. Takes a few milliseconds: nft reads no element for it, and the kernel is asked to do what it
   * can only do with what is there, and then not to. What somebody has added is not noticed.
   */
  async looksIntact(state: TableState, signal: AbortSignal): Promise<boolean> {
    const where = `${this.#options.family} ${this.#options.table}`;
    const chains = [...state.chains].map(([name, { tags }]) =>
      tags.length > 0 ? `add rule ${where} ${name} index ${tags.length - 1} accept` : `flush chain ${where} ${name}`,
    );
    const elements = sampleElements(state).map(
      ([set, sample]) => `delete element ${where} ${set} { ${sample.join(', ')} }`,
    );
    try {
      await this.#nft(['--check', '-f', '-'], `${[...chains, ...elements].join('\n')}\n`, 30_000, signal);
      return true;
    } catch (error) {
      if (error instanceof NftError && error.code === 'NftFailed') return false;
      throw error;
    }
  }

  /** Runs one transaction: all of it takes effect, or, when this throws, none, unless the call was cut off. */
  async run(
    { script, changesRules }: Pick<Transaction, 'script' | 'changesRules'>,
    signal: AbortSignal,
  ): Promise<void> {
    const run = () => this.#nft(['-f', '-'], script, 60_000, signal);
    await (this.#watch ? this.#watch.own(changesRules, run) : run());
  }

  /** Who is kept with which endpoint now. */
  async readNotes(proto: Proto, signal: AbortSignal): Promise<readonly Note[]> {
    const { family, table } = this.#options;
    const output = await this.#nft(['-j', 'list', 'set', family, table, affinitySet(proto)], '', 60_000, signal);
    return readable(() => readNotes(output));
  }

  /** Drops some of these notes, whether the kernel has dropped them meanwhile or not. */
  async dropNotes(proto: Proto, gone: readonly Note[], signal: AbortSignal): Promise<void> {
    const where = `element ${this.#options.family} ${this.#options.table} ${affinitySet(proto)}`;
    const notes = gone.map(({ client, endpoint }) => `${client} . ${endpoint}`);
    const again = `add ${where} { ${notes.map((note) => `${note} timeout 1s`).join(', ')} }`;
    const drop = `delete ${where} { ${notes.join(', ')} }`;
    await this.run({ script: `${again}\n${drop}\n`, changesRules: false }, signal);
  }

  /** Drops all. */
  async flushNotes(proto: Proto, signal: AbortSignal): Promise<void> {
    const script = `flush set ${this.#options.family} ${this.#options.table} ${affinitySet(proto)}\n`;
    await this.run({ script, changesRules: false }, signal);
  }

  #nft(args: readonly string[], input: string, timeoutMs: number, signal: AbortSignal): Promise<string> {
    return runNft(this.#exec, args, { input, timeoutMs, signal });
  }
}

function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new NftError('NftUnreadable', 'what nft lists cannot be read', { cause, retryable: true });
  }
}
