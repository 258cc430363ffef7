import type { Exec } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';
import { tableName } from './nft-backend.ts';
import { isKernelWithout, isNothingThere, NftError, runNft } from './nft-program.ts';

/** The families that keelson and kube-proxy have a table in. */
const families = ['ip', 'ip6'] as const;
const listTimeoutMs = 10_000;
/** Freeing a table of many thousand elements takes the kernel some time. */
const removeTimeoutMs = 60_000;

/** Tables are all that this mode leaves; what they hold goes with them. */
export class NftRemains implements Remains {
  readonly mode = 'nftables';
  readonly #exec: Pick<Exec, 'run'>;

  constructor({ exec }: { readonly exec: Pick<Exec, 'run'> }) {
    this.#exec = exec;
  }

  found(signal: AbortSignal): Promise<readonly string[]> {
    return this.#tables(tableName, signal);
  }

  async remove(signal: AbortSignal): Promise<void> {
    for (const family of families) {
      if (!(await this.#has(family, tableName, signal))) continue;
      // Added first, so that it is no error when somebody else has removed it meanwhile.
      const input = `add table ${family} ${tableName}\ndelete table ${family} ${tableName}\n`;
      await runNft(this.#exec, ['-f', '-'], { input, timeoutMs: removeTimeoutMs, signal });
    }
  }

  conflicts(signal: AbortSignal): Promise<readonly string[]> {
    return this.#tables('kube-proxy', signal);
  }

  async #tables(name: string, signal: AbortSignal): Promise<readonly string[]> {
    const lines: string[] = [];
    for (const family of families) {
      if (await this.#has(family, name, signal)) lines.push(`nftables table ${family} ${name}`);
    }
    return lines;
  }

  /** Reads no other line than the one that says so, whatever else an nft of another version may print. */
  async #has(family: string, name: string, signal: AbortSignal): Promise<boolean> {
    try {
      const output = await runNft(this.#exec, ['list', 'tables', family], { timeoutMs: listTimeoutMs, signal });
      return output
        .split('\n')
        .some((line) => line.trim().split(/\s+/).slice(0, 3).join(' ') === `table ${family} ${name}`);
    } catch (error) {
      // Where there is no nft or no nf_tables, nothing of this mode is at work.
      const isNone = error instanceof NftError && error.code === 'NftMissing';
      if (isNone || isKernelWithout(error) || isNothingThere(error)) return false;
      throw error;
    }
  }
}
