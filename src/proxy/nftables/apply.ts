import type { Exec } from '../../host/exec.ts';
import type { Proto } from './compile.ts';
import { isNothingThere, runNft } from './nft-program.ts';
import type { Affinity } from './read-table.ts';
import { readAffinities, readChainNames, readTable } from './read-table.ts';
import type { RulesetOptions } from './ruleset.ts';
import { affinityMap } from './ruleset.ts';
import type { TableState } from './table-state.ts';
import { emptyState } from './table-state.ts';

/** EXECUTOR: the one table of ours in the kernel, through the nft program. Decides nothing. */
export class NftTable {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #options: RulesetOptions;

  constructor(exec: Pick<Exec, 'run'>, options: RulesetOptions) {
    this.#exec = exec;
    this.#options = options;
  }

  /** Reads the whole table: for the start, and for after a failure or a foreign change. */
  async read(signal: AbortSignal): Promise<TableState> {
    const { family, table } = this.#options;
    try {
      return readTable(await this.#nft(['-j', 'list', 'table', family, table], '', 60_000, signal), this.#options);
    } catch (error) {
      if (isNothingThere(error)) return emptyState();
      throw error;
    }
  }

  /**
   * Whether the chains of `state` are all there. Takes a few milliseconds however large the table is, because nft
   * reads no element for it; for the same reason it notices a flush of the ruleset but not one of a chain or map.
   */
  async hasChains(state: TableState, signal: AbortSignal): Promise<boolean> {
    const { family, table } = this.#options;
    const found = readChainNames(await this.#nft(['-j', 'list', 'chains', family], '', 30_000, signal), table);
    return [...state.chains.keys()].every((name) => found.has(name));
  }

  /** Runs one transaction: all of it takes effect, or, when this throws, none, unless the call was cut off. */
  async run(script: string, signal: AbortSignal): Promise<void> {
    await this.#nft(['-f', '-'], script, 60_000, signal);
  }

  /** Who is kept with which endpoint of a sticky frontend now. */
  async readAffinities(proto: Proto, signal: AbortSignal): Promise<readonly Affinity[]> {
    const { family, table } = this.#options;
    const output = await this.#nft(['-j', 'list', 'map', family, table, affinityMap(proto)], '', 60_000, signal);
    return readAffinities(output);
  }

  /** Forgets some of them, whether the kernel has forgotten them meanwhile or not. */
  async dropAffinities(proto: Proto, gone: readonly Affinity[], signal: AbortSignal): Promise<void> {
    const where = `element ${this.#options.family} ${this.#options.table} ${affinityMap(proto)}`;
    const again = gone.map(({ key, endpoint }) => `add ${where} { ${key} timeout 1s : ${endpoint} }`);
    const drop = gone.map(({ key }) => `delete ${where} { ${key} }`);
    await this.run(`${[...again, ...drop].join('\n')}\n`, signal);
  }

  #nft(args: readonly string[], input: string, timeoutMs: number, signal: AbortSignal): Promise<string> {
    return runNft(this.#exec, args, { input, timeoutMs, signal });
  }
}
