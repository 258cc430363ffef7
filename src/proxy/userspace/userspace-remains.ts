import type { Exec } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';

/** The rules that lead to relays, as a daemon that is gone may have left them. */
export class UserspaceRemains implements Remains {
  readonly mode = 'userspace';
  readonly #exec: Pick<Exec, 'run'>;

  constructor(options: { readonly exec: Pick<Exec, 'run'> }) {
    this.#exec = options.exec;
  }

  async found(_signal: AbortSignal): Promise<readonly string[]> {
    void this.#exec;
    return [];
  }

  async remove(_signal: AbortSignal): Promise<void> {}

  async conflicts(_signal: AbortSignal): Promise<readonly string[]> {
    return [];
  }
}
