import type { Exec } from '../../host/exec.ts';
import { ExecError, isProgramMissing } from '../../host/exec.ts';
import { AgentError } from '../../lib/errors.ts';
import type { Proto } from './compile.ts';
import type { Affinity } from './read-table.ts';
import { readAffinities, readChainNames, readTable } from './read-table.ts';
import type { RulesetOptions } from './ruleset.ts';
import { affinityMap } from './ruleset.ts';
import type { TableState } from './table-state.ts';
import { emptyState } from './table-state.ts';

/** nft could not be used, or refused what it was given. Codes: NftMissing, NftTooOld, NftDenied, NftFailed. */
export class NftError extends AgentError {}

/** First release whose rules this layout needs; kube-proxy asks for the same. */
const oldest: readonly number[] = [1, 0, 1];

/** EXECUTOR: the one table of ours in the kernel, through the nft program. Decides nothing. */
export class NftTable {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #options: RulesetOptions;

  constructor(exec: Pick<Exec, 'run'>, options: RulesetOptions) {
    this.#exec = exec;
    this.#options = options;
  }

  /** Throws NftMissing or NftTooOld when this host's nft cannot do the job; returns its version. */
  async checkVersion(signal: AbortSignal): Promise<string> {
    const output = await this.#nft(['--version'], '', 5_000, signal);
    const version = /v?(\d+)\.(\d+)(?:\.(\d+))?/.exec(output);
    const numbers = (version ?? []).slice(1).map((part) => Number(part ?? 0));
    if (numbers.length > 0 && isOlder(numbers, oldest)) {
      throw new NftError('NftTooOld', `nft ${numbers.join('.')} is older than ${oldest.join('.')}`, {
        hint: `install nftables ${oldest.join('.')} or later`,
      });
    }
    return numbers.join('.');
  }

  /** Reads the whole table: for the start, and for after a failure or a foreign change. */
  async read(signal: AbortSignal): Promise<TableState> {
    const { family, table } = this.#options;
    try {
      return readTable(await this.#nft(['-j', 'list', 'table', family, table], '', 60_000, signal), this.#options);
    } catch (error) {
      if (isNoSuchTable(error)) return emptyState();
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

  async #nft(args: readonly string[], input: string, timeoutMs: number, signal: AbortSignal): Promise<string> {
    try {
      const options = { signal, timeoutMs, input, maxOutputBytes: 512 * 1024 * 1024 };
      return (await this.#exec.run('nft', args, options)).stdout;
    } catch (error) {
      throw nftErrorOf(error);
    }
  }
}

function nftErrorOf(error: unknown): unknown {
  if (isProgramMissing(error)) {
    return new NftError('NftMissing', 'Services are not programmed: the program nft is not installed', {
      cause: error,
      hint: 'install it: apt-get install nftables',
    });
  }
  if (!(error instanceof ExecError)) return error;
  if (/Operation not permitted|must be root/i.test(error.stderr)) {
    return new NftError('NftDenied', 'Services are not programmed: nft may not change the packet filter', {
      cause: error,
      hint: 'run keelson as root, in a container with the capability NET_ADMIN',
    });
  }
  return new NftError('NftFailed', 'nft failed', { cause: error, retryable: true });
}

const isNoSuchTable = (error: unknown): boolean =>
  error instanceof NftError && error.cause instanceof ExecError && error.cause.stderr.includes('No such file');

function isOlder(version: readonly number[], than: readonly number[]): boolean {
  for (const [i, wanted] of than.entries()) {
    const part = version[i] ?? 0;
    if (part !== wanted) return part < wanted;
  }
  return false;
}
