import type { Exec } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';

/** What the iptables mode may have left in the kernel. */
export class IptablesRemains implements Remains {
  readonly mode = 'iptables';

  constructor(_options: { readonly exec: Pick<Exec, 'run'> }) {}

  async found(_signal: AbortSignal): Promise<readonly string[]> {
    return [];
  }

  async remove(_signal: AbortSignal): Promise<void> {}

  async conflicts(_signal: AbortSignal): Promise<readonly string[]> {
    return [];
  }
}
