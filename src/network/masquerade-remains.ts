import type { Exec } from '../host/exec.ts';
import { ExecError, isProgramMissing } from '../host/exec.ts';
import { masqueradeTableName } from './masquerade.ts';

const families = ['ip', 'ip6'] as const;
const options = { timeoutMs: 30_000 } as const;

/** The tables that masquerade what leaves the pod network, as a daemon that is gone may have left them. */
export class MasqueradeRemains {
  readonly #exec: Pick<Exec, 'run'>;

  constructor({ exec }: { readonly exec: Pick<Exec, 'run'> }) {
    this.#exec = exec;
  }

  /** A line for each; only reads. */
  async found(signal: AbortSignal): Promise<readonly string[]> {
    return (await this.#present(signal)).map((family) => `nftables table ${family} ${masqueradeTableName}`);
  }

  async remove(signal: AbortSignal): Promise<void> {
    for (const family of await this.#present(signal)) {
      await this.#exec.run('nft', ['delete', 'table', family, masqueradeTableName], { ...options, signal });
    }
  }

  async #present(signal: AbortSignal): Promise<readonly string[]> {
    try {
      const { stdout } = await this.#exec.run('nft', ['list', 'tables'], { ...options, signal });
      const lines = new Set(stdout.split('\n').map((line) => line.trim()));
      return families.filter((family) => lines.has(`table ${family} ${masqueradeTableName}`));
    } catch (error) {
      signal.throwIfAborted();
      // Without nft or its part of the kernel there is none.
      if (isProgramMissing(error) || (error instanceof ExecError && /not supported|Netlink/i.test(error.stderr)))
        return [];
      throw error;
    }
  }
}
